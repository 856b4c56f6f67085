"""The fields of an exported model's `config.json` that describe the model. An export writes them, an import checks them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from ngptlab.config import ParamConfig, RunConfig
from ngptlab.disk import read_json
from ngptlab.errors import CheckpointError, LabError
from ngptlab.export.bundle import AUTO_MAP
from ngptlab.export.llama import llama_config
from ngptlab.export.part_kinds import part_kinds
from ngptlab.export.pickled import shown
from ngptlab.export.records import checked, parts_from, plain_parts
from ngptlab.nn.decoder import Decoder

Form = Literal["ngptlab", "llama"]
CONFIG_FILE = "config.json"
BESIDE_THE_MODEL = {"bos_token_id", "eos_token_id", "dtype", "transformers_version", "use_cache"}
"""Fields of an export that don't change what the model computes."""
HOW_IT_LOADS = ("architectures", "auto_map")


def model_config(model: Decoder, config: RunConfig, form: Form) -> dict[str, Any]:
    """Sizes, parts and rules, in the form of the export."""
    if form == "llama":
        return llama_config(model, config.train.context)
    return {
        "architectures": [AUTO_MAP["AutoModelForCausalLM"].rpartition(".")[2]],
        "model_type": "ngptlab",
        "auto_map": AUTO_MAP,
        **model.dims.model_dump(),
        "max_position_embeddings": config.train.context,
        "parts": plain_parts(model.parts),
        "param": config.param.model_dump(),
    }


def check_config_file(folder: Path, model: Decoder, config: RunConfig, form: Form) -> list[str]:
    """Compare the file with the run's model, because `transformers` computes by the file, and an import by the run's config.

    A missing field has its default, either in `transformers` or, where older exports lack it, in a part's record.

    Returns:
        Names of fields that no export writes, and that are ignored.

    Raises:
        CheckpointError: the file is damaged, or a field has another value.
    """
    path = folder / CONFIG_FILE
    try:
        found = read_json(path)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged ({shown(str(error))}); export the run again") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: damaged ({shown(found)}); export the run again")
    expected = json.loads(json.dumps(model_config(model, config, form)))
    unread = [shown(name) for name in found.keys() - expected.keys() - BESIDE_THE_MODEL]
    for name, value in expected.items():
        if name not in found or name in HOW_IT_LOADS:
            continue
        try:
            same = found[name] == value or _same_record(name, found[name], model, config)
        except LabError as error:  # set by `transformers` of another version
            unread.append(f"{name} ({shown(str(error))})")
            continue
        if not same:
            raise CheckpointError(
                f"{path}: {name} is not what was exported ({_short(found[name])}, not {_short(value)}), so it is of another "
                "model than the weights' run; export the run again"
            )
    return sorted(unread)


def _same_record(name: str, value: Any, model: Decoder, config: RunConfig) -> bool:
    """Whether a field holds the model's own record, with defaults in place of missing fields."""
    if name == "parts":
        return parts_from(value, part_kinds()) == model.parts
    return name == "param" and isinstance(value, dict) and checked(ParamConfig, value, name) == config.param


def _short(value: Any) -> str:
    return shown(json.dumps(value))
