"""Folders of token files: their format, what they hold, and whether they still hold it.

format.py         how a file looks, so that others' tools read it too; stream.py reads files, writer.py writes them
manifest.py       what a folder holds, as a record beside the files; record.py: records that carry their own digest
make_manifest.py  the manifest of files that have none, or that got more
given_folder.py   anybody's files, used as they are: `shards:DIR`
published.py      what others published; download.py fetches it, hub.py asks the Hugging Face hub
made_up.py        made-up tokens, to try a recipe without its data
verify.py         everything that can be checked of a folder
stats.py          how much text a folder holds, and how long its documents are; token_bytes.py: bytes of text of a token
cache.py          the cache folder, for what can be made again
"""
