"""Coordinate descent over settings, with equally many runs for every method."""
