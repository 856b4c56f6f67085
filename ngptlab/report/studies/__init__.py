"""Studies on the page: recognized by the file that their folder holds (`given`), read with every number checked (`reading`),
and each told as an answer, a figure and a table (`ladder`, `cooldown`, `sweep`, `coord`, `speedup`, `target`).
"""
