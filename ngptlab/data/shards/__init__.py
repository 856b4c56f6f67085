"""Folders of token files: their format, what they hold, and whether they still hold it."""
