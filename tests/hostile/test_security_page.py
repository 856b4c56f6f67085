"""SECURITY.md says of every kind of file what reading it can do, and the limits that it names are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from kinds import KINDS

from ngptlab import disk, json_text, runs
from ngptlab.config import loading
from ngptlab.data.shards import hub
from ngptlab.data.text import formats
from ngptlab.data.tokens import file_tokenizer
from ngptlab.export import pickled
from ngptlab.ledger import book
from ngptlab.measure.tasks import files as tasks
from ngptlab.method_files import sources
from ngptlab.studies import reading
from ngptlab.studies.trial import files as trials

PAGE = Path(__file__).parents[2] / "SECURITY.md"


def table() -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {kind: (limit, most) for kind, limit, most in rows if kind not in ("Kind of file", "---")}


def test_every_kind_of_file_has_a_line() -> None:
    assert list(table()) == list(KINDS)


def test_the_limits_are_those_of_the_code() -> None:
    def size(count: int) -> str:
        return f"{count >> 30} GiB" if count >= 1 << 30 else f"{count >> 20} MiB"

    record = f"{size(disk.RECORD_BYTES)}, {json_text.MAX_DEPTH} levels"
    lines = f"{size(runs.STREAM_BYTES)}, a line {size(disk.RECORD_BYTES)}"
    assert runs.STREAM_BYTES == book.FILE_BYTES
    config = f"{size(loading.FILE_BYTES)}, {loading.MAX_NODES:,} values, {loading.MAX_DEPTH} levels"
    limits = {kind: limit for kind, (limit, _) in table().items()}
    assert limits["config, YAML"] == config
    assert limits["config, JSON"] == config.replace(f" {loading.MAX_NODES:,} values,", "")
    for kind in (
        "run: env.json",
        "run: fork.json",
        "search.json",
        "export: ngptlab.json",
    ):
        assert limits[kind] == record
    for kind in ("run: metrics.jsonl", "run: scales.jsonl", "run: skipped.jsonl", "ledger"):
        assert limits[kind] == lines
    assert limits["tries.jsonl"] == f"{size(trials.FILE_BYTES)}, a line {size(disk.RECORD_BYTES)}"
    for kind in ("study: ladder.json", "study: board.json"):
        assert limits[kind] == record.replace(size(disk.RECORD_BYTES), size(reading.FILE_BYTES))
    document = size(formats.DOCUMENT_BYTES)
    assert limits["text: .txt .md .py"] == document and limits["text: .jsonl.zst"] == f"{document} a document"
    assert limits["text: .parquet"] == f"{document} a document, {formats.MOST_UNPACKED} times its packed size"
    tokens = file_tokenizer.MOST_TOKENS.bit_length() - 1
    assert limits["tokenizer.json"] == f"{size(file_tokenizer.FILE_BYTES)}, 64 steps, 2^{tokens} tokens"
    assert limits["the hub's cache"] == f"{hub.NAME_BYTES:,} bytes"
    assert limits["method, a copy"] == size(sources.FILE_BYTES)
    assert limits["foreign .pt"] == f"the file's size, {pickled.MOST_CLASSES} unknown names"
    assert limits["task, .txt.bz2"] == f"{size(tasks.TASK_BYTES)} unpacked"
    assert limits["task, .jsonl"] == size(tasks.TASK_BYTES)
