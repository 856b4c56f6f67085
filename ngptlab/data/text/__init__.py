"""Documents: where text comes from, and how each kind of file is read.

sources.py         documents, one at a time, in a fixed order: the name of a source to what reads it
files.py           the standard library, a file or a folder; formats.py reads one file
dataset_stream.py  a data set, as the `datasets` library streams it
"""
