"""Runs of a study in processes of this machine: cells, their outcomes, and the executor that trains them."""
