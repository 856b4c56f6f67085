"""Published shards from the hub into a folder that `shards:DIR` reads, ready to train on.

The files stay in the hub's cache, where other folders may share them; the folder holds links. A link is made once its file
is known to equal the hub's and to be a shard. So after a stop or an error, the same command fetches the files without a link.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ngptlab.config import DataConfig
from ngptlab.data.shards.given_folder import SCHEME, open_given_folder
from ngptlab.data.shards.hub import RemoteFile, Repository, difference, fetch, hub_cache, is_cached, look_up
from ngptlab.data.shards.make_manifest import extend_manifest
from ngptlab.data.shards.manifest import Manifest, locate_manifest, read_manifest
from ngptlab.data.shards.published import PublishedShards
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.tokens.choose import tokenizer
from ngptlab.errors import DataError
from ngptlab.folders import link_to

Tell = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes in all."""
Note = Callable[[str], None]
"""Called with a line for the user."""


def download_shards(
    published: PublishedShards, folder: Path, *, shards: int, revision: str, tell: Tell, note: Note
) -> Manifest:
    """Fetch the validation file and the first `shards` training shards of a published set into `folder`, and check them.

    Raises:
        DataError: the set has fewer shards; neither hub nor cache has them; a file differs from what the hub says, is no
            shard, or holds tokens that its tokenizer lacks; the folder has another file of one of the names. Good files stay.
        OSError: the folder can't be written.
    """
    if not 1 <= shards <= published.num_train:
        raise DataError(f"--shards {shards}: there are 1 to {published.num_train} training shards to get")
    # Before the work, not after it: the tokenizer's vocabulary may have to be fetched too.
    vocabulary = tokenizer(published.tokenizer)
    repository = look_up(published.repository, revision)
    wanted = published.files(shards)
    if repository.files is not None:
        _check_against(repository, repository.files, wanted, folder)
    absent = [file for file in wanted if not (folder / file).exists()]
    there, total = _sizes(repository, wanted, absent)
    done = len(wanted) - len(absent)
    note(f"{repository.name} at {repository.commit}: {done} of {len(wanted)} files are in {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    tell(there, total)

    def arrived(count: int) -> None:
        nonlocal there
        there += count
        tell(there, total)

    for file in absent:
        path = fetch(repository, file, arrived)
        _check_shard(path, f"{repository.name}/{file}")
        link_to(path, folder / file)
    note(f"checking the tokens of {len(wanted)} files")
    extend_manifest(folder, {"train": wanted[1:], "val": wanted[:1]}, published.tokenizer)
    data = DataConfig(source=f"{SCHEME}{folder}", tokenizer=published.tokenizer)
    return open_given_folder(data, vocab_size=vocabulary.vocab_size)[1]


def _check_against(
    repository: Repository, remote: dict[str, RemoteFile], wanted: list[str], folder: Path
) -> None:
    """Compare the files that are wanted, and those of them that the folder has already, with what the hub says.

    Raises:
        DataError: the hub lacks a file; a file in the folder, a link or somebody's own copy, differs from the hub's.
    """
    path = locate_manifest(folder)
    recorded = {}
    if path.exists():
        manifest = read_manifest(path, "delete it to have it made again")
        recorded = {shard.file: shard.sha256 for shard in manifest.shards}
    for file in wanted:
        if file not in remote:
            place = f"{repository.name} at {repository.commit}"
            raise DataError(f"{place}: has no {file}; give another --revision, or fewer --shards")
        checked_before = file in recorded and recorded[file] == remote[file].sha256
        if checked_before or not (folder / file).exists():
            continue
        if problem := difference(folder / file, remote[file]):
            raise DataError(f"{folder / file}: {problem}; move it away, or give another --out or --revision")


def _sizes(repository: Repository, wanted: list[str], absent: list[str]) -> tuple[int, int]:
    """Bytes that need no fetching, and bytes in all.

    Raises:
        DataError: what has to be fetched doesn't fit on the disk.
    """
    if repository.files is None:
        return 0, 0
    sizes = {file: repository.files[file].size for file in wanted}
    to_come = sum(sizes[file] for file in absent if not is_cached(repository, file))
    place = next(folder for folder in (hub_cache(), *hub_cache().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if to_come > free:
        raise DataError(
            f"{place}: {to_come / 1e9:.1f} GB are to be fetched, {free / 1e9:.1f} GB are free; set HF_HOME to a folder on "
            "another disk, or give fewer --shards"
        )
    total = sum(sizes.values())
    return total - to_come, total


def _check_shard(path: Path, what: str) -> None:
    try:
        TokenStream([path])
    except DataError as error:
        raise DataError(f"{what}: the hub's own file is no good, {error}; give another --revision") from None
