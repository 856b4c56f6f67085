"""The comparison page: run directories in, `report.html` and `report.json` out. Imports no torch.

Data flows one way: `stats/records.py` reads the directories, `summary` turns them into numbers (`schema` names each one,
`stats/` computes, `checks` doubts, `wording` says them), `plots` draws, `page` writes both files.
"""
