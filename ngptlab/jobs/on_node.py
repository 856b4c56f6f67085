"""A cell on a node of a cluster: the body of a Ray task. It starts our worker, as `Local` does, and watches it. No torch here.

Where the node sees the driver's folder, the cell is trained in it. Else it is trained in a folder of the node's own, which
begins with what the run had and travels back at the end.
"""

from __future__ import annotations

import contextlib
import platform
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import ngptlab
from ngptlab import disk
from ngptlab.data.corpus import open_data
from ngptlab.errors import CheckpointError, ConfigError, DataError, LabError, WorldError, without_secrets
from ngptlab.folders import own, scratch
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.cell_log import NOTE, last_words
from ngptlab.jobs.outcome import outcome
from ngptlab.jobs.progress import read_progress
from ngptlab.jobs.travel import check_planned, pack_what_fits, unpack
from ngptlab.jobs.worker_process import SAVE_SECONDS, Worker, hang_up, start
from ngptlab.method_files import copies
from ngptlab.terminal import one_line
from ngptlab.train.progress import WARNING

MOST_TRIES = 4
"""How often a cell is begun before it counts as failed: it may be what brings its node down."""
TOKEN = ".on-ray"
"""The file in a study's folder by which a node knows it."""
POLL_SECONDS = 0.1
TELL_SECONDS = 1.0
LOG_BYTES = 1 << 20
"""Most bytes of a log that travel, from its end."""


def versions() -> dict[str, str]:
    """What must be alike on all nodes, because cells of a study are compared. Builds of one torch (`+cpu`) may mix."""
    return {"ngptlab": ngptlab.__version__, "torch": metadata.version("torch").partition("+")[0]}


def train_cell(job: dict[str, Any], desk: Any) -> dict[str, Any]:
    """Train a cell, or go on with it.

    Args:
        job: plain values, see `on_ray`.
        desk: handle of the `Desk`.

    Returns {said: why it is not done, code: exit code of its worker or None where none was started, over: whether nothing is
    left to train, files and log: the run and the end of its log, both None where they are in the driver's folder}.
    """
    answer = asked(desk.begin.remote(job["key"], platform.node()))
    if answer["stop"]:
        return _ended("stopped before it began")
    if answer["tries"] > MOST_TRIES:
        return _ended(f"its worker was lost {MOST_TRIES} times; the node's memory, or its log, may say why")
    try:
        with contextlib.ExitStack() as stack:
            if Path(job["cwd"]).is_dir():
                stack.enter_context(contextlib.chdir(job["cwd"]))  # a source may be a relative path
            return _train(job, desk, stack)
    except (LabError, OSError) as error:
        why = (
            f"{error.filename}: {error.strerror}"
            if isinstance(error, OSError) and error.filename
            else str(error)
        )
        return _ended(f"on {platform.node()}: {without_secrets(why)}")


def asked(reference: Any) -> Any:
    """What the desk answers. A thread waits for it: while a task's own thread waits, Ray gives its cores to another task.

    Raises:
        WorldError: the desk is gone, and so is whoever waits for this task.
    """
    import ray

    try:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(ray.get, reference).result()
    except ray.exceptions.RayError as error:
        raise WorldError(f"the study that this run is of has ended ({type(error).__name__})") from None


def _ended(said: str, *, code: int | None = None, over: bool = False) -> dict[str, Any]:
    return {"said": one_line(said), "code": code, "over": over, "files": None, "log": None}


def _train(job: dict[str, Any], desk: Any, stack: contextlib.ExitStack) -> dict[str, Any]:
    if others := [
        f"{name} {version}" for name, version in versions().items() if job["versions"][name] != version
    ]:
        there = ", ".join(f"{name} {version}" for name, version in job["versions"].items())
        raise ConfigError(
            f"has {', '.join(others)}, the driver {there}; install the same versions everywhere"
        )
    shared = sees(Path(job["out"]), job["token"])
    out = Path(job["out"]) if shared else stack.enter_context(scratch())
    cell = _cell(job, out)
    if not shared:
        check_planned(job["size"])
        why, files = asked(desk.folder.remote(job["name"]))
        if why:
            raise CheckpointError(f"what the run has so far can't be had ({why})")
        if files:
            unpack(files, run_of(out, cell))
    _check_data(cell, job["digest"])
    worker = start((cell,), out, job["threads"], job["environment"])
    try:
        _watch(worker, out, desk, job["key"])
    finally:
        _end(worker)
    code = worker.process.returncode
    result = _ended(last_words(worker.log, code), code=code, over=outcome(cell, out).over)
    if not shared:
        result["files"], left = pack_what_fits(run_of(out, cell))
        result["log"] = disk.read_end(worker.log, most=LOG_BYTES)
        if left:
            result["log"] += (
                f"{NOTE}{WARNING}too large to travel whole; {left} of its older checkpoints are lost\n"
            )
    return result


def sees(out: Path, token: str) -> bool:
    """Whether this machine sees the driver's folder, by a file that the driver wrote there; without a token: no."""
    try:
        return bool(token) and disk.read_text(out / TOKEN, limit=len(token)) == token
    except (OSError, ValueError):
        return False


def _cell(job: dict[str, Any], out: Path) -> Cell:
    """The cell from the text of its config, with copies of the methods that it names."""
    own(out / "runs")
    folder = own(out / "configs")
    for name, text in job["methods"].items():
        copies.keep_text(folder, name, text)
    path = folder / f"{job['name']}.json"
    disk.write_text(path, job["config"])
    return Cell(copies.load_config(path))


def _check_data(cell: Cell, digest: str) -> None:
    """Prepare the node's corpus, and hold it against the driver's.

    Raises:
        DataError: it can't be had here, or is another one.
    """
    here = open_data(cell.config).digest
    if here != digest:
        raise DataError(
            f"{cell.config.data.source} gives data {here[:8]} here and {digest[:8]} where the study was started; put the same "
            "text, or the same version of Python for stdlib, on every node"
        )


def _watch(worker: Worker, out: Path, desk: Any, key: str) -> None:
    """Tell the desk of progress until the worker ends; where a stop is asked for, have it save."""
    (cell,) = worker.cells
    told, asked = 0.0, None
    while worker.process.poll() is None:
        time.sleep(POLL_SECONDS)
        now = time.monotonic()
        if asked is None and now - told >= TELL_SECONDS:
            told = now
            if _tell(desk, key, run_of(out, cell), cell.config.train.steps):
                worker.process.send_signal(signal.SIGTERM)
                asked = now
        if asked is not None and now - asked > SAVE_SECONDS:
            worker.process.kill()


def _tell(desk: Any, key: str, run_path: Path, steps: int) -> bool:
    """Whether to stop; also where the desk is gone, because then nobody waits for this cell."""
    p = read_progress(run_path, steps)
    said = {"step": p.step, "loss_nats": p.loss_nats, "step_seconds": p.step_seconds}
    try:
        return bool(asked(desk.tell.remote(key, said)))
    except WorldError:
        return True


def _end(worker: Worker) -> None:
    """Leave no process behind, however the task ends."""
    hang_up(worker)
    try:
        worker.process.wait(SAVE_SECONDS)
    finally:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait()
