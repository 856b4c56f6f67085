"""Secrets of the environment are in nothing that is written or said, in no spelling."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from huggingface_hub import constants

from ngptlab.cli import main, parser
from ngptlab.data.shards.hub import explained
from ngptlab.errors import without_secrets
from ngptlab.runs import Run
from ngptlab.tracking.limits import reason

SECRETS = {
    "HF_TOKEN": "hf_CaNaRyQ1w2E3r4T5y6U7i8O9p0",
    "WANDB_API_KEY": "c4n4ry00112233445566778899aabbccddeeff00",
    "AWS_ACCESS_KEY_ID": "AKIACANARY0123456789",
    "AWS_SECRET_ACCESS_KEY": "cAnArY/abc+def/ghi+jkl/mno+pqr/stu+vwx/yz",
    "OPENAI_API_KEY": "sk-cAnArY-9f8e7d6c5b4a39281706",
    "GITHUB_TOKEN": "ghp_cAnArY0011223344556677889900aabb",
    "https_proxy": "http://somebody:cAnArY%21p4ss@127.0.0.1:9",
    "COMPANY_PASSWORD": "cAnArY p4ss & wörd",
}
"""By the name of the variable. Of an address the password is secret."""
PASSWORD = "cAnArY%21p4ss"


def secrets() -> dict[str, str]:
    return {**SECRETS, "https_proxy": PASSWORD}


def spellings(secret: str) -> Iterator[bytes]:
    """A secret as it may stand in a file: itself, in an address, in hexadecimal, in base64 at whatever place."""
    raw = secret.encode()
    yield raw
    yield from (
        each.encode() for each in (quote(secret, safe=""), quote_plus(secret), quote(quote(secret, safe="")))
    )
    yield secret.encode("unicode_escape")
    yield secret.encode("utf-16-le")
    yield raw.hex().encode()
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # What the neighbours of the secret have a part in is left out.
            yield encode(bytes(before) + raw)[4 if before else 0 : -4]


def found_in(content: bytes) -> list[str]:
    lower = content.lower()
    return [
        name
        for name, secret in secrets().items()
        if any(each in content or each.lower() in lower for each in spellings(secret))
    ]


def leaks(folder: Path) -> list[str]:
    """Files, and names of files, that hold a secret."""
    found = []
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        found += [f"{path}: {name}" for name in found_in(content + os.fsencode(path))]
    return found


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("kept")
def test_a_run_its_crash_and_what_is_made_of_it(
    work: Path, tiny: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Run.append

    def full(self: Run, stream: str, record: dict[str, object]) -> None:
        if stream == "metrics" and record["step"] == 4:
            raise OSError(28, "No space left on device")
        append(self, stream, record)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append", full)
        assert main(["train", "demo", *tiny, "--out", "run"]) == 2
    for line in (["train", "demo", *tiny, "--out", "run"], *map(str.split, AFTER)):
        assert main(line) == 0, line
    assert leaks(work.parent) == []
    assert found_in("".join(capfd.readouterr()).encode()) == []


AFTER = (
    "ledger runs.jsonl --add run --csv runs.csv",
    "export run folder",
    "import folder back",
    "watch . --once",
)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("kept")
def test_everything_and_by_processes_of_their_own(work: Path, tiny: list[str]) -> None:
    """A crash with a traceback, workers with logs, a profile, a page, claims."""
    crash = "import ngptlab.runs as r\ndef f(*a): raise KeyError('x')\nr.Run.append = f\n"
    start = "import sys\nfrom ngptlab.cli import main\nsys.exit(main(sys.argv[1:]))"
    said = b""
    for code, line, ends in (
        (crash + start, ["train", "demo", *tiny, "--out", "crashed"], 1),
        (start, ["train", "demo", *tiny, "--out", "run", "--profile", "2"], 0),
        (start, ["compare", "demo", *tiny, "--methods", "gpt", "ngpt", "--seeds", "1", "--out", "both"], 0),
        (start, ["sweep", "demo", *tiny, "--lrs", "2^-9", "2^-8", "--workers", "1", "--out", "swept"], 0),
        (start, ["report", "both", "swept", "--out", "page", "--claims", "both"], 0),
        (start, ["claims", "both", "--out", "judged"], 0),
        (start, ["eval", "run", "--evals", "val", "scales", "spectra", "--out", "measured"], 0),
        *((start, line.split(), 0) for line in AFTER),
        (start, ["track", "run", "--to", "wandb"], 2),
        (start, ["config", "demo", "--optim.lr", "x"], 2),
        (start, ["data", "get", "fineweb10B", "--out", "fetched"], 2),
    ):
        done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, timeout=300)
        assert done.returncode == ends, (line, done.stderr[-2_000:])
        said += done.stdout + done.stderr
    assert b"KeyError" in said
    assert found_in(said) == [] and leaks(work.parent) == []


@pytest.mark.usefixtures("kept")
def test_what_a_library_says_is_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", f"http://me:{PASSWORD}@127.0.0.1:9")
    for error in (
        ConnectionError(f"no way through {SECRETS['https_proxy']}"),
        RuntimeError(f"the server did not like {SECRETS['HF_TOKEN']} and {SECRETS['COMPANY_PASSWORD']}"),
    ):
        for said in (str(explained(error, "a/b")), reason(error), without_secrets(str(error))):
            assert "***" in said and found_in(said.encode()) == []
    assert without_secrets("http://127.0.0.1:9/a@b stays, and a short word") == (
        "http://127.0.0.1:9/a@b stays, and a short word"
    )


def test_no_option_takes_a_secret() -> None:
    """What stands on a command line, every process of the machine can read."""
    options = {
        option
        for verb in ("train", "compare", "track", "export", "import", "data", "eval")
        for option in parser().options_of(verb)
    }
    words = ("secret", "password", "api-key", "apikey", "auth")
    assert [option for option in options if any(word in option for word in words)] == []


@pytest.mark.parametrize("name", SECRETS)
def test_a_leak_is_seen(name: str, tmp_path: Path) -> None:
    secret = secrets()[name]
    for number, spelled in enumerate(spellings(secret)):
        (tmp_path / f"{number}").write_bytes(b"\0x" + spelled + b"y")
        assert any(name in leak for leak in leaks(tmp_path)), number
        (tmp_path / f"{number}").unlink()
    for before in range(6):
        (tmp_path / "x").write_bytes(base64.b64encode(b"a" * before + secret.encode() + b"bcd"))
        assert any(name in leak for leak in leaks(tmp_path)), before
