"""Studies: a folder each, with its verb, plan, runs, numbers, figure, section of the page and evidence. Found by folder."""
