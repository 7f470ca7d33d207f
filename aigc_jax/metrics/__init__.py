"""Pure functions from features, images, tokens or log-weights to numbers, with their references."""
