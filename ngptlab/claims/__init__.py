"""What others claimed, held against what was recorded here.

A claim is data (`claim`): a statement, its source, and a rule. Statements about methods stand in `recipes/claims/`, a file a
source. Rules (`rules/`) know no method; evidence is read from run directories, studies and tables (`read`).
"""
