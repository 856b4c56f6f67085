"""A data set on a hub of this machine: as much of the protocol as streaming needs, with several commits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


class Hub:
    """One repository, `lab/texts`. `commits` has the files of each; `heads` says which one a branch means."""

    def __init__(self, commits: dict[str, Files], heads: dict[str, str]) -> None:
        self.commits, self.heads = commits, heads
        self.bytes_sent: dict[str, int] = {}
        """By file, over all requests."""

    def files(self, revision: str) -> tuple[str, Files] | None:
        commit = self.heads.get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None


@contextmanager
def serving(hub: Hub) -> Iterator[str]:
    """Its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith("/datasets/lab/texts/resolve/"):
                self._file(*path.removeprefix("/datasets/lab/texts/resolve/").split("/", 1))
                return
            _, api, rest = path.partition("/api/datasets/lab/texts")
            kind, _, revision = rest.strip("/").partition("/")
            found = hub.files(revision.partition("/")[0] or "main") if api else None
            if found is None:
                self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound" if api else "RepoNotFound"})
            elif kind in ("", "revision"):
                siblings = [{"rfilename": name} for name in found[1]]
                self._json(
                    {"id": "lab/texts", "sha": found[0], "siblings": siblings, "tags": [], "private": False}
                )
            elif kind == "tree":
                self._json([entry(name, raw) for name, raw in found[1].items()])
            else:
                self._answer(404, b"{}")

        do_HEAD = do_GET

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked = json.loads(body)["paths"] if body.startswith("{") else []
            revision = unquote(urlsplit(self.path).path).rpartition("/")[2]
            found = hub.files(revision)
            self._json(
                [entry(name, raw) for name, raw in (found[1] if found else {}).items() if name in asked]
            )

        def _file(self, revision: str, name: str) -> None:
            found = hub.files(revision)
            if found is None or name not in found[1]:
                self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
                return
            raw, status = found[1][name], 200
            headers = {"X-Repo-Commit": found[0], "ETag": f'"{hash(raw)}"', "Accept-Ranges": "bytes"}
            if asked := self.headers.get("Range"):
                low, _, high = asked.removeprefix("bytes=").partition("-")
                end = min(int(high) + 1 if high else len(raw), len(raw))
                headers["Content-Range"] = f"bytes {low}-{end - 1}/{len(raw)}"
                raw, status = raw[int(low) : end], 206
            if self.command == "GET":
                hub.bytes_sent[name] = hub.bytes_sent.get(name, 0) + len(raw)
            self._answer(status, raw, headers)

        def _json(self, value: object) -> None:
            self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _answer(self, status: int, raw: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(raw)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(raw)

    def entry(name: str, raw: bytes) -> dict[str, object]:
        return {"type": "file", "path": name, "size": len(raw), "oid": f"{hash(raw):x}"}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
