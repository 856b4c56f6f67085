"""From text to batches: documents, tokens, shards, splits, and the order of training windows. No torch.

text/       documents, one at a time, in a fixed order: files, folders, tables, data sets of the hub
tokens/     text to tokens and back, by the tokenizers we know and by files of the user's own
shards/     folders of token files: made up, published, or somebody's own; what they hold, and whether they still do
prepare/    text to a folder of shards: in one process, by several threads, over many machines, after a stop
corpus.py   a corpus: found in the cache, made there, or a folder of the user's; checked, opened
batches.py  a batch as a pure function of (seed, step)
"""
