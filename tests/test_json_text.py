"""JSON of a stranger: what is read can be written again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ngptlab.json_text import MAX_DEPTH, parse_json
from ngptlab.tail import Tail


@pytest.mark.parametrize("opened, closed", [("[", "]"), ('{"a": ', "}"), ('[1, {"a": ', "}, []]")])
def test_depth_has_a_limit(opened: str, closed: str) -> None:
    """Some hundred levels can be read by Python and fail where they are written."""
    levels = opened.count("[") + opened.count("{")
    deepest = opened * (MAX_DEPTH // levels) + "1" + closed * (MAX_DEPTH // levels)
    json.dumps(parse_json(deepest), indent=2)
    for more in (1, 800 // levels):
        text = opened * (MAX_DEPTH // levels + more) + "1" + closed * (MAX_DEPTH // levels + more)
        with pytest.raises(ValueError, match="nested too deeply"):
            parse_json(text)


def test_many_beside_each_other_are_not_deep() -> None:
    assert len(parse_json("[" + "[[]]," * 1000 + "{}]")) == 1001


def test_a_tail_leaves_out_numbers_that_nothing_can_be_made_of(tmp_path: Path) -> None:
    """A whole number of 400 digits is beyond every float."""
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{{"step": {"9" * 400}}}\n{{"step": NaN}}\n')
    assert Tail(tmp_path / "metrics.jsonl").read() == [{"step": 1}]
