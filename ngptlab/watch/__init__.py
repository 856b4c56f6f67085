"""Runs in progress, from their files, on a terminal. Reads only, and imports no torch."""
