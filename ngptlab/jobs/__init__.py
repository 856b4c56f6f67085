"""Runs of a study in processes of this machine: what a cell is, how it ended, who trains it."""
