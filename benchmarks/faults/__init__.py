"""What faults of real runs of train.py come to, and what checkpoints cost."""
