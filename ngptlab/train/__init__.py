"""The training loop, checkpoints, signals and progress. Knows no method."""
