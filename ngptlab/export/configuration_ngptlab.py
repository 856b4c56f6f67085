"""The configuration of an exported model, for `transformers`.

This file and what it imports from this package are also the code that an exported model brings with it.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from ngptlab.config import Dims, ParamConfig
from ngptlab.export.part_kinds import part_kinds
from ngptlab.export.records import checked, parts_from
from ngptlab.nn.decoder import Parts


class NgptlabConfig(PreTrainedConfig):
    """Sizes by the names of `Dims`, the parts that fill the seams, and the rules of parametrization."""

    model_type = "ngptlab"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012
    attribute_map = {  # noqa: RUF012
        "hidden_size": "d_model",
        "intermediate_size": "d_ff",
        "num_attention_heads": "num_heads",
        "num_hidden_layers": "num_layers",
    }

    def __init__(
        self, parts: dict[str, Any] | None = None, param: dict[str, Any] | None = None, **others: Any
    ) -> None:
        self.parts = parts or {}
        self.param = param or {}
        others["tie_word_embeddings"] = False
        super().__init__(**others)

    def sizes(self) -> Dims:
        """The sizes, checked.

        Raises:
            ConfigError: one is missing or of the wrong kind.
        """
        given = {name: getattr(self, name) for name in Dims.__annotations__ if hasattr(self, name)}
        return checked(Dims, given, "config.json")

    def seams(self) -> Parts:
        """The parts, each of a known kind.

        Raises:
            ConfigError: one is missing or unknown, or a value of the wrong kind.
        """
        return parts_from(self.parts, part_kinds())

    def parametrization(self) -> ParamConfig:
        """The rules, checked.

        Raises:
            ConfigError: a field is unknown or of the wrong kind.
        """
        return checked(ParamConfig, self.param, "config.json: param")
