"""The comparison page: run directories in, `report.html` and `report.json` out. Imports no torch.

Data flows one way: `load` reads the directories, `summary` turns them into numbers (`schema` names each one,
`stats` and `gaps` compute, `checks` doubts, `wording` says them), `plots` draws, `page` writes both files.
"""
