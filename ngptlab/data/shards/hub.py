"""Files of a dataset repository on the Hugging Face hub, through huggingface_hub and its cache.

What its environment variables say holds: HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE, HF_TOKEN. The library is imported late: it
reads them then, and brings an HTTP client. Its errors come out as a `DataError` of one line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

from ngptlab import disk
from ngptlab.data.shards.format import file_sha256
from ngptlab.data.text.dataset_stream import ANSWER_SECONDS
from ngptlab.errors import DataError

NAME_BYTES = 1000
AGAIN = "files that arrived whole are kept, the same command goes on"

Arrived = Callable[[int], None]
"""Told of bytes as they come; of fewer than none where some are thrown away."""


class RemoteFile(NamedTuple):
    """What the hub says of a file."""

    size: int
    sha256: str | None
    """Known of large files, which the hub stores by it."""


class Repository(NamedTuple):
    """A dataset repository at one commit."""

    name: str
    commit: str
    """Of all files, whatever becomes of the branch meanwhile."""
    files: dict[str, RemoteFile] | None
    """None where the hub gave no answer; the cache may have files of this commit all the same."""


def look_up(name: str, revision: str) -> Repository:
    """A repository at a branch, tag or commit: as the hub has it, or without an answer as the cache knows it.

    Raises:
        DataError: no such repository or revision, no access, or neither an answer nor anything in the cache.
    """
    from huggingface_hub import HfApi

    try:
        found = HfApi().dataset_info(name, revision=revision, files_metadata=True, timeout=ANSWER_SECONDS)
    except hub_errors() as error:
        commit = _cached_commit(name, revision) if _no_answer(error) else None
        if commit is None:
            raise explained(error, f"{name} at revision {revision}") from None
        return Repository(name, commit, None)
    files = {
        file.rfilename: RemoteFile(file.size or 0, file.lfs.sha256 if file.lfs else None)
        for file in found.siblings or ()
    }
    return Repository(name, found.sha or revision, files)


def fetch(repository: Repository, file: str, arrived: Arrived) -> Path:
    """The file's path in the hub's cache, downloaded if it isn't there.

    Raises:
        DataError: it can't be had; or what came is not what the hub says it has, and then it isn't kept.
    """
    from huggingface_hub import hf_hub_download

    what = f"{repository.name}/{file}"
    try:
        got = hf_hub_download(
            repository.name,
            file,
            repo_type="dataset",
            revision=repository.commit,
            local_files_only=repository.files is None,
            tqdm_class=_counter(arrived),
        )
    except hub_errors() as error:
        raise explained(error, what) from None
    path = Path(got)
    if repository.files is not None and (problem := difference(path, repository.files[file])):
        for copy in (path.resolve(), path):  # in the cache it would be found for ever
            copy.unlink(missing_ok=True)
        raise DataError(f"{what}: what came {problem}, so it was thrown away; {AGAIN}")
    return path


def is_cached(repository: Repository, file: str) -> bool:
    """Whether `fetch` needs no download for it."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository.name, file, repo_type="dataset", revision=repository.commit)
    return isinstance(found, str)


def difference(path: Path, remote: RemoteFile) -> str | None:
    """In what a file is not the hub's; None where it is."""
    size = path.stat().st_size
    if size != remote.size:
        return f"is {size} bytes where the hub has {remote.size}"
    if remote.sha256 and file_sha256(path) != remote.sha256:
        return "has another SHA-256 than the hub says"
    return None


def hub_cache() -> Path:
    """Where the library keeps its files: below HF_HOME, unless HF_HUB_CACHE says another place."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _cached_commit(name: str, revision: str) -> str | None:
    """The commit that the cache has under that name. A branch is not always noted there: its only commit will do."""
    folder = hub_cache() / f"datasets--{name.replace('/', '--')}"
    ref = folder / "refs" / revision
    if ref.is_file():
        return disk.read_text(ref, limit=NAME_BYTES).strip()
    commits = [path.name for path in folder.glob("snapshots/*")]
    return revision if revision in commits else commits[0] if len(commits) == 1 else None


def hub_errors() -> tuple[type[Exception], ...]:
    """All that the library raises for what a user can mend. Its HTTP errors are OSErrors, the network's are not."""
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    return (OSError, ValueError, HTTPError)


def _no_answer(error: Exception) -> bool:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    offline = isinstance(error, OfflineModeIsEnabled)
    return offline or not isinstance(error, (HfHubHTTPError, OSError, ValueError))


def explained(error: Exception, what: str, *, kept: str = AGAIN) -> DataError:
    """What happened to `what`, and what to do, in one line; `kept` says what giving the same command again means."""
    from huggingface_hub import constants, errors

    endpoint = constants.ENDPOINT
    if constants.HF_HUB_OFFLINE:
        said = f"not in {hub_cache()}, and HF_HUB_OFFLINE is set; unset it to fetch it"
    elif isinstance(error, errors.GatedRepoError):
        said = f"{endpoint} gives access on request only; ask there, then set HF_TOKEN"
    elif isinstance(error, errors.RepositoryNotFoundError):
        said = f"{endpoint} has no such dataset, or a private one; check the name, or set HF_TOKEN"
    elif isinstance(error, errors.RevisionNotFoundError):
        said = "no such revision; give a branch, tag or commit as --revision"
    elif isinstance(error, errors.RemoteEntryNotFoundError):
        said = "the hub lists it and says it is gone; give another --revision"
    elif isinstance(error, errors.HfHubHTTPError):
        said = f"{endpoint} answers with status {error.response.status_code}; try again later, {kept}"
    elif isinstance(error, OSError) and error.errno is not None and error.strerror:
        said = f"{error.strerror} ({error.filename or hub_cache()}); mend that, {kept}"
    else:
        cause = error.__cause__ or error
        reason = (str(cause).splitlines() or [""])[0] or type(cause).__name__
        said = f"can't be fetched from {endpoint} ({reason}); {kept}"
    return DataError(f"{what}: {said}")


def _counter(arrived: Arrived) -> type:
    """What the library takes for a progress bar: a class, of which it makes one for each file."""

    class Counter:
        def __init__(self, *, total: int | None = None, **_: Any) -> None:
            self.n, self.total = 0, total

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, count: int) -> None:
            self.n += count
            arrived(count)

        def update_transfer(self, count: int) -> None:
            """Bytes on the wire, which may be fewer; those of the file are what counts."""

        def set_postfix_str(self, *_: object, **__: object) -> None:
            pass

        set_transfer_postfix_str = set_postfix_str

        def refresh(self) -> None:
            pass

        close = refresh

    return Counter
