"""Downstream tasks through lm-eval: prompts against its own definitions, scores against plain arithmetic."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ngptlab import methods
from ngptlab.cli import main
from ngptlab.config import Dims, RunConfig
from ngptlab.data.tokens.choose import tokenizer
from ngptlab.data.tokens.tokenizer import ByteTokenizer
from ngptlab.errors import ConfigError, DataError
from ngptlab.experiment import train
from ngptlab.nn.decoder import Decoder
from ngptlab.stats.estimates import stderr

pytestmark = [
    pytest.mark.extra,
    # What lm-eval's own imports say of each other.
]
pytest.importorskip("lm_eval")

import datasets  # noqa: E402
from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.api.metrics import mean_stderr  # noqa: E402

from ngptlab.measure.tasks import measure as harness  # noqa: E402
from ngptlab.measure.tasks.adapter import LabLM  # noqa: E402

DATA = Path(os.environ.get("NGPTLAB_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
EOT = ByteTokenizer.end_of_text

HELLASWAG = ["is using wrap.", "is ripping tiles off.", "is holding a cube.", "starts pulling up roofing."]
# By task: lm-eval's data set, a row as it has it, and the same row as a local file has it.
ROWS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "arc_easy": (
        "allenai/ai2_arc/ARC-Easy",
        {
            "question": "Which is safe?",
            "choices": {"text": ["a mask", "gloves", "an apron"], "label": ["A", "B", "C"]},
            "answerKey": "B",
        },
        {"query": "Question: Which is safe?", "choices": ["a mask", "gloves", "an apron"], "gold": 1},
    ),
    "hellaswag": (
        "Rowan/hellaswag",
        {
            "activity_label": "Roof removal",
            "ctx_a": "A man is sitting on a roof.",
            "ctx_b": "he",
            "endings": HELLASWAG,
            "label": "3",
        },
        ["Roof removal: A man is sitting on a roof. he", "3", *HELLASWAG],
    ),
    "winogrande": (
        "allenai/winogrande/winogrande_xl",
        {
            "sentence": "Sarah was better than Maria so _ got the easier cases.",
            "option1": "Sarah",
            "option2": "Maria",
            "answer": "2",
        },
        {
            "context_options": [f"Sarah was better than Maria so {name}" for name in ("Sarah", "Maria")],
            "continuation": "got the easier cases.",
            "gold": 1,
        },
    ),
    "wsc273": (
        "lighteval/winograd_wsc/wsc273",
        {
            "text": "The trophy doesn't fit into the suitcase because it is too large.",
            "pronoun": "it",
            "pronoun_loc": 49,
            "options": ["The trophy", "The suitcase"],
            "label": 0,
        },
        {
            "context_options": [
                f"The trophy doesn't fit into the suitcase because the {name}"
                for name in ("trophy", "suitcase")
            ],
            "continuation": "is too large.",
            "gold": 0,
        },
    ),
    "lambada_openai": (
        "EleutherAI/lambada_openai/default",
        {"text": "I look at him.\n\nI don't care about signs"},
        {"context": "I look at him.\n\nI don't care about", "continuation": "signs"},
    ),
}


def write_local(folder: Path, rows: dict[str, list[Any]]) -> None:
    for task, many in rows.items():
        if task == "hellaswag":
            (folder / "hellaswag_val_full.txt").write_text(
                "".join(f"{line}\n" for row in many for line in row)
            )
        else:
            (folder / f"{task}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in many))


@pytest.fixture
def local(tmp_path: Path) -> Path:
    folder = tmp_path / "local"
    folder.mkdir()
    write_local(folder, {task: [row] for task, (_, _, row) in ROWS.items()})
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data sets that lm-eval names, a row each, where `datasets` looks before it asks the hub."""
    for data, row, _ in ROWS.values():
        owner, name, *config = data.split("/")
        folder = tmp_path / "hub" / owner / name
        folder.mkdir(parents=True)
        splits = ("train", "validation", "test")
        files = "".join(f"  - {{split: {split}, path: {split}.jsonl}}\n" for split in splits)
        for split in splits:
            (folder / f"{split}.jsonl").write_text(json.dumps(row))
        (folder / "README.md").write_text(
            f"---\nconfigs:\n- config_name: {(config or ['default'])[0]}\n  data_files:\n{files}---\n"
        )
    monkeypatch.chdir(tmp_path / "hub")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("name", ROWS)
def test_requests_and_scoring_are_those_of_lm_eval(name: str, local: Path, hub: None) -> None:
    ((theirs, data, digest),) = (
        (each.task, each.data, each.data_digest) for each in harness.load_hub([name])
    )
    assert data == ROWS[name][0] and digest.startswith("fingerprint:")
    (ours,) = (loaded.task for loaded in harness.load_local([name], local))
    for task in (theirs, ours):
        task.build_all_requests()
    expected = [instance.args for instance in theirs.instances]
    if name == "wsc273":  # its template leaves a space before the rest, and the delimiter is one more
        assert all(continuation.startswith("  ") for _, continuation in expected)
        expected = [(context, continuation[1:]) for context, continuation in expected]
    assert [instance.args for instance in ours.instances] == expected
    assert list(ours.aggregation()) == list(theirs.aggregation())
    for best in range(len(expected)):
        results = [(-7.0 - abs(i - best), i == best) for i in range(len(expected))]
        scored = ours.process_results(ours.eval_docs[0], results)
        assert scored == theirs.process_results(theirs.eval_docs[0], results)
        if len(expected) > 1:
            assert scored["acc"] == (best == ROWS[name][2]["gold"] if name != "hellaswag" else best == 3)


@pytest.fixture
def model() -> Decoder:
    """Of bytes, in float64, with weights that tell tokens apart."""
    built = methods.build_model("gpt", Dims(vocab_size=257, num_layers=1, num_heads=2, d_model=16), seed=3)
    built = built.double().requires_grad_(False)
    built.E_out.mul_(20)
    return built


def log_p(model: Decoder, context: str, continuation: str) -> float:
    tokens = [EOT, *(context + continuation).encode()]
    log_p_TV = torch.log_softmax(model(torch.tensor([tokens[:-1]]))[0], dim=-1)
    first = len(context.encode())
    return sum(float(log_p_TV[t, token]) for t, token in enumerate(tokens[1:]) if t >= first)


def test_scores_are_those_of_plain_arithmetic(model: Decoder, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)

    def words(count: int) -> str:
        return " ".join(draw.choice(["cat", "mat", "tree", "élan", "ox", "horse"], count))

    choices = [
        {
            "query": f"Question: {words(4)}",
            "choices": [words(n) for n in (1, 3, 5, 2)],
            "gold": int(draw.integers(4)),
        }
        for _ in range(20)
    ]
    passages = [{"context": words(9), "continuation": "cat"} for _ in range(20)]
    write_local(tmp_path, {"arc_easy": choices, "lambada_openai": passages})
    lm = LabLM(model, ByteTokenizer(), max_length=512)
    arc, lambada = (harness.score(lm, task) for task in harness.load_local([], tmp_path))

    totals = [[log_p(model, f"{r['query']}\nAnswer:", f" {c}") for c in r["choices"]] for r in choices]
    lengths = [[len(c) for c in r["choices"]] for r in choices]  # in characters, as lm-eval counts
    gold = [r["gold"] for r in choices]
    assert arc.values["acc"].tolist() == [float(np.argmax(t) == g) for t, g in zip(totals, gold, strict=True)]
    normed = [np.argmax(np.divide(t, n)) for t, n in zip(totals, lengths, strict=True)]
    assert arc.values["acc_norm"].tolist() == [float(n == g) for n, g in zip(normed, gold, strict=True)]
    assert 0 < arc.values["acc"].sum() < 20 and arc.values["acc"].tolist() != arc.values["acc_norm"].tolist()
    assert (arc.rows, arc.all_rows, arc.requests, arc.cut, arc.chance) == (20, 20, 80, 0, 0.25)
    assert stderr(arc.values["acc"].tolist()) == pytest.approx(mean_stderr(arc.values["acc"].tolist()))

    last = [log_p(model, r["context"], " cat") for r in passages]
    assert lambada.values["perplexity"].mean() == pytest.approx(np.exp(-np.mean(last)), rel=1e-9)
    assert lambada.chance == 0 and lambada.version == 1.0
    assert lambada.data == "lambada_openai.jsonl" and lambada.data_digest.startswith("sha256:")


def test_limit_and_cut_contexts(model: Decoder, tmp_path: Path) -> None:
    passages = [{"context": "word " * n + "end", "continuation": "cat"} for n in range(1, 11)]
    write_local(tmp_path, {"lambada_openai": passages})
    (task,) = harness.load_local([], tmp_path)
    lm = LabLM(model, ByteTokenizer(), max_length=25)
    scored = harness.score(lm, task, limit=6)
    again = harness.score(lm, task, limit=6)
    assert (again.requests, again.cut) == (scored.requests, scored.cut)
    # 1 + 5 n + 3 + 4 tokens, of which the last is no input: more than 25 for n = 4, 5, 6.
    assert (scored.rows, scored.all_rows, scored.requests, scored.cut) == (6, 10, 6, 3)


def ask(*arguments: str) -> Instance:
    return Instance(request_type="loglikelihood", doc={}, arguments=arguments, idx=0)


def test_requests_outside_the_tasks(model: Decoder) -> None:
    lm = LabLM(model, ByteTokenizer(), max_length=64)
    ((alone, _), (spaced, _)) = lm.loglikelihood([ask("", "a cat"), ask("a ", "cat")])
    assert alone == pytest.approx(log_p(model, "", "a cat"))
    assert spaced == pytest.approx(log_p(model, "a", " cat"))  # a space belongs to what it precedes
    assert lm.loglikelihood_rolling([ask("a cat"), ask("")]) == pytest.approx([alone, 0.0])
    short = LabLM(model, ByteTokenizer(), max_length=2)
    windows = [([EOT, ord("a")], 2), ([ord(" "), ord("c")], 2), ([ord("c"), ord("a")], 1)]
    targets, total = [*b"a cat"], 0.0
    for inputs, count in windows:
        part = torch.log_softmax(model(torch.tensor([inputs]))[0], dim=-1)[-count:]
        total += sum(float(part[t, targets.pop(0)]) for t in range(count))
    assert short.loglikelihood_rolling([ask("a cat")]) == pytest.approx([total])
    with pytest.raises(ConfigError, match="compares log-likelihoods"):
        lm.generate_until([])


class Merging(ByteTokenizer):
    """Bytes, but "ab" is one token."""

    def encode(self, text: str) -> np.ndarray:
        return super().encode(text.replace("ab", "A"))


class Losing(ByteTokenizer):
    """Bytes, but of a word's there are none."""

    def encode(self, text: str) -> np.ndarray:
        return super().encode(text.replace(" signs", ""))


def test_a_continuation_without_a_token_of_its_own_is_named(model: Decoder, local: Path) -> None:
    """lm-eval's own adapter asserts; scored in silence, it would be the best of all answers."""
    lm = LabLM(model, Merging(), max_length=64)
    with pytest.raises(DataError) as error:
        lm.loglikelihood([ask("a", "cat"), ask("xa", "b")])
    assert "request 1: the continuation 'b' has no token of its own after the context 'xa'" in str(
        error.value
    )
    assert "spans where they join" in str(error.value) and "\n" not in str(error.value)
    for context in ("", "two\nlines of a context"):
        with pytest.raises(DataError, match=r"request 0: the continuation '' .* \(it is empty\)"):
            lm.loglikelihood([ask(context, "")])
    assert lm.loglikelihood([ask(" ", "b")])[0][0] == pytest.approx(log_p(model, "", " b"))
    (loaded,) = harness.load_local(["lambada_openai"], local)
    with pytest.raises(
        DataError, match=r"lambada_openai \(lambada_openai.jsonl\), request 0: the continuation ' signs'"
    ):
        harness.score(LabLM(model, Losing(), max_length=64), loaded)


def test_gpt2_tokens_of_a_continuation_are_those_of_the_whole_text(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (DATA / "tokenizer").is_dir():
        pytest.skip(f"needs GPT-2's tokenizer in {DATA}/tokenizer")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(DATA / "tokenizer"))
    text = tokenizer("gpt2")
    built = methods.build_model("gpt", Dims(vocab_size=50304, num_layers=1, num_heads=2, d_model=8), seed=0)
    lm = LabLM(built, text, max_length=64)
    context, continuation = lm._encode_pair("The trophy is", " too large.")
    assert context == [50256, *text.encode("The trophy is")]
    assert continuation == text.encode(" too large.").tolist()
    assert lm._encode_pair("The trophy is ", "too large.") == (context, continuation)


def test_the_verb_keeps_numbers_and_a_table(
    make_config: Callable[..., RunConfig], local: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [train(make_config(method), tmp_path / method) for method in ("gpt", "ngpt")]
    out = tmp_path / "out"
    paths = [str(run.path) for run in runs]
    arguments = ["eval", *paths, "--evals", "tasks", "--tasks-dir", str(local), "--out", str(out)]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "average" in said.out and "inputs were cut to 16 tokens" in said.err and "%|" not in said.err
    kept = json.loads((runs[1].path / "evals" / "tasks.json").read_text())
    assert (kept["eval"], kept["step"], kept["max_length"], kept["limit"]) == ("tasks", 8, 16, None)
    assert set(kept["tasks"]) == set(ROWS)
    arc = kept["tasks"]["arc_easy"]
    assert (arc["rows"], arc["requests"], arc["cut"], arc["version"]) == (1, 3, 3, 1.0)
    assert arc["data_digest"].startswith("sha256:") and set(arc["metrics"]) == {"acc", "acc_norm"}
    table = list(csv.DictReader((out / "tasks.csv").read_text().splitlines()))
    assert len(table) == 2 * (8 + 1) and {row["run"] for row in table} == {"gpt", "ngpt"}

    assert main([*arguments, "--tasks", "wsc273", "--max-length", "200", "--limit", "1"]) == 0
    assert "were cut" not in capsys.readouterr().err
    kept = json.loads((runs[1].path / "evals" / "tasks.json").read_text())
    assert set(kept["tasks"]) == {"wsc273"} and (kept["max_length"], kept["limit"]) == (200, 1)

    (local / "wsc273.jsonl").unlink()
    assert main([*arguments, "--tasks", "wsc273"]) == 2
    assert "lacks files" in capsys.readouterr().err
    assert main([*arguments[:-2], "--tasks-dir", str(tmp_path / "none")]) == 2
    assert "not a folder" in capsys.readouterr().err


def test_runs_whose_folders_have_one_name_stay_apart(
    make_config: Callable[..., RunConfig], local: Path, tmp_path: Path
) -> None:
    runs = [train(make_config(method), tmp_path / method / "run") for method in ("gpt", "ngpt")]
    out = tmp_path / "out"
    paths = [str(run.path) for run in (*runs, runs[0])]
    arguments = ["--evals", "tasks", "--tasks-dir", str(local), "--tasks", "wsc273", "--out", str(out)]
    assert main(["eval", *paths, *arguments]) == 0
    table = json.loads((out / "tasks.json").read_text())["rows"]
    assert [row["run"] for row in table] == ["gpt", "ngpt"] * 2
    assert [row["rows"] for row in table] == [1] * 4
    (score, second_score), averages = table[:2], table[2:]
    assert [row["value"] for row in averages] == [score["value"], second_score["value"]]


def test_without_a_network_the_hub_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(DataError, match=r"arc_easy: its data can't be fetched .* give --tasks-dir DIR"):
        harness.load_hub(["arc_easy"])


REAL = {
    "arc_easy": [565, 592, 634, 585],
    "hellaswag": [2515, 2485, 2584, 2458],
    "winogrande": [628, 639],
    "wsc273": [137, 136],
    "lambada_openai": [5153],
}
"""Rows of the real files, by the number of the right choice."""


@pytest.fixture(scope="module")
def real_tasks() -> list[harness.LoadedTask]:
    if not (DATA / "evals").is_dir():
        pytest.skip(f"needs the tasks' files in {DATA}/evals")
    return harness.load_local([], DATA / "evals")


def test_the_real_files_are_whole(real_tasks: list[harness.LoadedTask]) -> None:
    assert [loaded.name for loaded in real_tasks] == list(REAL)
    for loaded in real_tasks:
        docs = loaded.task.eval_docs
        gold = docs["gold"] if "gold" in docs.features else [0] * len(docs)
        assert np.bincount(gold).tolist() == REAL[loaded.name]


@pytest.mark.parametrize("method", ["gpt", "ngpt"])
def test_random_weights_score_at_chance(method: str, real_tasks: list[harness.LoadedTask]) -> None:
    """Within three standard errors. So few rows would not show a small bias; they show a right answer that leaks."""
    built = methods.build_model(method, Dims(vocab_size=257, num_layers=1, num_heads=2, d_model=16), seed=0)
    lm = LabLM(built, ByteTokenizer(), max_length=512)
    for loaded in real_tasks:
        scored = harness.score(lm, loaded, limit=80)
        for metric, values in scored.values.items():
            if metric != "perplexity":
                error = stderr(values.tolist()) or 0.0
                assert abs(values.mean() - scored.chance) <= 3 * error, (loaded.name, metric)
