"""Uploading: by the flag alone, through the hub's own client, and a refusal is one line that loses nothing."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import close_session, constants

from ngptlab.cli import main
from ngptlab.trained import Trained

MakeTrained = Callable[..., Trained]


class Hub(ThreadingHTTPServer):
    """As much of the hub as creating a repository and one commit need, on the loopback."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.calls: list[str] = []
        self.created: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.refuses = False


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.answer({"id": "me/model", "sha": "0" * 40, "siblings": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or self.chunks()
        if self.server.refuses:
            return self.answer({"error": "Invalid username or password."}, 401)
        if self.path.endswith("/repos/create"):
            self.server.created = json.loads(body)
            return self.answer({"url": f"{self.address}/me/model", "name": "me/model", "id": "me/model"})
        if "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            each = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for f in asked
            ]
            return self.answer({"files": each})
        if "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            address = f"{self.address}/me/model/commit/{'0' * 40}"
            return self.answer({"commitUrl": address, "commitOid": "0" * 40, "success": True})
        return self.answer({})

    def chunks(self) -> bytes:
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        return body

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, value: Any, status: int = 200) -> None:
        self.server.calls.append(f"{self.command} {self.path}")
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing: the log is `calls`."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as server:
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
        close_session()


def test_nothing_is_sent_without_the_flag(make_trained: MakeTrained, tmp_path: Path, hub: Hub) -> None:
    trained = make_trained("gpt")
    assert main(["export", str(trained.run.path), str(tmp_path / "out")]) == 0
    assert main(["export", str(trained.run.path), str(tmp_path / "more"), "--public"]) == 2
    assert hub.calls == [] and not (tmp_path / "more").exists()


@pytest.mark.parametrize("public", [False, True])
def test_the_folder_is_sent_as_it_is(
    make_trained: MakeTrained, tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str], public: bool
) -> None:
    out = tmp_path / "out"
    arguments = ["export", str(make_trained("ngpt").run.path), str(out), "--push", "me/model"]
    assert main([*arguments, *(["--public"] if public else [])]) == 0
    assert hub.files == {path.name: path.read_bytes() for path in out.iterdir()}
    assert hub.created["name"] == "model" and hub.created["organization"] == "me"
    assert hub.created.get("private", hub.created.get("visibility") == "private") is not public
    assert "/me/model" in capsys.readouterr().out


def test_a_refusal_is_one_line_and_the_folder_is_whole(
    make_trained: MakeTrained, tmp_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.refuses = True
    run = str(make_trained("gpt").run.path)
    assert main(["export", run, str(tmp_path / "out"), "--push", "me/model"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "--push me/model: not sent (" in said and "hf auth login" in said
    assert "hf_of_the_test" not in said
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert main(["export", run, str(tmp_path / "other"), "--push", "not a name"]) == 2
    assert "--push not a name: not sent (" in capsys.readouterr().err


def test_no_network_is_one_line(
    make_trained: MakeTrained,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    run = str(make_trained("gpt").run.path)
    try:
        assert main(["export", run, str(tmp_path / "out"), "--push", "me/model"]) == 2
    finally:
        close_session()
    said = capsys.readouterr().err
    assert "not sent (" in said and said.count("\n") == 1 and (tmp_path / "out" / "README.md").is_file()
