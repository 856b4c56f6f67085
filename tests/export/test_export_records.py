"""Parts as plain values: back exactly, and nothing that a file may say is more than a value."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pytest

from ngptlab import ConfigError, methods
from ngptlab.config import Dims
from ngptlab.export.part_kinds import part_kinds
from ngptlab.export.records import checked, parts_from, plain, plain_parts

SIZES: dict[str, Any] = {"vocab_size": 9, "num_layers": 1, "num_heads": 2, "d_model": 8, "d_ff": 4}


@pytest.mark.parametrize("method", methods.names())
def test_parts_come_back_from_json(method: str) -> None:
    parts = methods.load(method)
    assert parts_from(json.loads(json.dumps(plain_parts(parts))), part_kinds()) == parts


@dataclass(frozen=True)
class _Pair:
    words: tuple[str, ...]
    inner: object = None


def test_records_in_records_and_tuples() -> None:
    kinds = {"tests.Pair": _Pair}
    values = {**plain_parts(methods.load("gpt")), "norm": {"part": "tests.Pair", "words": ["a", "b"]}}
    values["qk"] = {"part": "tests.Pair", "words": [], "inner": {"part": "tests.Pair", "words": ["c"]}}
    found = parts_from(values, {**part_kinds(), **kinds})
    assert found.norm == _Pair(("a", "b")) and found.qk == _Pair((), _Pair(("c",)))


def test_what_no_json_holds_is_refused() -> None:
    with pytest.raises(ConfigError, match="neither a plain value nor a record"):
        plain(_Pair((lambda: None,)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seam", "value", "message"),
    [
        ("norm", {"part": "os.system"}, "no part is named 'os.system'"),
        ("norm", {"part": ["ngptlab.nn.parts.RMSNorm"]}, "no part is named"),
        ("norm", {"part": "ngptlab.nn.parts.RMSNorm", "gain": 2.0}, "has the fields"),
        ("norm", {}, "no part is named None"),
        ("attn_scale", {"part": "ngptlab.nn.parts.HeadWidthPower"}, "exponent is missing"),
        ("attn_scale", {"part": "ngptlab.nn.parts.HeadWidthPower", "exponent": "1e9"}, "of the kind float"),
        ("attn_scale", {"part": "ngptlab.nn.parts.HeadWidthPower", "exponent": True}, "of the kind float"),
        ("warmup_steps", 0.5, "of the kind int"),
        ("weight_decay", None, "of the kind float"),
        ("novelty", 1, "has the fields"),
    ],
)
def test_hostile_parts_are_refused(seam: str, value: object, message: str) -> None:
    values = deepcopy(plain_parts(methods.load("gpt")))
    values[seam] = value
    with pytest.raises(ConfigError, match=message):
        parts_from(values, part_kinds())


def test_missing_seams_and_no_table_at_all() -> None:
    values = plain_parts(methods.load("gpt"))
    del values["qk"]
    with pytest.raises(ConfigError, match="qk is missing"):
        parts_from(values, part_kinds())
    with pytest.raises(ConfigError, match="parts: given"):
        parts_from("__import__('os')", part_kinds())


def test_sizes_are_checked() -> None:
    assert checked(Dims, SIZES, "x") == Dims(**SIZES)
    for change, message in (
        ({"d_model": "8"}, "of the kind int"),
        ({"d_model": True}, "of the kind int"),
        ({"width": 8}, "'width' is not a field"),
        ({"d_model": 7}, "whole, even head width"),
    ):
        with pytest.raises(ConfigError, match=message):
            checked(Dims, {**SIZES, **change}, "x")
