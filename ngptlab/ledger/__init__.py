"""Finished runs as lines of a file: what a study takes instead of training, and what page, claims and tables are made from.

`record` turns a run directory into a line and back, `book` keeps the lines, `lend` gives them to a study. Imports no torch.
"""
