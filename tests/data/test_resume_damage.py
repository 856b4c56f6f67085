"""A preparation goes on from what it has written, and from nothing else: damage in any file of it is refused, not signed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import Killed, shard
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers

from ngptlab.cli import main
from ngptlab.config import DataConfig
from ngptlab.data.corpus import open_corpus
from ngptlab.data.prepare import text_to_shards as prepare_module
from ngptlab.data.prepare.datatrove_steps import steps
from ngptlab.data.prepare.journal import HASHES, JOURNAL
from ngptlab.data.prepare.out_folder import prepare_out_folder
from ngptlab.data.shards.format import HEADER_BYTES, file_sha256
from ngptlab.data.shards.verify import verify
from ngptlab.data.shards.writer import ShardWriter
from ngptlab.errors import DataError

EOT = 256
Captured = pytest.CaptureFixture[str]


def config(texts: Path) -> DataConfig:
    return DataConfig(source=f"text:{texts}", val_share=0.2, long_share=0.3)


def made(texts: Path, out: Path) -> dict[str, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare_module, "SAVE_BYTES", 1500)
        patch.setattr(prepare_module, "BATCH_BYTES", 250)
        patch.setitem(ShardWriter.__init__.__kwdefaults__, "shard_tokens", 1500)  # type: ignore[arg-type]
        prepare_out_folder(config(texts), out, long_min_tokens=60, workers=1)
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, a preparation in one go (`straight`), and one that was killed on the way (`killed`)."""
    base = tmp_path_factory.mktemp("resume")
    (base / "texts").mkdir()
    for number in range(120):
        (base / "texts" / f"{number:03d}.txt").write_text(f"text {number} " + "é" * (number % 90))
    made(base / "texts", base / "straight")
    real, left = ShardWriter.write, [60]

    def counted(self: ShardWriter, tokens: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        real(self, tokens)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShardWriter, "write", counted)
        with pytest.raises(Killed):
            made(base / "texts", base / "killed")
    return base


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def known(folder: Path) -> dict[str, int]:
    """Bytes of each file that the journal knows."""
    journal = json.loads((folder / JOURNAL).read_text())
    sizes = {JOURNAL: (folder / JOURNAL).stat().st_size, HASHES: 32 * journal["documents"]}
    for split, state in journal["drafts"].items():
        writer = state["writer"]
        sizes |= {shard["file"]: shard["bytes"] for shard in writer["shards"]}
        if writer["tokens"]:
            sizes[f"{split}_{len(writer['shards']):06d}.bin"] = HEADER_BYTES + 2 * writer["tokens"]
    return sizes


def refused(base: Path, folder: Path) -> str:
    """What is said of it; it stays as it is."""
    before = files_of(folder)
    with pytest.raises(DataError) as caught:
        made(base / "texts", folder)
    assert files_of(folder) == before
    message = str(caught.value)
    assert "\n" not in message and f"delete the folder {folder} to begin again" in message
    return message


def test_what_was_killed_goes_on(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base / "killed", tmp_path / "out")
    sizes = known(folder)
    assert len(sizes) > 5 and len([name for name in sizes if name.startswith("train")]) > 1
    assert made(base / "texts", folder) == files_of(base / "straight")


@settings(max_examples=80)
@given(data=st.data())
def test_no_flipped_bit_ends_under_a_valid_digest(
    base: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """In any file that the journal knows, at any place of what it knows."""
    folder = shutil.copytree(base / "killed", tmp_path_factory.mktemp("flip") / "out")
    name, size = data.draw(st.sampled_from(sorted(known(folder).items())))
    raw = bytearray((folder / name).read_bytes())
    raw[data.draw(st.integers(0, size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / name).write_bytes(raw)
    try:
        found = made(base / "texts", folder)
    except DataError as error:
        assert name in str(error) and "delete the folder" in str(error)
    else:  # of an unfinished file, the header is written anew
        assert found == files_of(base / "straight")


Damage = Callable[[Path, int], None]


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[: size - 2])


def zeros_at_the_end(path: Path, size: int) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: size - 20] + bytes(20) + raw[size:])


@pytest.mark.parametrize("damage", [cut, zeros_at_the_end, lambda path, _: path.unlink()])
def test_what_is_cut_zeroed_or_gone_is_named(base: Path, tmp_path: Path, damage: Damage) -> None:
    for name, size in known(base / "killed").items():
        if name == JOURNAL:
            continue
        folder = shutil.copytree(base / "killed", tmp_path / f"out-{name}")
        damage(folder / name, size)
        said = refused(base, folder)
        assert f"{folder / name}: " in said


def test_a_journal_without_digests_is_not_gone_on_from(base: Path, tmp_path: Path) -> None:
    """Those of earlier versions had none."""
    folder = shutil.copytree(base / "killed", tmp_path / "out")
    fields = json.loads((folder / JOURNAL).read_text())
    del fields["sha256"], fields["hashes_sha256"]
    for state in fields["drafts"].values():
        del state["writer"]["sha256"]
    (folder / JOURNAL).write_text(json.dumps(fields))
    assert "progress.json: damaged, or of an earlier version (no digest)" in refused(base, folder)


def test_a_journal_that_was_edited_is_not_gone_on_from(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base / "killed", tmp_path / "out")
    fields = json.loads((folder / JOURNAL).read_text())
    fields["position"][0] += 1
    (folder / JOURNAL).write_text(json.dumps(fields))
    assert "progress.json: damaged, or of an earlier version (another digest)" in refused(base, folder)


def test_bytes_that_change_before_a_shard_is_finished(tmp_path: Path) -> None:
    """Its digest is of what was written, not of what is there then."""
    said = pytest.raises(DataError, match=r"val_000000\.bin: holds other tokens than were written")
    with said, ShardWriter(tmp_path, "val") as writer:
        writer.write(np.arange(100))
        writer.state()  # all of it is on the disk
        path = tmp_path / "val_000000.bin"
        raw = bytearray(path.read_bytes())
        raw[HEADER_BYTES + 7] ^= 1
        path.write_bytes(raw)


# --- many machines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".tokens", ".npy", ".json"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_damaged_block_is_not_merged_and_is_made_again(
    base: Path, tmp_path: Path, suffix: str, gone: bool
) -> None:
    encode, merge = steps(config(base / "texts"), tmp_path / "out", tmp_path / "scratch", long_min_tokens=60)
    for rank in range(2):
        encode(None, rank, 2)
    path = tmp_path / "scratch" / f"block_00001_of_00002{suffix}"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.unlink() if gone else path.write_bytes(raw)
    with pytest.raises(DataError, match="run the first step again") as caught:
        merge()
    assert "\n" not in str(caught.value)
    assert suffix == ".json" or str(path) in str(caught.value)
    assert not (tmp_path / "out").exists()
    for rank in range(2):
        encode(None, rank, 2)
    merge()
    prepare_out_folder(config(base / "texts"), tmp_path / "straight", long_min_tokens=60, workers=1)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "straight")


# --- the manifest -----------------------------------------------------------------------------------------------------


def tenfold(folder: Path, field: str, *, sealed: bool, split: str = "val") -> None:
    path = folder / "manifest.json"
    fields = json.loads(path.read_text())
    fields["splits"][split][field] *= 10
    if not sealed:
        del fields["sha256"]  # as in a manifest of before
    path.write_text(json.dumps(fields))


@pytest.fixture
def folder(base: Path, tmp_path: Path, cache: Path) -> Path:
    return shutil.copytree(base / "straight", tmp_path / "shards")


@pytest.mark.parametrize("field", ["text_bytes", "documents"])
@pytest.mark.parametrize("sealed", [True, False])
def test_counts_that_are_wrong_are_found(
    folder: Path, tiny: list[str], tmp_path: Path, field: str, sealed: bool, capsys: Captured
) -> None:
    """By `data verify`, and before a run begins."""
    tenfold(folder, field, sealed=sealed)
    said = "has changed since it was written" if sealed else "says "
    run = ["train", "demo", *tiny, "--data.source", f"shards:{folder}", "--out", str(tmp_path / "run")]
    for command in (["data", "verify", str(folder)], ["data", "stats", str(folder)], run):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert f"{folder / 'manifest.json'}: {said}" in error and error.count("\n") == 1


def test_what_no_number_contradicts_is_counted(tmp_path: Path, cache: Path, capsys: Captured) -> None:
    """Of GPT-2's tokens, ten times four bytes could be; the vocabulary itself isn't needed."""
    for split in ("train", "val"):
        tokens = [50256, *([15496, 995] if split == "val" else [314, 464] * 20)]
        (tmp_path / f"{split}.bin").write_bytes(shard(tokens))
    splits: dict[str, Any] = {"long": {}}
    for split, text_bytes in (("train", 20 * 5), ("val", 11)):
        path = tmp_path / f"{split}.bin"
        count = (path.stat().st_size - HEADER_BYTES) // 2
        record = {"file": path.name, "sha256": file_sha256(path), "bytes": path.stat().st_size}
        record |= {"tokens": count, "max_token": 50256}
        counts = {"documents": 1, "tokens": count, "text_bytes": text_bytes, "max_token": 50256}
        splits[split] = {"shards": [record], **counts}
    fields = {"source": "shards:x", "tokenizer": "gpt2", "vocab_size": 50257, "end_of_text": 50256}
    (tmp_path / "manifest.json").write_text(json.dumps({**fields, "splits": splits}))
    assert verify(tmp_path).unchecked == ""
    for split, field, wrong, said in (
        ("val", "text_bytes", 110, "says 110 bytes of text for val, its tokens stand for 11"),
        ("train", "documents", 2, "says 2 documents for train, 1 begin in its shards"),
    ):
        changed = json.loads(json.dumps({**fields, "splits": splits}))
        changed["splits"][split][field] = wrong
        (tmp_path / "manifest.json").write_text(json.dumps(changed))
        assert main(["data", "verify", str(tmp_path)]) == 2
        assert said in capsys.readouterr().err


def byte_level(path: Path) -> Path:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"</s>": 0} | {letter: number for number, letter in enumerate(letters, start=1)}
    library = Library(models.BPE(vocab=vocabulary, merges=[]))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.save(str(path))
    return path


def test_bytes_of_text_are_counted_with_a_tokenizers_file(
    base: Path, tmp_path: Path, cache: Path, capsys: Captured
) -> None:
    file, out = byte_level(tmp_path / "tokenizer.json"), tmp_path / "out"
    data = config(base / "texts").model_copy(update={"tokenizer": str(file)})
    prepare_out_folder(data, out, long_min_tokens=60, workers=1)
    assert main(["data", "verify", str(out)]) == 0
    assert (
        "not its bytes of text: that takes --tokenizer FILE, the tokenizer.json whose"
        in capsys.readouterr().out
    )
    assert main(["data", "verify", str(out), "--tokenizer", str(file)]) == 0
    assert "documents and bytes of text are as many as the manifest says" in capsys.readouterr().out
    tenfold(out, "text_bytes", sealed=False)
    assert main(["data", "verify", str(out)]) == 0
    assert main(["data", "verify", str(out), "--tokenizer", str(file)]) == 2
    assert "bytes of text for val, its tokens stand for" in capsys.readouterr().err
    other = byte_level(tmp_path / "other.json")
    other.write_text(other.read_text() + "\n")
    assert main(["data", "verify", str(out), "--tokenizer", str(other)]) == 2
    assert "give the tokenizer.json whose SHA-256 begins with" in capsys.readouterr().err


def test_tokens_of_no_certain_bytes_are_said_to_be_such(
    base: Path, tmp_path: Path, cache: Path, capsys: Captured
) -> None:
    file, out = byte_level(tmp_path / "tokenizer.json"), tmp_path / "out"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"normalizer": {"type": "Lowercase"}}))
    data = config(base / "texts").model_copy(update={"tokenizer": str(file)})
    prepare_out_folder(data, out, long_min_tokens=60, workers=1)
    assert main(["data", "verify", str(out), "--tokenizer", str(file)]) == 0
    assert "stand for no fixed number of bytes" in capsys.readouterr().out


def test_a_manifest_of_before_is_read(folder: Path) -> None:
    """It has no digest of its own; the digest of the data is what it was."""
    data = DataConfig(source=f"shards:{folder}")
    digest = open_corpus(data, vocab_size=257, long_min_tokens=10).digest
    fields = json.loads((folder / "manifest.json").read_text())
    del fields["sha256"]
    (folder / "manifest.json").write_text(json.dumps(fields))
    assert open_corpus(data, vocab_size=257, long_min_tokens=10).digest == digest


def test_digests_of_data_do_not_change_between_versions(tmp_path: Path, cache: Path) -> None:
    """A golden: to change it is to refuse every run that was begun."""
    (tmp_path / "train.bin").write_bytes(shard([EOT, *range(50)]))
    (tmp_path / "val.bin").write_bytes(shard([EOT, 1, 2]))
    corpus = open_corpus(DataConfig(source=f"shards:{tmp_path}"), vocab_size=257, long_min_tokens=9)
    assert corpus.digest == "88bea036ac703a8970efd843f0fee3ef995e0613cf241dce16d51a92cb34b4f8"
