"""Tokenizer files that `AutoTokenizer` reads: the same ids as while training.

There is one exception. Where a file's vocabulary holds the end-of-text marker as an ordinary piece, training splits a marker
that is written out in a text (`FileTokenizer.encode`), and no setting of a file can do that.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Library

from ngptlab.data.tokens.decoders import byte_letters
from ngptlab.data.tokens.file_tokenizer import FileTokenizer
from ngptlab.data.tokens.gpt2 import Gpt2Tokenizer
from ngptlab.data.tokens.tokenizer import END_OF_TEXT, ByteTokenizer, Tokenizer


def tokenizer_files(vocabulary: Tokenizer, context: int) -> dict[str, Any]:
    """Contents of `tokenizer.json` and `tokenizer_config.json`, for texts of up to `context` tokens."""
    if isinstance(vocabulary, FileTokenizer):
        text, marker = vocabulary.text(), vocabulary.marker
    else:
        assert isinstance(vocabulary, ByteTokenizer | Gpt2Tokenizer)
        text, marker = _byte_level(vocabulary), END_OF_TEXT
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "bos_token": marker,
        "eos_token": marker,
        "pad_token": marker,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        # The marker inside a text is ordinary text, as while training.
        "split_special_tokens": True,
    }
    return {"tokenizer.json": text, "tokenizer_config.json": config}


def _byte_level(vocabulary: ByteTokenizer | Gpt2Tokenizer) -> str:
    made = _byte_pairs({piece: rank for rank, piece in enumerate(vocabulary.pieces())})
    made.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    assert made.get_vocab_size() == vocabulary.vocab_size
    assert made.token_to_id(END_OF_TEXT) == vocabulary.end_of_text
    return made.to_str(pretty=True) + "\n"


def _byte_pairs(ranks: dict[bytes, int]) -> Library:
    """Byte pairs merged in the order of their ranks, which are also their ids."""
    letters = byte_letters()
    spelled = {piece: "".join(letters[byte] for byte in piece) for piece in ranks}
    longer = sorted((piece for piece in ranks if len(piece) > 1), key=ranks.__getitem__)
    merges = [(spelled[left], spelled[right]) for left, right in (_halves(piece, ranks) for piece in longer)]
    made = Library(models.BPE(vocab={spelled[piece]: rank for piece, rank in ranks.items()}, merges=merges))
    # Merges stop at the ends of words as in GPT-2; single bytes have no words.
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = decoders.ByteLevel()
    return made


def _halves(piece: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that a token was merged from, which are its bytes after all earlier merges."""
    cuts = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece))]
    possible = [pair for pair in cuts if pair[0] in ranks and pair[1] in ranks]
    if len(possible) == 1:
        return possible[0]
    parts = [bytes((byte,)) for byte in piece]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        first = min(range(len(pairs)), key=pairs.__getitem__)
        parts[first : first + 2] = [parts[first] + parts[first + 1]]
    left, right = parts
    return left, right
