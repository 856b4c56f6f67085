"""How much longer a tokenizer file may make a text before it cuts the text into tokens.

There is a limit because a file with twelve steps that each write ten letters for one would never end. The factor is found
from the file alone, in UTF-8 bytes, and never too low by much. Real files have factors of 1 to 66.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from ngptlab.errors import DataError

MOST_GROWTH = 100
MOST_STEPS = 64
LONGEST_PREFIX = 1000  # bytes put before a text, once
FACTORS = {"NFC": 3, "NFD": 3, "NFKC": 11, "NFKD": 11, "BertNormalizer": 3, "ByteLevel": 2, "Metaspace": 4}
"""Bytes that a step writes for one byte, at most. Unicode's forms: the table in its annex 15. ByteLevel spells a byte with two
bytes at most, Metaspace a blank with four."""
FORMS = ("NFC", "NFD", "NFKC", "NFKD")
LONGEST_FORM = 64
"""A table whose longest entry has at most so many bytes counts as a compatibility form; nmt_nfkc's longest has 33."""
STEPS_OF = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders"}


def check_growth(fields: dict[str, Any], file: str) -> None:
    """Check a tokenizer file against the limit.

    Raises:
        DataError: it has too many steps, or they may make a text too long, or one has a damaged table.
    """
    ways = {way: list(_steps(fields.get(way), inner)) for way, inner in STEPS_OF.items()}
    texts = ways["normalizer"] + ways["pre_tokenizer"]
    for steps in (texts, ways["decoder"]):
        if len(steps) > MOST_STEPS:
            raise DataError(f"{file}: changes a text in {len(steps)} steps, at most {MOST_STEPS} are taken")
        try:
            growth = _growth(steps)
        except ValueError as error:
            raise DataError(f"{file}: its precompiled_charsmap is damaged ({error})") from None
        if growth > MOST_GROWTH:
            raise DataError(
                f"{file}: may make a text {growth:.2g} times as long before it cuts it, at most {MOST_GROWTH} times is "
                "taken; its steps of type Replace, Prepend or Precompiled write too much, give another tokenizer"
            )


def _steps(step: Any, inner: str) -> Iterator[dict[str, Any]]:
    if isinstance(step, dict) and step.get("type") == "Sequence":
        for one in step.get(inner) or ():
            yield from _steps(one, inner)
    elif isinstance(step, dict):
        yield step


def _growth(steps: list[dict[str, Any]]) -> float:
    growth, after_form, tables = 1.0, False, 0
    for step in steps:
        kind, factor = step.get("type"), _factor(step)
        tables += kind == "Precompiled"
        # A form spells nothing out that an earlier form has spelled out. One table at most counts as a form.
        is_form = kind in FORMS or (kind == "Precompiled" and tables == 1 and factor == FACTORS["NFKC"])
        if factor > 1 and not (after_form and is_form):
            growth *= factor
            after_form = kind in FORMS
    return growth


def _factor(step: dict[str, Any]) -> float:
    kind = step.get("type")
    if kind == "Replace":
        content, pattern = _size(step.get("content")), step.get("pattern") or {}
        if text := pattern.get("String"):
            return max(1.0, content / _size(text))
        return 1.0 + content  # a regular expression may match between any two letters
    if kind == "Prepend":
        added = _size(step.get("prepend"))
        return 1.0 if added <= LONGEST_PREFIX else float(added)
    if kind == "Precompiled":
        longest = _longest_entry(str(step.get("precompiled_charsmap") or ""))
        return float(FACTORS["NFKC"] if longest <= LONGEST_FORM else longest)
    return float(FACTORS.get(str(kind), 1))


def _longest_entry(table: str) -> int:
    """Bytes of the longest replacement in a table of sentencepiece. Replacements follow its trie, each ended by a 0.

    Raises:
        ValueError: it is no such table, and the library would panic.
    """
    raw = base64.b64decode(table, validate=True)
    start = 4 + int.from_bytes(raw[:4], "little")
    if len(raw) < 4 or start > len(raw):
        raise ValueError("its trie is cut off")
    return max(map(len, raw[start:].decode().encode().split(b"\0")))


def _size(text: Any) -> int:
    return len(str(text or "").encode("utf-8", "replace"))
