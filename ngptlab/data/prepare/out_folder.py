"""A corpus in a folder of the user's own, prepared by one command at a time. After a kill, the same command goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from ngptlab.config import DataConfig
from ngptlab.data.prepare.bad_documents import Note
from ngptlab.data.prepare.journal import HASHES, JOURNAL
from ngptlab.data.prepare.text_to_shards import Tell, prepare
from ngptlab.data.shards.manifest import MANIFEST, Manifest, read_manifest
from ngptlab.data.text import sources
from ngptlab.data.text.sources import Source
from ngptlab.data.tokens.choose import tokenizer
from ngptlab.errors import DataError
from ngptlab.folders import held, make, remove_temporaries


def prepare_out_folder(
    data: DataConfig,
    folder: Path,
    *,
    long_min_tokens: int,
    workers: int,
    tell: Tell | None = None,
    source: Source | None = None,
    skip_bad: bool = False,
    note: Note | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Manifest:
    """Prepare the shards and manifest of `data` in `folder`, which is new, empty, or begun by the same call.

    Args:
        source: the source to read. None: `data.source`.
        skip_bad, note: as for `prepare`.
        stopped: as for `prepare`.

    Raises:
        Paused: as for `prepare`; the same call goes on.
        DataError: as for `prepare`; the folder holds something else, or another process works there.
        OSError: the folder can't be written.
    """
    source = source or sources.find(data.source)
    tokens = tokenizer(data.tokenizer, data.end_of_text)
    make(folder)
    with _locked(folder):
        path = folder / MANIFEST
        if path.exists():
            manifest = read_manifest(path, f"delete the folder {folder}, or give another --out")
            if (manifest.source, manifest.tokenizer) != (source.label, tokens.name):
                raise DataError(
                    f"{folder}: holds {manifest.source} in tokens of {manifest.tokenizer}; give another --out"
                )
        else:
            manifest = prepare(
                data,
                tokens,
                folder,
                long_min_tokens=long_min_tokens,
                workers=workers,
                resumable=True,
                tell=tell,
                source=source,
                skip_bad=skip_bad,
                note=note,
                stopped=stopped,
            )
        # The journal goes last, because the folder is known to be ours as long as it is there.
        remove_temporaries(folder)
        for file in (folder / HASHES, folder / JOURNAL):
            file.unlink(missing_ok=True)
    return manifest


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder against other processes. The system releases the lock when this process ends, however it ends."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(folder))
        except BlockingIOError:
            raise DataError(f"{folder}: another process is at work there; wait for it or end it") from None
        yield
