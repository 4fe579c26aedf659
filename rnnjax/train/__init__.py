"""Training: pure steps, `fit`, losses and measures, checkpoints, observers."""
