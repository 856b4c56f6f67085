"""From text to batches: documents, tokens, shards, splits, and the order of training windows. No torch.

sources.py   documents, one at a time, in a fixed order: from files.py (formats.py reads one) or stream.py
tokenize.py  text to tokens and back; tokenizer_file.py has tokenizers of the user's own
token_bytes.py  how many bytes of text tokens stand for
detokenize.py  tokens to text as they come
encode.py    documents to tokens by several processes, in order
shards.py    tokens on disk, in the format that others' tools read too; writer.py writes them
manifest.py  what a folder of shards holds, as a record beside them; sealed.py: records that carry their own digest
prepare.py   documents to split shards (splits.py, drafts.py) and their manifest; journal.py has how far it is
make.py      the same in a folder of the user's own; progress.py shows it
trove.py     the same over many machines
adopt.py     anybody's shards, used as they are; scan.py makes their manifest
hub.py       files of the Hugging Face hub, through its cache
known.py     shards that others published; get.py fetches them, arrivals.py shows it
extend.py    a folder of shards that gets more of them
books.py     whole books as the long split
made.py      made-up shards, to try a recipe without its data
corpus.py    a corpus: found in the cache, made there, or adopted; checked, opened
cache.py     the folder for what can be made again
verify.py    everything that can be checked of a folder of shards
stats.py     how much text a folder holds, in documents of what length
batches.py   a batch as a pure function of (seed, step)
"""
