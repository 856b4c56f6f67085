"""Rows of the tasks' local files, each checked. Only data is read from a user's folder; nothing in it is run."""

from __future__ import annotations

import bz2
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ngptlab import disk
from ngptlab.data.shards.format import file_sha256
from ngptlab.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

FILES = {
    "arc_easy": ("arc_easy.jsonl",),
    "hellaswag": ("hellaswag.jsonl", "hellaswag_val_full.txt.bz2", "hellaswag_val_full.txt"),
    "winogrande": ("winogrande.jsonl",),
    "wsc273": ("wsc273.jsonl", "winograd_wsc.jsonl"),
    "lambada_openai": ("lambada_openai.jsonl",),
}
"""Tasks by lm-eval's names, each with the names of its file; the first file that exists counts."""

TASK_BYTES = 64 << 20
"""Most bytes of a task's file, unpacked; unpacking holds it twice. The largest known file, HellaSwag's, has 8 million."""
ENDING_LINES = 6
"""Lines of one row of HellaSwag's text file: context, number of the right ending, four endings."""

Text = Annotated[str, Field(min_length=1)]


class Row(BaseModel):
    """A row of a file. Fields beyond those of its form are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)


class Choices(Row):
    """A row that asks which choice follows the query."""

    query: Text
    choices: list[Text] = Field(min_length=2)
    gold: int = Field(ge=0)

    @model_validator(mode="after")
    def _gold_is_there(self) -> Self:
        _check_gold(self.gold, len(self.choices))
        return self


class Options(Row):
    """A row that asks after which context the continuation is right."""

    context_options: list[Text] = Field(min_length=2)
    continuation: Text
    gold: int = Field(ge=0)

    @model_validator(mode="after")
    def _gold_is_there(self) -> Self:
        _check_gold(self.gold, len(self.context_options))
        return self


class Passage(Row):
    """A row with a text and its last word."""

    context: Text
    continuation: Text


def find(task: str, folder: Path) -> Path | None:
    """The file of a task in a folder; None where there is none."""
    return next((folder / name for name in FILES[task] if (folder / name).is_file()), None)


def digest(path: Path) -> str:
    """sha256 of a file's content."""
    return f"sha256:{file_sha256(path)}"


# The YAML files name these functions. lm-eval calls them with the task's name, the folder, and metadata of its own.


def choices(task: str, folder: str, **metadata: Any) -> dict[str, Dataset]:
    """Rows {query, choices, gold} of JSON lines."""
    return _as_test_split(_from_json(_file(task, folder), Choices))


def options(task: str, folder: str, **metadata: Any) -> dict[str, Dataset]:
    """Rows {context_options, continuation, gold} of JSON lines."""
    return _as_test_split(_from_json(_file(task, folder), Options))


def passages(task: str, folder: str, **metadata: Any) -> dict[str, Dataset]:
    """Rows {context, continuation} of JSON lines."""
    return _as_test_split(_from_json(_file(task, folder), Passage))


def endings(task: str, folder: str, **metadata: Any) -> dict[str, Dataset]:
    """Rows {query, choices, gold} of HellaSwag, from JSON lines or from text, plain or compressed by bzip2."""
    path = _file(task, folder)
    rows = _from_json(path, Choices) if path.suffix == ".jsonl" else _from_text(path)
    return _as_test_split([{**row, "query": capital_last(row["query"])} for row in rows])


def capital_last(context: str) -> str:
    """The context with its unfinished last sentence as lm-eval writes it: its first letter a capital, the others small.

    HellaSwag keeps that piece apart, in small letters ("he", "the lady"). Files that joined it to the context left it so.
    """
    return re.sub(r"(?<=[.!?] )[a-z][^.!?]*$", lambda found: found[0].capitalize(), context)


def _file(task: str, folder: str) -> Path:
    path = find(task, Path(folder))
    if path is None:
        raise DataError(f"{folder}: has no file of {task}; put {' or '.join(FILES[task])} there")
    return path


def _from_json(path: Path, form: type[Row]) -> list[dict[str, Any]]:
    lines = _read(path).split("\n")
    if not lines[-1]:
        lines.pop()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(form.model_validate_json(line).model_dump())
        except ValidationError as error:
            raise DataError(f"{path}, line {number}: {_explain(error, form)}") from None
    if not rows:
        raise DataError(f"{path}: has no rows; fetch it again")
    return rows


def _from_text(path: Path) -> list[dict[str, Any]]:
    lines = _read(path).removesuffix("\n").split("\n")
    rows = []
    for first in range(0, len(lines), ENDING_LINES):
        group = lines[first : first + ENDING_LINES]
        if len(group) != ENDING_LINES or not group[1].isdecimal():
            raise DataError(
                f"{path}, line {first + 1}: a row is {ENDING_LINES} lines (context, number of the right ending, "
                f"{ENDING_LINES - 2} endings), this is none"
            )
        try:
            row = Choices(query=group[0], gold=int(group[1]), choices=group[2:])
        except ValidationError as error:
            raise DataError(f"{path}, line {first + 1}: {_explain(error, Choices)}") from None
        rows.append(row.model_dump())
    return rows


def _read(path: Path) -> str:
    """The file's text without a byte order mark and with LF line ends, whatever an editor made of them."""
    try:
        content = disk.read_bytes(path, limit=TASK_BYTES)
        text = (_unpacked(content) if path.suffix == ".bz2" else content).decode("utf-8-sig")
        return text.replace("\r\n", "\n")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: can't be read ({error}); fetch it again") from None


def _unpacked(content: bytes) -> bytes:
    pieces, left = [], TASK_BYTES
    while content:  # a file may be several bzip2 streams in a row
        unpacker = bz2.BZ2Decompressor()
        pieces.append(unpacker.decompress(content, max_length=left + 1))
        left -= len(pieces[-1])
        if left < 0:
            raise ValueError(f"it unpacks to more than {TASK_BYTES} bytes")
        if not unpacker.eof:
            raise ValueError("its bzip2 data ends in the middle")
        content = unpacker.unused_data
    return b"".join(pieces)


def _check_gold(gold: int, count: int) -> None:
    if gold >= count:
        raise ValueError(f"gold is {gold}, the choices are 0 to {count - 1}")


def _explain(error: ValidationError, form: type[Row]) -> str:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    said = first["msg"].removeprefix("Value error, ")
    return f"{f'{place}: ' if place else ''}{said[0].lower()}{said[1:]}; a row has {', '.join(form.model_fields)}"


def _as_test_split(rows: list[dict[str, Any]]) -> dict[str, Dataset]:
    from datasets import Dataset

    return {"test": Dataset.from_list(rows)}
