"""The model card: the model, its origin, its measurements, and how to load it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ngptlab.errors import CheckpointError

HEAD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [ngptlab]
---
"""

LLAMA = """from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = "."  # the path of this folder, or its NAME/REPO on the hub
model = AutoModelForCausalLM.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)"""
OWN = LLAMA.replace("(FOLDER)", "(FOLDER, trust_remote_code=True)")

OWN_NOTE = """The model's code lies in this folder: files of ngptlab, unchanged except for imports. It needs torch and
transformers 5.3 or newer. Where ngptlab is installed, `import ngptlab.export.hf` takes its place, and nothing has to be
trusted."""

LLAMA_NOTE = "This model computes what a Llama computes, and stands here as one: it needs no code of its own."


def card(facts: dict[str, Any]) -> str:
    """The text of `README.md`, from the result of `provenance`.

    Raises:
        CheckpointError: a record of an evaluation is damaged.
    """
    llama = facts["form"] == "llama"
    config, env = facts["config"], facts["env"]
    origin = {
        "run": facts["run"],
        "step": f"{facts['step']:,} of {config['train']['steps']:,}",
        "parameters": f"{facts['params']:,}",
        "data": config["data"]["source"],
        "digest of the data": env.get("data_digest", "not recorded"),
        "tokenizer": config["data"]["tokenizer"],
        "commit of ngptlab": env.get("commit") or "not recorded",
        "trained with": ", ".join(
            f"{name} {env[name]}" for name in ("ngptlab", "torch", "python") if name in env
        )
        or "not recorded",
        "trained on": env.get("device_name", "not recorded"),
        "exported with": ", ".join(f"{name} {version}" for name, version in facts["exported_with"].items()),
        "imported from": facts["imported_from"] or "trained by ngptlab",
        "sha256 of the weights": facts["weights_sha256"],
    }
    sections = [
        f"# {facts['run']}",
        "A language model of a controlled pretraining experiment. It is as good as its training was long: see the numbers.",
        f"```python\n{LLAMA if llama else OWN}\n```",
        LLAMA_NOTE if llama else OWN_NOTE,
        "Texts began with the tokenizer's end-of-text token in training; the tokenizer puts none before a prompt.",
        f"## Measured\n\n{_measured(facts['measured'])}",
        f"## Provenance\n\n{_table(('what', 'value'), [(name, f'`{_code(value)}`') for name, value in origin.items()])}",
        f"## Config\n\n```json\n{json.dumps(config, indent=2)}\n```",
    ]
    return HEAD + "\n" + "\n\n".join(sections) + "\n"


def _measured(records: list[dict[str, Any]]) -> str:
    rows = []
    for record in records:
        try:
            rows += _rows(record)
        # An imported run's records come from a stranger.
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the run's evaluation {record['eval']!r} is damaged ({type(error).__name__}: {error}); "
                "measure it again with `ngptlab eval`"
            ) from None
    if not rows:
        return "Nothing was recorded for this step."
    return _table(("on", "nats a token, ± standard error", "bits a byte"), rows)


def _rows(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    if record["eval"] == "val":
        where = f"validation, {record['tokens']:,} tokens"
        return [(where, _loss(record), f"{record['bits_per_byte']:.4f}")]
    if record["eval"] != "length":
        return []
    documents = f"{record['documents']:,} long documents"
    return [
        (f"positions {part['from']:,} to {part['to']:,}, {documents}", _loss(part), "")
        for part in (record["bins"][0], record["bins"][-1])
    ]


def _loss(record: dict[str, Any]) -> str:
    return f"{record['loss_nats']:.4f} ± {record['stderr_nats']:.4f}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def _code(value: object) -> str:
    """A value from a run's files as code in a cell: in one line, and without signs that would end the cell or the code."""
    return " ".join(str(value).split()).replace("|", "/").replace("`", "'")
