"""What a checkpoint is on the disk: written, kept, read, and judged before it is believed."""
