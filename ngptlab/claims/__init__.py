"""Published claims, judged by the runs recorded here.

A claim is data (`claim`): a statement, its source, and a rule. Statements about methods stand in `recipes/claims/`, one file
for each source. Rules (`rules/`) know no method. `ngptlab/evidence/` reads the evidence from run directories, studies and tables.
"""
