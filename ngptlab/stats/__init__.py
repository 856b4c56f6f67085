"""Numbers of recorded runs: series, costs, gaps, intervals, doubts. No torch, no drawing."""
