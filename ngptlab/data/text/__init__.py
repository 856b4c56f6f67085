"""Documents: where text comes from, and how each kind of file is read.

sources.py         finds the source of a name, which gives documents one at a time, in a fixed order
files.py           the standard library, a file or a folder; formats.py reads one file
dataset_stream.py  a data set, as the `datasets` library streams it
"""
