"""The comparison page: run directories in, `report.html` and `report.json` out. Imports no torch.

Data flow one way. `stats/records.py` reads the directories, and `summary` turns them into numbers: `schema` declares them,
`stats/` computes them, `checks` finds doubts, `wording` puts them into words. `plots` draws, and `page` writes both files.
"""
