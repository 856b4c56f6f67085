"""A run's records, mirrored to an experiment tracker. The JSON-lines files stay the truth; a tracker is told what they say.

A process beside the training follows the files of the run and hands each step on, so the training loop neither knows nor
waits for a tracker: one that hangs, raises or prints can't touch it. The tracker's own store says where to go on.
"""
