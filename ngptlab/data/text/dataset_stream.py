"""Text of a data set on the Hub, or in any folder that the `datasets` library reads, streamed and never stored."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from ngptlab.data.text.formats import TEXT_COLUMN, Document, document, valid
from ngptlab.disk import check_regular, name_of
from ngptlab.errors import DataError, without_secrets

SCHEME = "hf:"
ANSWER_SECONDS = 30
"""How long the Hub may take to answer."""


class DatasetStream:
    """A `Source` whose parts are the files behind one split of a data set.

    Args:
        place: `DATASET` or `DATASET:CONFIG`; DATASET is a repository on the Hub, or a folder here.
        revision: branch, tag or commit, resolved to a commit once. Empty: the newest commit.

    Raises:
        DataError: `datasets` isn't installed; the data set, its config, split or column isn't there, or there is no
            network.
    """

    def __init__(
        self, place: str, *, split: str = "train", column: str = TEXT_COLUMN, revision: str = ""
    ) -> None:
        self._dataset, _, self._config = place.partition(":")
        self._split, self._column = split, column
        self._folder = Path(os.path.expanduser(self._dataset))
        if not self._dataset:
            raise DataError(f"{SCHEME} names no data set; give {SCHEME}DATASET or {SCHEME}DATASET:CONFIG")
        if self._folder.is_dir():
            if revision:
                raise DataError(f"--revision {revision}: {self._folder} is a folder, which has no revisions")
            self._commit, self._dataset = "", str(self._folder.resolve())
            self._check_folder()
        else:
            self._commit = self._resolve(revision)
        self._rows = self._load()
        self._done = 0

    @property
    def label(self) -> str:
        """See `Source`."""
        name = self._dataset if self._commit else name_of(self._folder)
        config = f":{self._config}" if self._config else ""
        commit = f" of {self._commit[:12]}" if self._commit else ""
        return f"{SCHEME}{name}{config}, {self._split}{commit}"

    @property
    def num_parts(self) -> int:
        """See `Source`."""
        return int(self._rows.num_shards)

    def fingerprint(self) -> str:
        """Digest of the commit; for a folder, of its path and of its files' names, sizes and times of change."""
        records = [self._dataset, self._config, self._split, self._column, self._commit]
        if not self._commit:
            for file in sorted(path for path in Path(self._dataset).rglob("*") if path.is_file()):
                status = file.stat()
                records += [str(file), str(status.st_size), str(status.st_mtime_ns)]
        return hashlib.sha256("\0".join(records).encode("utf-8", "surrogateescape")).hexdigest()

    def read(self, part: int) -> Iterator[Document]:
        """See `Source`; a row without text is no document."""
        self._done = part
        rows = iter(self._rows.shard(num_shards=self.num_parts, index=part))
        number = 0
        while True:
            try:
                row = next(rows, None)
            except Exception as error:  # any library may be the one that reads the file
                self._fail(error)
            if row is None:
                self._done = part + 1
                return
            number += 1
            place = f"{self.label}, row {number} of part {part + 1}"
            yield from document(f"{part}:{number}", self._text, row, place)

    def share_read(self) -> float:
        """See `Source`; counts finished parts."""
        return self._done / self.num_parts

    def _check_folder(self) -> None:
        """Refuse files that are not regular, because the library opens any of a fitting name and would wait for a FIFO."""
        for file in sorted(path for path in Path(self._dataset).rglob("*") if not path.is_dir()):
            try:
                check_regular(file)
            except OSError as error:
                raise DataError(f"{SCHEME}{self._dataset}: {file}: {error.strerror}; remove it") from None

    def _text(self, row: dict[str, Any], place: str) -> str | None:
        if self._column not in row:
            raise DataError(
                f"{place}: columns {sorted(row)}, none is {self._column!r}; name one with --column"
            )
        text = row[self._column]
        if text is not None and not isinstance(text, str):
            raise DataError(
                f"{place}: {self._column!r} holds {type(text).__name__}, not text; name another --column"
            )
        return text if text is None else valid(text, f"{place}: {self._column!r}")

    def _resolve(self, revision: str) -> str:
        from huggingface_hub import HfApi  # late: slow to load

        try:
            info = HfApi().dataset_info(self._dataset, revision=revision or None, timeout=ANSWER_SECONDS)
            return str(info.sha)
        except Exception as error:  # of the Hub's client or of a library below it
            self._fail(error)

    def _load(self) -> Any:
        try:
            return stream_rows(
                self._dataset,
                config=self._config,
                split=self._split,
                revision=self._commit,
                what=f"{SCHEME}{self._dataset}",
            )
        except DataError:
            raise
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> NoReturn:
        why = " ".join(without_secrets(str(error)).split())[:300]
        raise DataError(
            f"{SCHEME}{self._dataset}: can't be read ({type(error).__name__}: {why}); look at its name, config, --split and "
            "--revision, and at the network; the same command goes on"
        ) from None


def stream_rows(dataset: str, *, config: str = "", split: str, revision: str, what: str) -> Any:
    """The rows of one split, as the library streams them. Its errors are passed on unchanged.

    Args:
        config, revision: empty: the only config, the newest commit.
        what: how the user named the data set.

    Raises:
        DataError: `datasets` isn't installed.
    """
    try:
        from datasets import load_dataset  # late: an extra, and slow to load
    except ImportError:
        raise DataError(f"{what}: needs the datasets library; pip install 'ngptlab[data]'") from None
    return load_dataset(dataset, config or None, split=split, revision=revision or None, streaming=True)
