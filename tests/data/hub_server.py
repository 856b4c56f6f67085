"""A hub on loopback: the little of its protocol that downloads of datasets use, with faults on demand, and a log."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "89abcdef0123456789abcdef0123456789abcdef"


@dataclass
class Hub:
    """What it serves, how it fails, and what was asked of it."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Repository -> name -> content, at COMMIT."""
    other: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """The same at the commit OTHER."""
    heads: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, "refs/convert/parquet": OTHER})
    """Branch or tag -> commit that it means."""
    served: dict[str, bytes] = field(default_factory=dict)
    """Name -> what is sent instead of the content, under the content's digest."""
    cut: dict[str, list[int]] = field(default_factory=dict)
    """Name -> for each of the next downloads, bytes after which the connection breaks."""
    status: dict[str, int] = field(default_factory=dict)
    """Name -> status of its download."""
    stall: set[str] = field(default_factory=set)
    """Names whose downloads stop halfway and stay open."""
    stalled: threading.Event = field(default_factory=threading.Event)
    """Set once one has."""
    log: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path, Range."""
    endpoint: str = ""

    def revision(self, repository: str, path: str) -> tuple[str, dict[str, bytes], str] | None:
        """Commit and files of the revision with which a path begins, and the rest of the path."""
        commits = {COMMIT: self.files, OTHER: self.other}
        for name, commit in [*self.heads.items(), *zip(commits, commits, strict=True)]:
            if repository in commits[commit] and (path == name or path.startswith(f"{name}/")):
                return commit, commits[commit][repository], path[len(name) + 1 :]
        return None

    def downloads(self) -> list[tuple[str, str]]:
        """(name, Range) of every download."""
        return [
            (path.rpartition("/")[2], span)
            for method, path, span in self.log
            if "/resolve/" in path and method == "GET"
        ]


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` on a free port of 127.0.0.1; sets its endpoint."""

    class Handler(_Handler):
        served_hub = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served_hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_POST(self) -> None:
        asked = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        self._answer(body=True, asked=asked.get("paths", []))

    def log_message(self, *_: object) -> None:
        pass

    def _log(self) -> None:
        self.served_hub.log.append(
            (self.command, unquote(urlsplit(self.path).path), self.headers.get("Range", ""))
        )

    def _answer(self, *, body: bool, asked: list[str] | None = None) -> None:
        self._log()
        hub, path = self.served_hub, unquote(urlsplit(self.path).path)
        owner, name, *rest = path.removeprefix("/api").removeprefix("/datasets/").split("/", 3)
        repository, (kind, place) = f"{owner}/{name}", rest or ("revision", "main")
        if repository not in hub.files:
            return self._error(401, "RepoNotFound")
        found = hub.revision(repository, place)
        if found is None:
            return self._error(404, "RevisionNotFound")
        commit, files, file = found
        if kind == "resolve":
            return self._file(files, file, commit, body)
        if kind == "revision":
            return self._describe(repository, files, commit)
        entries = _tree(files)
        if kind == "tree":
            inside = [entry for entry in entries if not file or entry["path"].startswith(f"{file}/")]
            deep = "recursive=true" in urlsplit(self.path).query.lower()
            entries = [entry for entry in inside if deep or entry["path"].rpartition("/")[0] == file]
            return self._send_json(entries) if entries else self._error(404, "EntryNotFound")
        return self._send_json([entry for entry in entries if entry["path"] in (asked or [])])

    def _error(self, status: int, code: str) -> None:
        self._send(
            status, {"X-Error-Code": code, "X-Error-Message": code}, b"{}" if self.command != "HEAD" else b""
        )

    def _describe(self, repository: str, files: dict[str, bytes], commit: str) -> None:
        siblings = [
            {
                "rfilename": name,
                "size": len(content),
                "blobId": hashlib.sha1(content).hexdigest(),
                "lfs": {"sha256": _sha256(content), "size": len(content), "pointerSize": 134},
            }
            for name, content in files.items()
        ]
        self._send_json({"id": repository, "sha": commit, "private": False, "tags": [], "siblings": siblings})

    def _send_json(self, value: object) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _file(self, files: dict[str, bytes], name: str, commit: str, body: bool) -> None:
        hub = self.served_hub
        if name not in files or hub.status.get(name) == 404:
            return self._error(404, "EntryNotFound")
        if body and name in hub.status:
            return self._error(hub.status[name], "")
        content = hub.served.get(name, files[name])
        headers = {
            "X-Repo-Commit": commit,
            "ETag": f'"{_sha256(files[name])}"',
            "X-Linked-Etag": f'"{_sha256(files[name])}"',
            "X-Linked-Size": str(len(files[name])),
            "Accept-Ranges": "bytes",
        }
        status, part = 200, content
        if span := self.headers.get("Range"):
            low, _, high = span.removeprefix("bytes=").partition("-")
            part = content[int(low) : int(high) + 1 if high else None]
            status, headers["Content-Range"] = 206, f"bytes {low}-{int(low) + len(part) - 1}/{len(content)}"
        self._send(status, headers, part, name if body else None)

    def _send(self, status: int, headers: dict[str, str], content: bytes, name: str | None = None) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        cuts = self.served_hub.cut.get(name or "", [])
        if self.command == "HEAD":
            return
        if cuts:
            self.wfile.write(content[: cuts.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        if name in self.served_hub.stall:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.served_hub.stalled.set()
            self.rfile.read(1)  # until the other side is gone
            return
        self.wfile.write(content)


def _tree(files: dict[str, bytes]) -> list[dict[str, Any]]:
    """Files and the folders that hold them, as the hub lists them."""
    folders = sorted({parent.as_posix() for name in files for parent in PurePosixPath(name).parents[:-1]})
    found: list[dict[str, Any]] = [
        {"type": "directory", "oid": "0" * 40, "size": 0, "path": path} for path in folders
    ]
    for name, content in files.items():
        found.append(
            {"type": "file", "oid": hashlib.sha1(content).hexdigest(), "size": len(content), "path": name}
        )
    return found


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
