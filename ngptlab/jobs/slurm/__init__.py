"""Runs as jobs of Slurm: what a job asks for, what it does on its nodes, how it is submitted, and studies as arrays of jobs."""
