"""Verbs of the command line that have options and output of their own. Each imports what it needs when it is used."""
