"""Operations of several processes, without the processes: what is put together, and who says the last word."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed import TCPStore

from ngptlab import cli
from ngptlab.errors import ConfigError
from ngptlab.jobs.local import prepare
from ngptlab.terminal import aloud, muted, remark, say
from ngptlab.train.replicas import checksums
from ngptlab.world import last_word as words
from ngptlab.world import meeting, processes
from ngptlab.world.last_word import last_word
from ngptlab.world.launched import NEEDED, Launched
from ngptlab.world.meeting import first_line, store_of
from ngptlab.world.processes import Processes, buckets


def test_buckets_keep_the_order_and_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "BUCKET_BYTES", 40)
    made = [torch.zeros(n) for n in (4, 4, 4, 30, 1)] + [torch.zeros(2, dtype=torch.float64), torch.zeros(1)]
    found = buckets(made)
    flat = [tensor for bucket in found for tensor in bucket]
    assert all(a is b for a, b in zip(flat, made, strict=True))
    assert [[t.numel() for t in bucket] for bucket in found] == [[4, 4], [4], [30], [1], [2], [1]]


def test_a_sum_has_the_shapes_of_what_it_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were two processes with equal gradients, in several buckets."""

    class Done:
        def wait(self) -> None:
            pass

    def doubled(flat: torch.Tensor, async_op: bool) -> Done:
        flat.mul_(2)
        return Done()

    monkeypatch.setattr(processes, "BUCKET_BYTES", 200)
    monkeypatch.setattr(processes.dist, "all_reduce", doubled)
    world = object.__new__(Processes)
    world.size = 2
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 7))
    model[0](torch.randn(2, 3)).sum().backward()  # the second layer has no gradient
    before = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    told = world.sum_gradients(model.parameters(), torch.tensor(1.5), signal.SIGUSR1)
    for parameter, grad in zip(model.parameters(), before, strict=True):
        if grad is None:
            assert parameter.grad is None
        else:
            assert parameter.grad is not None and torch.equal(parameter.grad, 2 * grad)
    assert told[0] == 3.0 and world.agreed_stop(told.tolist(), None) == signal.SIGUSR1
    told = world.sum_gradients(model.parameters(), torch.tensor(1.5), None)
    assert world.agreed_stop(told.tolist(), signal.SIGTERM) is None, "the others were not told"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_bit_changes_a_checksum(dtype: torch.dtype) -> None:
    model = nn.Linear(3, 5).to(dtype)
    before = checksums(dict(model.named_parameters()))
    assert before == checksums(dict(model.named_parameters())) and list(before) == ["weight", "bias"]
    with torch.no_grad():
        model.bias[4] = torch.nextafter(model.bias[4], torch.tensor(9.0, dtype=dtype))
    after = checksums(dict(model.named_parameters()))
    assert after["weight"] == before["weight"] and after["bias"] != before["bias"]


def test_muted_processes_speak_when_they_end(capsys: pytest.CaptureFixture[str]) -> None:
    with muted():
        say("a result")
        remark("a remark")
        aloud("an end")
    say("more")
    out, err = capsys.readouterr()
    assert (out, err) == ("more\n", "an end\n")


class Store:
    """A store in this process."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def add(self, key: str, by: int) -> int:
        self.numbers[key] = self.numbers.get(key, 0) + by
        return self.numbers[key]

    def check(self, keys: list[str]) -> bool:
        return all(key in self.numbers for key in keys)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    made = Store()
    monkeypatch.setattr("ngptlab.world.meeting.store_of", lambda here, seconds: made)
    monkeypatch.setattr(words, "PRECEDENCE_SECONDS", 0.2)
    monkeypatch.setattr(words, "PATIENCE_SECONDS", 0.4)
    kept = {number: signal.getsignal(number) for number in words.ENDING}
    yield made
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_one_message_for_all(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for rank in (0, 1, 2):
        last_word(Launched(rank=rank, size=3))("an error of all")
    assert capsys.readouterr().err == "an error of all\n"


def test_another_process_says_who_it_is(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    last_word(Launched(rank=2, size=3))("its own error")
    last_word(Launched(rank=0, size=3))("another process ended")
    assert capsys.readouterr().err == "[process 2] its own error\n"


def test_without_a_store_few_speak(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(key: str, by: int) -> int:
        raise RuntimeError("connection closed")

    monkeypatch.setattr(store, "add", gone)
    for rank in (1, 2, 3):
        last_word(Launched(rank=rank, size=4))("lost")
    assert capsys.readouterr().err == "[process 1] lost\n"


def test_restarts_over_several_machines_need_a_switch() -> None:
    here = Launched(size=4, local_size=2, may_restart=True, store_outlives=True)
    with pytest.raises(ConfigError, match="TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"):
        store_of(here, 1.0)


def test_attempts_don_t_see_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchrun keeps a store over restarts, for both processes of each."""
    kept = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    values = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(kept.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(meeting, "_FOUND", {})
    stores = {
        (rank, restarts): store_of(
            Launched(
                rank=rank, size=2, local_rank=rank, local_size=2, restarts=restarts, store_outlives=True
            ),
            20.0,
        )
        for restarts in (0, 1)
        for rank in (0, 1)
    }
    stores[1, 0].set("address", "of a process that was killed")
    assert stores[0, 0].check(["address"]) and not stores[0, 1].check(["address"])
    stores[1, 1].set("address", "of its successor")
    assert stores[0, 1].get("address") == b"of its successor"


def test_what_torch_says_first() -> None:
    text = "[/a/b/gloo/tcp/pair.cc:537] Read error [127.0.0.1]:61824: Connection reset by peer. This is typically ...\nmore"
    assert first_line(RuntimeError(text)) == "Read error [127.0.0.1]:61824: Connection reset by peer"
    assert first_line(RuntimeError("")) == "RuntimeError"


def test_studies_of_the_api_are_refused_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in zip(NEEDED, ("0", "2", "localhost", "1"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="several runs: torchrun starts"):
        prepare([], tmp_path)


@pytest.mark.parametrize("verb", ["sweep", "compare", "ladder", "eval", "plan", "board", "report"])
def test_other_verbs_say_that_they_start_without_torchrun(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Store
) -> None:
    for name, value in zip(NEEDED, ("0", "2", "localhost", "1"), strict=True):
        monkeypatch.setenv(name, value)
    assert cli.main([verb, "demo"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"ngptlab: {verb}: torchrun starts") and said.count("\n") == 1
