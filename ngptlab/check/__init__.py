"""Experiments on the machinery itself, as measurements with a verdict."""
