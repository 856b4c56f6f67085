"""Files of a dataset repository on the Hugging Face hub, through huggingface_hub and its cache.

Its environment variables hold: HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE, HF_TOKEN. The library is imported late, because it
reads them on import and loads an HTTP client. Its errors become a `DataError` of one line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

from ngptlab import disk
from ngptlab.data.shards.format import file_sha256
from ngptlab.data.text.dataset_stream import ANSWER_SECONDS
from ngptlab.errors import DataError, without_secrets

NAME_BYTES = 1000
AGAIN = "files that arrived whole are kept, the same command goes on"

Arrived = Callable[[int], None]
"""Called with the number of bytes that came; with a negative number where some are thrown away."""


class RemoteFile(NamedTuple):
    """Size and digest of a file, as the hub lists it."""

    size: int
    sha256: str | None
    """SHA-256 of the file, in hex; None for small files, because the hub stores only large ones by their digest."""


class Repository(NamedTuple):
    """A dataset repository at one commit."""

    name: str
    commit: str
    """The commit of all files, even if the branch moves meanwhile."""
    files: dict[str, RemoteFile] | None
    """Files by name; None where the hub gave no answer. The cache may have files of this commit all the same."""


def look_up(name: str, revision: str) -> Repository:
    """A repository at a branch, tag or commit: as the hub lists it or, where the hub gives no answer, as the cache has it.

    Raises:
        DataError: no such repository or revision, no access, or neither an answer nor anything in the cache.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(name, revision=revision, files_metadata=True, timeout=ANSWER_SECONDS)
    except hub_errors() as error:
        commit = _cached_commit(name, revision) if _no_answer(error) else None
        if commit is None:
            raise explained(error, f"{name} at revision {revision}") from None
        return Repository(name, commit, None)
    files = {
        file.rfilename: RemoteFile(file.size or 0, file.lfs.sha256 if file.lfs else None)
        for file in info.siblings or ()
    }
    return Repository(name, info.sha or revision, files)


def fetch(repository: Repository, file: str, arrived: Arrived) -> Path:
    """The file's path in the hub's cache, downloaded if it isn't there.

    Raises:
        DataError: the file can't be fetched; or what came differs from what the hub says, and isn't kept.
    """
    from huggingface_hub import hf_hub_download

    what = f"{repository.name}/{file}"
    try:
        cached = hf_hub_download(
            repository.name,
            file,
            repo_type="dataset",
            revision=repository.commit,
            local_files_only=repository.files is None,
            tqdm_class=_counter(arrived),
        )
    except hub_errors() as error:
        raise explained(error, what) from None
    path = Path(cached)
    if repository.files is not None and (problem := difference(path, repository.files[file])):
        for copy in (path.resolve(), path):  # left in the cache, it would be taken again every time
            copy.unlink(missing_ok=True)
        raise DataError(f"{what}: what came {problem}, so it was thrown away; {AGAIN}")
    return path


def is_cached(repository: Repository, file: str) -> bool:
    """Whether `fetch` needs no download for it."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository.name, file, repo_type="dataset", revision=repository.commit)
    return isinstance(path, str)


def difference(path: Path, remote: RemoteFile) -> str | None:
    """How a file differs from the hub's; None where it does not."""
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
    """The commit that the cache has for a revision. The cache may not list a branch; then its only commit is taken."""
    folder = hub_cache() / f"datasets--{name.replace('/', '--')}"
    ref = folder / "refs" / revision
    with contextlib.suppress(OSError, UnicodeDecodeError):  # missing, or damaged
        return disk.read_text(ref, limit=NAME_BYTES).strip()
    commits = [path.name for path in folder.glob("snapshots/*")]
    return revision if revision in commits else commits[0] if len(commits) == 1 else None


def hub_errors() -> tuple[type[Exception], ...]:
    """The library's errors whose cause a user can mend. Its HTTP errors are OSErrors, errors of the network are not."""
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    return (OSError, ValueError, HTTPError)


def _no_answer(error: Exception) -> bool:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    offline = isinstance(error, OfflineModeIsEnabled)
    return offline or not isinstance(error, (HfHubHTTPError, OSError, ValueError))


def explained(error: Exception, what: str, *, kept: str = AGAIN) -> DataError:
    """The error for `what`, in one line: what happened and what to do. `kept` says what the same command then does."""
    from huggingface_hub import constants, errors

    endpoint = constants.ENDPOINT
    if constants.HF_HUB_OFFLINE:
        message = f"not in {hub_cache()}, and HF_HUB_OFFLINE is set; unset it to fetch it"
    elif isinstance(error, errors.GatedRepoError):
        message = f"{endpoint} gives access on request only; ask there, then set HF_TOKEN"
    elif isinstance(error, errors.RepositoryNotFoundError):
        message = f"{endpoint} has no such dataset, or a private one; check the name, or set HF_TOKEN"
    elif isinstance(error, errors.RevisionNotFoundError):
        message = "no such revision; give a branch, tag or commit as --revision"
    elif isinstance(error, errors.RemoteEntryNotFoundError):
        message = "the hub lists it and says it is gone; give another --revision"
    elif isinstance(error, errors.HfHubHTTPError):
        message = f"{endpoint} answers with status {error.response.status_code}; try again later, {kept}"
    elif isinstance(error, OSError) and error.errno is not None and error.strerror:
        message = f"{error.strerror} ({error.filename or hub_cache()}); mend that, {kept}"
    else:
        cause = error.__cause__ or error
        reason = (str(cause).splitlines() or [""])[0] or type(cause).__name__
        message = f"can't be fetched from {endpoint} ({reason}); {kept}"
    return DataError(without_secrets(f"{what}: {message}"))


def _counter(arrived: Arrived) -> type:
    """A class that the library takes for a progress bar. It makes one instance for each file."""

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
            """Bytes on the wire, which may be fewer than the file's and don't count."""

        def set_postfix_str(self, *_: object, **__: object) -> None:
            pass

        set_transfer_postfix_str = set_postfix_str

        def refresh(self) -> None:
            pass

        close = refresh

    return Counter
