"""Loss by position in documents longer than the training context."""
