"""What the environment says of this process, and how a batch is divided."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError
from ngptlab.world.launched import NEEDED, Launched, launched
from ngptlab.world.split import check_split, of_one_process
from ngptlab.world.world import ALONE, World

MakeConfig = Callable[..., RunConfig]


class Sized(World):
    def __init__(self, size: int, rank: int = 0) -> None:
        self.size, self.rank = size, rank


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NEEDED, "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


def tell(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in {"MASTER_ADDR": "localhost", "MASTER_PORT": "1", **values}.items():
        monkeypatch.setenv(name, value)


def test_one_process_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launched() == Launched()
    tell(monkeypatch, RANK="3")  # a variable of that name may be anybody's
    assert launched() == Launched()


def test_as_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(
        monkeypatch,
        RANK="5",
        WORLD_SIZE="8",
        LOCAL_RANK="1",
        LOCAL_WORLD_SIZE="4",
        TORCHELASTIC_RESTART_COUNT="2",
        TORCHELASTIC_MAX_RESTARTS="3",
        TORCHELASTIC_USE_AGENT_STORE="True",
    )
    assert launched() == Launched(
        rank=5, size=8, local_rank=1, local_size=4, restarts=2, may_restart=True, store_outlives=True
    )


@pytest.mark.parametrize(
    "values",
    [
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"RANK": "-1", "WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": "0"},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "1"},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4"},
        {"RANK": "one", "WORLD_SIZE": "2"},
    ],
)
def test_numbers_that_contradict(values: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, **values)
    with pytest.raises(ConfigError, match="torchrun") as caught:
        launched()
    assert "\n" not in str(caught.value)


def test_rows_are_a_partition() -> None:
    for size in (1, 2, 4):
        rows = [number for rank in range(size) for number in range(8)[Sized(size, rank).rows(8)]]
        assert rows == list(range(8))
        shared = [piece for rank in range(size) for piece in Sized(size, rank).share(range(7))]
        assert sorted(shared) == list(range(7))


@pytest.mark.parametrize(
    ("size", "micro", "said"),
    [
        (
            5,
            0,
            "train.batch_size: 12 sequences can't be divided among 5 processes; possible are 1, 2, 3, 4, 6, 12 processes",
        ),
        (
            2,
            4,
            "each of 2 processes has 6 of the 12 sequences of a batch; possible are micro-batches of 1, 2, 3, 6",
        ),
    ],
)
def test_impossible_splits_list_the_possible(
    size: int, micro: int, said: str, make_config: MakeConfig
) -> None:
    config = make_config(train={"batch_size": 12}, device={"micro_batch": micro})
    with pytest.raises(ConfigError) as caught:
        check_split(config, Sized(size))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_what_an_error_lists_is_possible(make_config: MakeConfig) -> None:
    for size, micro in ((1, 0), (2, 3), (4, 3), (6, 2), (12, 1), (2, 6), (3, 4), (1, 12)):
        check_split(make_config(train={"batch_size": 12}, device={"micro_batch": micro}), Sized(size))


def test_every_stage_of_the_batch_is_divided(make_config: MakeConfig) -> None:
    config = make_config(train={"batch_size": 12, "batch_stages": (0.5, 1.0, 1.5)})
    check_split(config, Sized(3))
    said = r"batches of 6, 12, 18 sequences \(train.batch_stages\) can't be divided among 4 processes; possible are 1, 2, 3, 6"
    with pytest.raises(ConfigError, match=said):
        check_split(config, Sized(4))


def test_memory_is_counted_for_the_rows_of_one_process(make_config: MakeConfig) -> None:
    config = make_config(train={"batch_size": 12})
    assert of_one_process(config, ALONE) == config
    assert of_one_process(config, Sized(3)).device.micro_batch == 4
    small = make_config(train={"batch_size": 12}, device={"micro_batch": 2})
    assert of_one_process(small, Sized(3)) == small
