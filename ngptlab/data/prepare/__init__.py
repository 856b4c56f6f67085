"""The work that turns text into shards, and goes on after a stop.

text_to_shards.py   documents to the shards of all splits and their manifest
out_folder.py       the same in a folder of the user's own, by one command at a time; progress.py shows it
datatrove_steps.py  the same over many machines
encode.py           documents to tokens by several threads, in order
split_rule.py       which split a document is in; split_writers.py writes the splits
journal.py          how far the work has come, so that it goes on after a stop
bad_documents.py    documents that can't be used
books.py            whole books as the long split of an existing folder
"""
