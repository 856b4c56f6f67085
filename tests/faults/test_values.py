"""Numbers that nothing can be made of, for every verb that takes some: one short line, exit code 2, and no memory taken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from made_runs import config_of
from ngptlab import config as configs
from ngptlab.cli import main
from ngptlab.experiment import initial_model
from ngptlab.export.imported import write_run
from ngptlab.methods import resolve

BIG, LONG = "1" + "0" * 30, "1" + "0" * 5_000
SECONDS = 30.0
"""For any of these, on a machine that does much else. Alone it is tenths of one."""
TOO_MANY = "give at most"

FIELDS = {
    "seed": {"4294967296": "less than 4294967296", str(2**64): "less than 4294967296", LONG: "in decimals"},
    "data.seed": {"4294967296": "less than 4294967296", "-1": "greater than or equal to 0"},
    "model.d_model": {"1000000000": "EB at least", BIG: "at most 2**53", "1e9": "lower model.d_model"},
    "model.vocab_size": {"1000000000": "lower model.vocab_size", "0": "greater than 0"},
    "model.num_layers": {"65537": "equal to 4096", "1000000000": "equal to 4096"},
    "model.num_heads": {"1000000000": "even head width"},
    "model.d_ff": {"1000000000": "lower model.d_ff (1,000,000,000)"},
    "train.batch_size": {"1000000000": "lower train.batch_size", BIG: "at most 2**53"},
    "train.context": {"1000000000": "lower train.context"},
    "train.steps": {BIG: "at most 2**53", "1e400": "finite", "yes": "in decimals", "1:30": "in decimals"},
    "device.threads": {"100000": "equal to 1024", "-1": "greater than or equal to 0"},
    "optim.lr": {
        "1e-300": "in float32 that is 0",
        "1e300": "infinite",
        "nan": "in decimals",
        "1e400": "finite",
    },
    "optim.eps": {"1e-300": "in float32 that is 0", "1e-40": "in float32 that is 0"},
    "optim.grad_clip": {"1e-300": "in float32 that is 0", "1e39": "infinite", "inf": "in decimals"},
    "optim.weight_decay": {"1e-300": "in float32 that is 0", "-1": "greater than or equal to 0"},
    "optim.betas": {"0.9 0.99999999999": "optim.betas.1: given '0.99999999999'", "0.9 1": "less than"},
    "data.val_share": {"1e-300": "in float32 that is 0"},
    "schedule.cooldown_frac": {"1e-300": "in float32 that is 0", "1.5": "less than or equal to 1"},
    "param.base_tokens": {BIG: "at most 2**53"},
    "eval.length_factor": {BIG: "at most 2**53"},
    "eval.at": {BIG: "at most 2**53"},
}
"""By field of the config: values, and a part of what is said of them."""
SEEDS = {"1000000000": TOO_MANY, BIG: TOO_MANY, LONG: "give a whole number", "0": "at least 1"}
OPTIONS: dict[tuple[str, ...], dict[str, dict[str, str]]] = {
    ("compare", "demo"): {"--seeds": SEEDS},
    ("board", "demo", "--methods", "gpt"): {
        "--seeds": SEEDS,
        "--lrs": {"1e-300": "in float32 that is 0", "nan": "positive numbers"},
        "--decays": {
            "1e-300": "in float32 that is 0",
            "nan": "numbers from 0 on",
            "inf": "numbers from 0 on",
        },
        "--workers": {BIG: TOO_MANY},
    },
    ("ladder", "demo", "--from", "gpt", "--to", "ngpt"): {"--seeds": SEEDS, "--workers": {BIG: TOO_MANY}},
    ("cooldown", "demo", "--train.steps", "100"): {
        "--seeds": SEEDS,
        "--fracs": {
            "nan": "fractions of a run",
            "1e-300": "in float32 that is 0",
            "inf": "fractions of a run",
        },
        "--lengths": {BIG: TOO_MANY, "-1": "from 1 on"},
    },
    ("sweep", "demo", "--methods", "gpt"): {
        "--seeds": {key: value for key, value in SEEDS.items() if key != "0"},
        "--lrs": {"1e-300": "in float32 that is 0", "2^99999": "positive numbers", "nan": "positive numbers"},
        "--widths": {BIG: TOO_MANY, LONG: "give a whole number"},
        "--base-width": {BIG: TOO_MANY},
        "--workers": {BIG: TOO_MANY},
    },
    ("sweep", "demo", "--methods", "gpt", "--lrs", "2^-9"): {
        "--widths": {"24000000": "lower model.d_model", "0": "multiple of the head width"}
    },
    ("train", "demo"): {"--profile": {"0": "from 1 on", BIG: TOO_MANY}},
    ("plan", "demo"): {
        "--seeds": {BIG: TOO_MANY, "0": "from 1 on"},
        "--flops-per-second": {"1e-300": "give a number from", "inf": "above 0", "nan": "above 0"},
        "--mfu": {"nan": "a share between", "2": "a share between"},
        "--train.context": {str(10**15): "any machine has"},
        "--model.d-model": {str(10**10): "any machine has"},
    },
    ("check", "coord", "gpt"): {
        "--widths": {"1000000000 2000000000": "at least", f"16 {BIG}": TOO_MANY, "16": "two or more"},
        "--seeds": {BIG: TOO_MANY, "0": "greater than 0"},
        "--lr": {"nan": "finite", "1e300": "infinite", "1e-300": "in float32 that is 0"},
        "--base": {"-1": "not among --widths"},
        "--head-width": {"0": "greater than 0", BIG: TOO_MANY},
    },
    ("check", "table", "gpt"): {
        "--width": {"6400000000": "at least", BIG: TOO_MANY},
        "--vocab-size": {"1000000000": "for the embeddings"},
        "--layers": {"1000000000": "equal to 4096"},
        "--lr": {"nan": "finite", "1e-300": "in float32 that is 0"},
        "--tokens": {"-5": "from 1 on", BIG: TOO_MANY},
    },
    ("sample", "run", "the", "--max-tokens", "2"): {
        "--seed": {
            "4294967296": "from 0 to 4294967295",
            "-1": "from 0 to 4294967295",
            LONG: "from 0",
            "1e3": "from 0",
        },
        "--num": {"1000000000": "continuations at once", BIG: TOO_MANY, LONG: "from 1 on", "0": "from 1 on"},
        "--max-tokens": {BIG: TOO_MANY, "²": "from 1 on"},
        "--temperature": {"nan": "0 or more", "inf": "0 or more", "-1": "0 or more"},
        "--top-k": {"-1": "or more", LONG: "give a whole number"},
        "--top-p": {"nan": "above 0", "0": "above 0"},
        "--min-p": {"nan": "from 0 to 1"},
        "--step": {"-1": "no checkpoint of step -1", BIG: TOO_MANY},
    },
    ("eval", "run", "--evals", "length"): {
        "--factor": {BIG: TOO_MANY, "0": "from 1 on"},
        "--documents": {BIG: TOO_MANY},
        "--window": {BIG: TOO_MANY},
        "--rope-base": {"1e-300": "give a number from", "1e300": "give a number from", "nan": "above 0"},
        "--rope-scale": {"1e-300": "give a number from", "inf": "above 0"},
    },
    ("eval", "run", "--evals", "val"): {"--val-tokens": {BIG: TOO_MANY}, "--step": {BIG: TOO_MANY}},
    ("export", "run", "folder"): {"--step": {"7": "no checkpoint of step 7", BIG: TOO_MANY}},
    ("import", "file", "folder", "--from", "modded-nanogpt"): {
        "--num-heads": {BIG: TOO_MANY, "0": "from 1 on"}
    },
    ("data", "prepare", "texts", "--out", "shards"): {
        "--workers": {BIG: TOO_MANY, "0": "from 1 on"},
        "--val-share": {"nan": "finite", "1e-300": "in float32 that is 0", "0.9": "less than 0.5"},
        "--long-min-tokens": {BIG: TOO_MANY},
    },
    ("bench", "scaling"): {"--turns": {BIG: TOO_MANY, "0": "from 1 on"}},
    ("watch", "run"): {
        "--every": {"1e300": "give a number from", "1e9": "at most 86400 seconds", "nan": "above 0"}
    },
}
"""By verb, and by option of its own: values, and a part of what is said of them."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run that nobody trained, and few texts."""
    folder = tmp_path_factory.mktemp("values")
    config = resolve(config_of("gpt", model={"vocab_size": 257}, device={"kind": "cpu", "threads": 1}))
    write_run(config, dict(initial_model(config).state_dict()), folder / "run", step=100, origin="a test")
    (folder / "config.json").write_text(configs.dump(config))
    yield folder


def cases() -> Iterator[tuple[tuple[str, ...], str]]:
    for field, values in FIELDS.items():
        for value, said in values.items():
            yield ("train", "config.json", f"--{field.replace('_', '-')}", *value.split()), said
    for verb, options in OPTIONS.items():
        for option, values in options.items():
            for value, said in values.items():
                yield (*verb, option, *value.split()), said


@pytest.mark.parametrize(
    ("arguments", "said"),
    list(cases()),
    ids=lambda value: " ".join(v[:12] for v in value) if isinstance(value, tuple) else "-",
)
def test_is_told_in_a_line(
    arguments: tuple[str, ...],
    said: str,
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    start = time.perf_counter()
    assert main(arguments) == 2
    assert time.perf_counter() - start < SECONDS
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("ngptlab: ")
    assert said in err and len(err) < 600, err
    assert sorted(place.rglob("*")) == before, "a wrong command wrote something"
