"""The loop of `ngptlab watch`: find the runs, look at each, show them."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Group
from rich.live import Live

from ngptlab.console import Console
from ngptlab.errors import ConfigError
from ngptlab.watch.find import find
from ngptlab.watch.state import View, Watched, locked_inodes
from ngptlab.watch.table import render


class Watch:
    """The runs at and below a folder, as they come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unreadable = 0
        """Folders whose config.json is no run's."""
        self._watched: dict[Path, tuple[int, Watched | None]] = {}

    def look(self) -> list[View]:
        """All runs that are there now."""
        seen: dict[Path, tuple[int, Watched | None]] = {}
        for path in find(self.folder):
            try:
                inode = (path / "config.json").stat().st_ino
            except OSError:
                continue
            known = self._watched.get(path)
            # Another config.json under the same name: the run was removed and begun anew.
            seen[path] = known if known and known[0] == inode else (inode, _open(path))
        self._watched = seen
        watched = [run for _, run in seen.values() if run is not None]
        self.unreadable = len(seen) - len(watched)
        locked = locked_inodes()
        return [run.look(locked) for run in watched]


def watch(folder: Path, *, every_seconds: float, once: bool, console: Console) -> None:
    """Show the runs of a folder until Ctrl-C; with `once`, or where the console is no terminal, one time.

    Raises:
        ConfigError: the folder isn't there.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give a run, or a folder with runs below it")
    watching = Watch(folder)

    def present() -> Group:
        return render(watching.look(), folder, watching.unreadable, console)

    if once or not console.is_terminal:
        console.print(present())
        return
    try:
        with Live(present(), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(every_seconds)
                live.update(present(), refresh=True)
    except KeyboardInterrupt:
        return


def _open(path: Path) -> Watched | None:
    try:
        return Watched(path)
    except (ConfigError, OSError):
        return None
