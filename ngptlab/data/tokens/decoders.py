"""What the text of a token depends on, read from the decoder of a `tokenizer.json`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

Spelling = Literal["bytes", "pieces", "whole"]
"""`bytes`: each token stands for bytes, and the text is all of them decoded as UTF-8. `pieces`: each token has a text of its
own, which may depend on whether it is the first or the last, and byte tokens in a row are decoded together. `whole`: any token
may change the text of any other.
"""

BYTE_TOKEN = re.compile("<0x(?:[0-9A-Fa-f]{2}|\\+[0-9A-Fa-f])>")
"""Tokens that the library's ByteFallback takes for bytes."""


def spelling(decoder: Mapping[str, Any] | None, marker: str) -> Spelling:
    """The spelling of tokens under a file's `decoder`. Without one, the library puts a space between any two tokens.

    The text of `marker`, the end of text, must not depend on whether it is the last token, because the texts of other tokens
    are found with its help (detokenize.py).

    The library hands a list of strings from stage to stage. Up to a `Fuse`, each stage but ByteFallback turns one string into
    one string, by its content and by whether it is the first or the last. After a `Fuse` there is one string. A stage that then
    looks for more than one character, or cuts the string at its end, looks beyond the ends of tokens.
    """
    stages = list(_stages(decoder))
    if [stage["type"] for stage in stages] == ["ByteLevel"]:
        return "bytes"
    for index, stage in enumerate(stages):
        before = stages[:index]
        if not (_keeps_whole(stage) if _fused(before) else _keeps_apart(stage, before, marker)):
            return "whole"
    return "pieces"


def byte_letters() -> list[str]:
    """GPT-2's letter for each byte value: printable bytes are their own letters, the others get letters from U+0100 on."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in own else chr(next(others)) for byte in range(256)]


def _stages(decoder: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if decoder is None:
        return
    if decoder["type"] != "Sequence":
        yield decoder
        return
    for part in decoder["decoders"]:
        yield from _stages(part)


def _fused(stages: Sequence[Mapping[str, Any]]) -> bool:
    return any(stage["type"] == "Fuse" for stage in stages)


def _keeps_apart(stage: Mapping[str, Any], before: Sequence[Mapping[str, Any]], marker: str) -> bool:
    """Whether the stage turns each string into one that depends on no other string, except for byte tokens in a row."""
    if stage["type"] == "ByteFallback":
        # Earlier stages must not turn other tokens into byte tokens.
        return all(_makes_spaces(earlier) for earlier in before)
    if stage["type"] == "BPEDecoder":
        return stage["suffix"] not in marker and all(earlier["type"] == "ByteFallback" for earlier in before)
    return stage["type"] in ("Fuse", "Replace", "Strip", "Metaspace", "WordPiece")


def _keeps_whole(stage: Mapping[str, Any]) -> bool:
    """Whether the stage does to the whole text what it would do to each token, except at the text's beginning."""
    if stage["type"] == "Replace":
        return len(stage["pattern"].get("String", "")) == 1
    return stage["type"] == "Fuse" or (stage["type"] == "Strip" and not stage["stop"])


def _makes_spaces(stage: Mapping[str, Any]) -> bool:
    if stage["type"] == "Metaspace":
        return not stage["replacement"].isascii()
    return (
        stage["type"] == "Replace"
        and stage["content"] == " "
        and len(stage["pattern"].get("String", "")) == 1
        and not stage["pattern"]["String"].isascii()
    )
