"""Coordinate descent over settings, with as many runs for every method."""
