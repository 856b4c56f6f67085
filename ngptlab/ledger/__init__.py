"""Finished runs as lines of a file. Studies take them instead of training; page, claims and tables are made from them.

`record` turns a run directory into a line and back, `book` keeps the lines, `lend` gives them to a study. Imports no torch.
"""
