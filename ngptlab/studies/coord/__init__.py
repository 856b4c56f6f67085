"""The coordinate check: whether activations keep their size as width grows."""
