"""Timed measurements, kept out of the tests. Each prints a table and writes JSON."""
