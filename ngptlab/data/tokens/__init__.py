"""Text to tokens and back.

tokenizer.py       the protocol of tokenizers, and the tokenizer of bytes; gpt2.py has GPT-2's
file_tokenizer.py  a tokenizer.json of the user's own; decoders.py and text_growth.py say what it may do to a text
choose.py          the tokenizer that a config asks for
detokenize.py      tokens to text, one token at a time
"""
