"""Write a trained model as a folder that `transformers` loads."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from ngptlab.data.tokens.choose import tokenizer
from ngptlab.disk import write_bytes
from ngptlab.errors import CheckpointError, ConfigError, DataError
from ngptlab.export.bundle import bundle
from ngptlab.export.card import card
from ngptlab.export.config_file import CONFIG_FILE, Form, model_config
from ngptlab.export.llama import check_parts, llama_weights
from ngptlab.export.provenance import FILE, provenance
from ngptlab.export.tokenizer import tokenizer_files
from ngptlab.folders import filling, make
from ngptlab.measure.trained import Trained
from ngptlab.method_files import copies
from ngptlab.nn.decoder import Decoder
from ngptlab.whole import check_finished

WEIGHTS = "model.safetensors"


def export(trained: Trained, out: Path, form: Form = "ngptlab") -> Path:
    """Write the model into the folder `out`, whole or not at all: weights, code, tokenizer, model card.

    Raises:
        ConfigError: `out` is not empty, or the model is to be written as a Llama and is none.
        CheckpointError: the folder can't be written, or the run is finished and damaged.
        DataError: the tokenizer can't be loaded, or has more tokens than the model.
    """
    taken = ConfigError(f"{out}: is there and not empty; give a new folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise taken
    check_finished(trained.run)  # its records are exported, and its settings are in the model card
    files = _files(trained, form)
    out = out.resolve()
    try:
        make(out.parent)
        with filling(out) as temporary:
            for name, content in files.items():
                write_bytes(temporary / name, content)
            copies.keep(temporary, trained.config)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:  # another export made it in the meantime
            raise taken from None
        raise CheckpointError(
            f"{out}: can't be written ({error.strerror or error}); give another folder"
        ) from None
    return out


def _files(trained: Trained, form: Form) -> dict[str, bytes]:
    model, data, context = trained.model, trained.config.data, trained.config.train.context
    vocabulary = tokenizer(data.tokenizer, data.end_of_text)
    if vocabulary.vocab_size > model.dims.vocab_size:  # training refuses this, so the run was imported
        raise DataError(
            f"the {data.tokenizer} tokenizer has {vocabulary.vocab_size} tokens, the model's vocabulary is "
            f"{model.dims.vocab_size}; import the checkpoint again with the tokenizer that it was trained with: "
            "ngptlab import ... --tokenizer FILE.json"
        )
    if form == "llama":
        check_parts(model.parts)
        weights, code = llama_weights(model), {}
    else:
        check_cached(model)
        code = bundle(model.parts)
        weights = {f"model.{name}": weight.detach() for name, weight in model.named_parameters()}
    # config.json has no padding token, because Llama would leave that token's row of the embedding untrained.
    special = dict.fromkeys(("bos_token_id", "eos_token_id"), vocabulary.end_of_text)
    generation = {**special, "pad_token_id": vocabulary.end_of_text}
    content = save({name: _contiguous(weight) for name, weight in weights.items()}, metadata={"format": "pt"})
    facts = provenance(trained, form, hashlib.sha256(content).hexdigest())
    # Rows that only pad the vocabulary for speed stand for no text.
    padding = list(range(vocabulary.vocab_size, model.dims.vocab_size))
    texts = {
        **code,
        CONFIG_FILE: {**model_config(model, trained.config, form), **special, "dtype": "float32"},
        "generation_config.json": {**generation, **({"suppress_tokens": padding} if padding else {})},
        **tokenizer_files(vocabulary, context),
        FILE: facts,
        "README.md": card(facts),
    }
    return {WEIGHTS: content, **{name: _text(value).encode() for name, value in texts.items()}}


def check_cached(model: Decoder) -> None:
    """Check that a cache of transformers has a place for all that the model remembers of a text.

    Raises:
        ConfigError: a part remembers more, or the method puts positions before the text.
    """
    back = [
        f"{name} ({type(module).__name__}) looks back"
        for name, module in model.named_modules()
        if getattr(module, "looks_back", False)
    ]
    before = [f"embed has {model.embed.prefix} positions before every text"] if model.embed.prefix else []
    if why := [*before, *back]:
        raise ConfigError(
            "this model can't be exported, because a cache of transformers holds one key and value for each token and nothing "
            f"else: {why[0]}; use ngptlab sample"
        )


def _contiguous(weight: Tensor) -> Tensor:
    return weight.cpu().contiguous()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, allow_nan=False) + "\n"
