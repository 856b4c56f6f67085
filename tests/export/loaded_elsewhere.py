"""Checks of exported folders where ngptlab and its dependencies can't be imported; run by test_transformers.py.

python loaded_elsewhere.py FOLDER_OF_EXPORTS
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

ABSENT = ("ngptlab", "pydantic", "tiktoken")


class Absent:
    """Makes imports fail as where nothing is installed."""

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


sys.meta_path.insert(0, Absent())  # type: ignore[arg-type]

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

NEW = {"max_new_tokens": 14, "do_sample": False}


@torch.no_grad()
def check(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    reference = load_file(folder / "reference.safetensors")
    tokens, logits = reference["tokens"], reference["logits"]
    torch.testing.assert_close(model(tokens).logits, logits, rtol=0, atol=1e-5)
    labels = tokens.clone()
    labels[0, :3] = -100
    torch.testing.assert_close(model(tokens, labels=labels).loss, reference["loss"], rtol=0, atol=1e-5)
    last = model(tokens, logits_to_keep=1).logits
    torch.testing.assert_close(last, logits[:, -1:], rtol=0, atol=1e-5)
    check_text(model, folder)
    if (folder / "computes-as-another").exists():
        print(f"{folder.name}: all is well")
        return
    check_generation(model, tokens)
    check_padding(model, tokens, logits)
    check_narrow(folder, tokens, logits)
    if not (folder / "of-one-vocabulary").exists():
        check_resizing(model, tokens, logits)
    print(f"{folder.name}: all is well")


def check_generation(model: Any, tokens: torch.Tensor) -> None:
    """Greedy and beam search through the cache find what they find without one."""
    prompt = tokens[:, :7]
    cached, plain = (model.generate(prompt, use_cache=use, **NEW) for use in (True, False))
    assert cached.equal(plain) and cached.shape == (2, 21)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    # A head that is the embedding says the last token again, as long as nobody trained it.
    distinct = len(set(cached[:, 7:].flatten().tolist()))
    assert distinct > (1 if tied else 3), "tokens that are all alike say nothing"
    beams = [model.generate(prompt, use_cache=use, num_beams=3, **NEW) for use in (True, False)]
    assert beams[0].equal(beams[1])
    # Tokens of the model's vocabulary that stand for no text, of which this model has six.
    assert model.generation_config.suppress_tokens == list(range(257, 263)) and cached.max() < 257


def check_padding(model: Any, tokens: torch.Tensor, logits: torch.Tensor) -> None:
    """A text in a padded batch is read as it is alone, on either side of its padding, and goes on alike."""
    lengths, width = (9, 24), 24
    for side in ("left", "right"):
        ids, mask = torch.full((2, width), 256), torch.zeros(2, width, dtype=torch.long)
        for row, length in enumerate(lengths):
            where = slice(width - length, width) if side == "left" else slice(0, length)
            ids[row, where], mask[row, where] = tokens[row, :length], 1
        found = model(ids, attention_mask=mask).logits
        for row, length in enumerate(lengths):
            where = slice(width - length, width) if side == "left" else slice(0, length)
            torch.testing.assert_close(found[row, where], logits[row, :length], rtol=0, atol=1e-5)
        if side == "left":
            for beams in (1, 3):
                together = model.generate(ids, attention_mask=mask, num_beams=beams, **NEW)
                for row, length in enumerate(lengths):
                    alone = model.generate(tokens[row : row + 1, :length], num_beams=beams, **NEW)
                    found, end = together[row, width - length :], alone.shape[1]
                    assert found[:end].equal(alone[0])
                    assert bool((found[end:] == 256).all())  # it ended before its neighbor


def check_text(model: Any, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    text = "né  <|endoftext|>\n\x00🙂"
    ids = tokenizer(text)["input_ids"]
    assert ids == list(text.encode()) and tokenizer.decode(ids) == text
    batch = tokenizer(["a", "bcd"], padding=True, return_tensors="pt")
    assert batch["input_ids"].tolist() == [[256, 256, 97], [98, 99, 100]]
    assert model.generate(**batch, **NEW).shape[1] > 3


def check_narrow(folder: Path, tokens: torch.Tensor, logits: torch.Tensor) -> None:
    """In half precision, and under autocast of float32 weights; why so close, says tests/conformance/test_half.py."""
    for dtype, limit in ((torch.bfloat16, 0.06), (torch.float16, 0.0075)):
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype=dtype)
        assert {weight.dtype for weight in model.parameters()} == {dtype}
        found = model(tokens).logits
        assert (found - logits).norm() < limit * logits.norm()
        assert model.generate(tokens[:, :7], **NEW).shape == (2, 21)
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(tokens).logits
        assert model.generate(tokens[:, :7], **NEW).shape == (2, 21)
    assert (found - logits).norm() < 0.06 * logits.norm()


def check_resizing(model: Any, tokens: torch.Tensor, logits: torch.Tensor) -> None:
    model.resize_token_embeddings(270)
    found = model(tokens).logits
    assert found.shape[-1] == model.config.vocab_size == 270
    torch.testing.assert_close(found[..., :263], logits, rtol=0, atol=1e-5)


@torch.no_grad()
def check_saving(folder: Path, copy: Path) -> None:
    """A model that was saved by transformers, which copies its code, loads again."""
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    model.save_pretrained(copy)
    again = AutoModelForCausalLM.from_pretrained(copy, trust_remote_code=True)
    tokens = load_file(folder / "reference.safetensors")["tokens"]
    assert again(tokens).logits.equal(model(tokens).logits)
    print(f"{folder.name}: saved and loaded")


if __name__ == "__main__":
    exports = sorted(Path(sys.argv[1]).iterdir())
    for path in exports:
        check(path)
    for path in exports[-2:]:
        check_saving(path, path.parent.parent / "saved" / path.name)
    assert not any(name.split(".")[0] in ABSENT for name in sys.modules)
