"""Evaluations against the plainest computation of the same numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers, trainers

from ngptlab import methods
from ngptlab.config import Dims, RunConfig
from ngptlab.data.corpus import open_data
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.shards.writer import ShardWriter
from ngptlab.errors import DataError
from ngptlab.experiment import train
from ngptlab.measure.held_out import hold_out
from ngptlab.measure.length.measure import length_loss, long_documents
from ngptlab.measure.val import measure as loss_module
from ngptlab.measure.val.measure import by_group, clustered_stderr, document_losses, validation_loss
from ngptlab.nn.decoder import Decoder
from ngptlab.stats.records import Parts
from ngptlab.train.checkpoint import list_checkpoints, load_weights, read_checkpoint
from ngptlab.train.progress import Silent

MakeConfig = Callable[..., RunConfig]
EOT = 256


@pytest.fixture(params=["gpt", "ngpt"])
def model(request: pytest.FixtureRequest) -> Decoder:
    """With weights large enough that the losses of positions differ."""
    built = methods.build_model(
        request.param, Dims(vocab_size=257, num_layers=1, num_heads=2, d_model=16), seed=3
    )
    with torch.no_grad():
        built.E_out.mul_(20)
    return built


def draw(rows: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 257, (rows, length), dtype=np.int64)


@torch.no_grad()
def plain_losses(model: Decoder, tokens_NS: np.ndarray) -> np.ndarray:
    """-log p of every token but the first, a row at a time, the softmax in float64."""
    rows = []
    for row in tokens_NS:
        logits = model(torch.from_numpy(row[None, :-1]))[0].double().numpy()
        log_sums = np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1)) + logits.max(1)
        rows.append([log_sums[t] - logits[t, row[t + 1]] for t in range(len(row) - 1)])
    return np.array(rows)


# Losses are computed in float32: some roundings (6e-8 relative) of logits of a few nats.
TOLERANCE = 2e-6


def test_validation_loss(model: Decoder) -> None:
    tokens = draw(7, 13)
    found = validation_loss(model, tokens[:, :-1], tokens[:, 1:], text_bytes=70)
    by_window = plain_losses(model, tokens).mean(1)
    assert found["loss_nats"] == pytest.approx(by_window.mean(), rel=TOLERANCE)
    deviation = math.sqrt(((by_window - by_window.mean()) ** 2).sum() / 6)
    assert found["stderr_nats"] == pytest.approx(deviation / math.sqrt(7), rel=1e-4)
    assert found["bits_per_byte"] == pytest.approx(found["loss_nats"] * 84 / math.log(2) / 70, rel=1e-12)
    assert (found["eval"], found["tokens"], found["windows"]) == ("val", 7 * 12, 7)


def test_validation_loss_in_several_passes(model: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = draw(7, 13)
    whole = validation_loss(model, tokens[:, :-1], tokens[:, 1:], text_bytes=84)
    for budget in (1, 24, 36):  # 1, 2 and 3 rows; the last pass is a short one
        monkeypatch.setattr(loss_module, "BATCH_TOKENS", budget)
        parts = validation_loss(model, tokens[:, :-1], tokens[:, 1:], text_bytes=84)
        assert parts["loss_nats"] == pytest.approx(whole["loss_nats"], rel=TOLERANCE)
        assert parts["windows"] == 7


def delete_one_group(tokens: np.ndarray, losses: np.ndarray) -> float:
    """The jackknife's error of the mean over all tokens, one group left out in turn."""
    groups = len(tokens)
    left = [np.delete(tokens, g) @ np.delete(losses, g) / np.delete(tokens, g).sum() for g in range(groups)]
    return math.sqrt((groups - 1) / groups * ((np.array(left) - np.mean(left)) ** 2).sum())


def test_the_error_over_documents_is_nearly_the_jackknifes() -> None:
    """The jackknife's terms have G / (G - 1) (1 - w) in place of 1, w a group's share of the tokens: w is at most 0.01 here."""
    draw = np.random.default_rng(0)
    for _ in range(20):
        tokens = draw.integers(20, 60, 150).astype(np.float64)
        losses = draw.normal(2.0, 0.3, 150) + tokens / 100  # long documents have higher losses here
        found, jackknife = clustered_stderr(tokens, losses), delete_one_group(tokens, losses)
        assert found == pytest.approx(jackknife, rel=0.01)


def test_the_error_over_groups_of_one_size_is_the_ordinary_one() -> None:
    for groups in (2, 3, 50):
        losses = np.random.default_rng(groups).normal(2.0, 0.5, groups)
        ordinary = losses.std(ddof=1) / math.sqrt(groups)
        assert clustered_stderr(np.full(groups, 7.0), losses) == pytest.approx(ordinary, rel=1e-12)
        assert delete_one_group(np.full(groups, 7.0), losses) == pytest.approx(ordinary, rel=1e-12)
    assert clustered_stderr(np.array([7.0]), np.array([2.0])) == 0.0


def test_validation_loss_over_documents(model: Decoder) -> None:
    """The mean is as ever; the error is that of three documents, whose tokens are cut by no window's edge."""
    tokens = draw(7, 13)
    documents = np.repeat([0, 1, 2], [10, 60, 14]).reshape(7, 12)
    plain = plain_losses(model, tokens)
    by_document = np.array([plain[documents == number].mean() for number in range(3)])
    found = validation_loss(model, tokens[:, :-1], tokens[:, 1:], text_bytes=84, documents_NT=documents)
    assert found["loss_nats"] == pytest.approx(plain.mean(), rel=TOLERANCE)
    expected = clustered_stderr(np.array([10.0, 60.0, 14.0]), by_document)
    assert found["stderr_nats"] == pytest.approx(expected, rel=1e-4) and found["documents"] == 3
    parts = document_losses(model, tokens[:, :-1], tokens[:, 1:], documents)
    assert (parts["eval"], parts["of"], parts["tokens"]) == ("parts", "document", [10, 60, 14])
    assert parts["loss_nats"] == pytest.approx(by_document, abs=1e-6), "written to six digits"
    assert np.average(parts["loss_nats"], weights=parts["tokens"]) == pytest.approx(plain.mean(), abs=1e-6)


def test_many_documents_are_joined_to_blocks_of_neighbours(
    model: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = draw(7, 13)
    documents = np.arange(7 * 12).reshape(7, 12) // 4  # 21 of them
    single = document_losses(model, tokens[:, :-1], tokens[:, 1:], documents)
    monkeypatch.setattr(loss_module, "MOST_PARTS", 10)
    joined = document_losses(model, tokens[:, :-1], tokens[:, 1:], documents)
    assert joined["of"] == "document block" and len(joined["tokens"]) == 10
    windows = document_losses(
        model, tokens[:, :-1].repeat(2, 0), tokens[:, 1:].repeat(2, 0), np.zeros((14, 12), np.int64)
    )
    assert windows["of"] == "window block"
    for parts in (joined, windows):
        assert Parts.model_validate({"step": 1, **parts}).of == parts["of"], "reports read what runs write"
    assert sorted(set(joined["tokens"])) == [8, 12], "two or three neighbours each"
    for parts in (single, joined):
        assert sum(parts["tokens"]) == 84
        mean = np.average(parts["loss_nats"], weights=parts["tokens"])
        assert mean == pytest.approx(plain_losses(model, tokens).mean(), abs=1e-6)


def test_of_one_document_windows_are_the_parts(model: Decoder) -> None:
    tokens = draw(7, 13)
    inputs, targets, one = tokens[:, :-1], tokens[:, 1:], np.zeros((7, 12), dtype=np.int64)
    found = validation_loss(model, inputs, targets, text_bytes=84, documents_NT=one)
    assert found == validation_loss(model, inputs, targets, text_bytes=84)
    assert found["documents"] == 1 and found["stderr_nats"] > 0
    parts = document_losses(model, inputs, targets, one)
    assert (parts["of"], parts["tokens"]) == ("window", [12] * 7)
    assert parts["loss_nats"] == pytest.approx(plain_losses(model, tokens).mean(1), abs=1e-6)


def test_by_group_without_groups_is_the_mean() -> None:
    assert [part.tolist() for part in by_group(torch.tensor([[1.0, 2.0], [3.0, 6.0]]), None)] == [
        [4.0],
        [3.0],
    ]


def test_one_window_has_no_error(model: Decoder) -> None:
    tokens = draw(1, 13)
    assert validation_loss(model, tokens[:, :-1], tokens[:, 1:], text_bytes=84)["stderr_nats"] == 0.0


def test_evaluation_leaves_no_gradient(model: Decoder) -> None:
    tokens = draw(2, 13)
    before = [p.detach().clone() for p in model.parameters()]
    validation_loss(model, tokens[:, :-1], tokens[:, 1:], text_bytes=84)
    assert all(p.grad is None and torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_length_loss_by_position(model: Decoder) -> None:
    tokens = draw(5, 33)
    found = length_loss(model, tokens, context=8)
    plain = plain_losses(model, tokens)
    assert (found["eval"], found["context"], found["documents"]) == ("length", 8, 5)
    assert [(b["from"], b["to"]) for b in found["bins"]] == [(n, n + 4) for n in range(0, 32, 4)]
    for b in found["bins"]:
        by_document = plain[:, b["from"] : b["to"]].mean(1)
        assert b["loss_nats"] == pytest.approx(by_document.mean(), rel=TOLERANCE)
        assert b["stderr_nats"] == pytest.approx(np.std(by_document, ddof=1) / math.sqrt(5), rel=1e-4)


def test_one_document_has_no_error(model: Decoder) -> None:
    bins = length_loss(model, draw(1, 17), context=8)["bins"]
    assert [b["stderr_nats"] for b in bins] == [0.0] * 4


def test_bins_of_an_odd_context_cover_every_position(model: Decoder) -> None:
    bins = length_loss(model, draw(2, 11), context=7)["bins"]
    assert [(b["from"], b["to"]) for b in bins] == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert [(b["from"], b["to"]) for b in length_loss(model, draw(2, 3), context=1)["bins"]] == [
        (0, 1),
        (1, 2),
    ]


def test_long_documents_begin_at_an_end_of_text(tmp_path: Path) -> None:
    lengths = [5, 9, 10, 30, 12]
    parts = [np.concatenate(([EOT], draw(1, n, seed=n)[0] % 256)) for n in lengths]
    with ShardWriter(tmp_path, "long") as writer:
        for part in parts:
            writer.write(part)
    stream = TokenStream([tmp_path / shard.file for shard in writer.shards])
    found = long_documents(stream, end_of_text=EOT, tokens=10, limit=2)
    assert found.shape == (2, 11) and found.dtype == np.int64
    assert np.array_equal(found, [parts[2], parts[3][:11]])
    assert long_documents(stream, end_of_text=EOT, tokens=10, limit=9).shape == (3, 11)
    assert long_documents(stream, end_of_text=EOT, tokens=31, limit=9).shape == (0, 32)
    assert long_documents(stream, end_of_text=EOT, tokens=10, limit=0).shape == (0, 11)


def test_held_out_text_is_not_trained_on(make_config: MakeConfig) -> None:
    """No long document, and no validation document, is in the training tokens."""
    config = make_config()
    corpus = open_data(config)
    held = hold_out(config, corpus)
    trained = corpus.train.window(0, len(corpus.train)).tobytes()
    assert len(held.documents_NT) == 3
    for row in (*held.documents_NT, *held.inputs_NT):
        assert row.tobytes() not in trained
    assert np.array_equal(held.inputs_NT[:, 1:], held.targets_NT[:, :-1])
    again = hold_out(make_config("ngpt", seed=4, data={"seed": 4}), corpus)
    assert np.array_equal(held.inputs_NT, again.inputs_NT)
    assert np.array_equal(held.documents_NT, again.documents_NT)


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize(
    "change",
    [{"data": {"long_share": 0.0}}, {"eval": {"length_documents": 0}}, {"eval": {"length_factor": 90}}],
)
def test_without_a_long_document(change: dict[str, Any], make_config: MakeConfig, tmp_path: Path) -> None:
    notes = Notes()
    run = train(make_config(**change), tmp_path / "run", reporter=notes)
    assert run.done
    assert [record["eval"] for record in run.read("evals")] == [*["val"] * 4, "parts"]
    assert sum("the length evaluation is left out" in note for note in notes.notes) == 1


def test_recorded_numbers_are_those_of_the_final_weights(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    run = train(config, tmp_path / "run")
    weights = read_checkpoint(list_checkpoints(run.path / "checkpoints")[-1])[1]["model.safetensors"]
    model = methods.build_model(config.method, config.model, seed=9)
    load_weights(model, weights)
    corpus = open_data(config)
    held = hold_out(config, corpus)
    text_bytes = int((held.targets_NT != EOT).sum())
    of_document = held.of_document_NT
    val = validation_loss(
        model, held.inputs_NT, held.targets_NT, text_bytes=text_bytes, documents_NT=of_document
    )
    parts = document_losses(model, held.inputs_NT, held.targets_NT, of_document)
    length = length_loss(model, held.documents_NT, context=16)
    assert run.read("evals")[-3:] == [{"step": 8, **record} for record in (val, parts, length)]


def write_split(folder: Path, split: str, tokens: list[int]) -> None:
    with ShardWriter(folder, split) as writer:
        writer.write(np.array(tokens))


def test_bits_per_byte_are_of_the_targets_that_are_measured(make_config: MakeConfig, tmp_path: Path) -> None:
    """A validation split whose beginning, the part that is measured, has longer tokens than the rest."""
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=270,
        special_tokens=["</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(["abcdefgh" * 9], trainer)
    library.save(str(tmp_path / "tokenizer.json"))
    long, short = library.token_to_id("abcdefgh"), library.token_to_id("z")
    shards = tmp_path / "shards"
    shards.mkdir()
    write_split(shards, "train", [0, *[short] * 200])
    write_split(shards, "val", [0, *[long] * 30, 0, *[long] * 40, 0, *[short] * 900])
    data = {"source": f"shards:{shards}", "tokenizer": str(tmp_path / "tokenizer.json")}
    config = make_config(data=data, model={"vocab_size": 271})
    measured = 63 * len("abcdefgh")  # of 64 targets one is an end of text
    assert hold_out(config, open_data(config)).target_bytes == measured
    run = train(config, tmp_path / "run")
    for record in [record for record in run.read("evals") if record["eval"] == "val"]:
        bits = record["loss_nats"] * record["tokens"] / math.log(2)
        assert record["tokens"] == 64
        assert record["bits_per_byte"] == pytest.approx(bits / measured, rel=1e-12)
    # A manifest that says something else changes nothing.
    manifest = json.loads((shards / "manifest.json").read_text())
    manifest.pop("sha256", None)
    manifest["splits"]["val"]["text_bytes"] *= 10
    (shards / "manifest.json").write_text(json.dumps(manifest))
    assert hold_out(config, open_data(config)).target_bytes == measured


def test_targets_without_text_are_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_split(tmp_path, split, [EOT] * 70)
    config = make_config(data={"source": f"shards:{tmp_path}"})
    with pytest.raises(DataError, match=r"64 validation tokens that are measured stand for no text"):
        hold_out(config, open_data(config))
