"""The decoder as a model of `transformers`: logits, loss, and generation with a cache, also of padded batches.

This file and its imports from this package are also the code in an exported model's folder. The config is in this file, too,
because transformers copies the code behind each entry of `auto_map` to a place of its own. In two files every class would
exist twice, and a part of one copy is no part of the other.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache as KeptByTransformers
from transformers import DynamicCache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from ngptlab.config import Dims, ParamConfig
from ngptlab.errors import ConfigError
from ngptlab.export.part_kinds import part_kinds
from ngptlab.export.past import KeptCache, Layout, padded_layout
from ngptlab.export.records import checked, parts_from
from ngptlab.export.vocabulary import (
    as_embedding,
    as_head,
    constrain_rows,
    draw_rows,
    matrix_of,
    resized_logits,
    suppressed,
)
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.nn.roles import Role, roles
from ngptlab.param.apply import apply
from ngptlab.param.rules import rules

CACHE = next(f.name for f in fields(CausalLMOutputWithPast) if f.name in ("cache", "past_key_values"))
"""Names of the cache in transformers: `past_key_values`, and `cache` from 5.24 on."""


class NgptlabConfig(PreTrainedConfig):
    """Sizes by the names of `Dims`, the parts that fill the seams, and the rules of parametrization."""

    model_type = "ngptlab"
    keys_to_ignore_at_inference = ["past_key_values", "cache"]  # noqa: RUF012
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


class NgptlabForCausalLM(PreTrainedModel, GenerationMixin):
    """A trained decoder. Its weights are those of the run, under `model.`."""

    config_class = NgptlabConfig
    base_model_prefix = "model"
    _no_split_modules = ["Block"]  # noqa: RUF012

    def __init__(self, config: NgptlabConfig) -> None:
        super().__init__(config)
        dims = config.sizes()
        self.model = Decoder(dims, config.seams())
        apply(self.model, rules(config.parametrization(), dims, tokens=None))
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        cache: Any = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        return_dict: bool | None = None,
        **others: Any,
    ) -> CausalLMOutputWithPast | tuple[Any, ...]:
        """Logits, [B, T, V], and the mean loss in nats where there are labels, -100 for those that don't count.

        Shapes: input_ids [B, T]; attention_mask [B, S] over all tokens so far, 0 for padding, which may stand on either
        side; position_ids and labels [B, T]. `cache` and `past_key_values` are one thing, which transformers renamed in 5.24.
        Raises:
            ConfigError: something is asked for that this model doesn't give.
        """
        for asked in ("inputs_embeds", "output_attentions", "output_hidden_states"):
            wanted = others.pop(asked, None)
            if wanted is not None and wanted is not False:
                raise ConfigError(f"{asked}: this model has none; it takes input_ids and gives logits")
        for name, value in others.items():
            if isinstance(value, KeptByTransformers):
                # If it were ignored, tokens would be read without those before them, and nobody would notice.
                raise ConfigError(f"{name}: this model takes a cache as cache or past_key_values")
        kept = past_key_values if cache is None else cache
        if use_cache and kept is None:
            kept = DynamicCache()
        past = 0 if kept is None else kept.get_seq_length()
        layout = _layout(input_ids, past, attention_mask, position_ids)
        read = None
        if kept is not None or layout is not None:
            # A padded batch goes through a cache even where none is kept, because only a cache gives each text its own positions.
            read = KeptCache(self.model.dims, DynamicCache() if kept is None else kept, layout)
        h_BTD = self.model.hidden(input_ids, read)
        last = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits_BTV = self.model.logits(h_BTD[:, last])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits_BTV, labels, vocab_size=self.model.dims.vocab_size, **others)
        output = CausalLMOutputWithPast(loss=loss, logits=logits_BTV, **{CACHE: kept})
        return output.to_tuple() if return_dict is False else output

    def get_input_embeddings(self) -> nn.Embedding:
        """A module whose weight is the embedding's own, [V, D]; the model does not call it."""
        return as_embedding(self.model.E_in)

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Take the weight of a module, [V, D]. Raises ConfigError where it has no such weight."""
        self.model.E_in = matrix_of(value, self.model.dims)

    def get_output_embeddings(self) -> nn.Linear:
        """A module whose weight is the head's own, [V, D], before what the method does to logits."""
        return as_head(self.model.head)

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Take the weight of a module, [V, D]. Raises ConfigError where it has no such weight."""
        self._own_head("set_output_embeddings")
        self.model.E_out = matrix_of(new_embeddings, self.model.dims)

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.Embedding:
        """As in transformers; new rows are then constrained as the method's are, and known tokens keep all they had.

        Raises:
            ConfigError: no vocabulary is of that size, or something of the method doesn't follow the vocabulary.
        """
        if new_num_tokens is not None and new_num_tokens < 1:
            raise ConfigError(f"resize_token_embeddings: given {new_num_tokens} tokens, give 1 or more")
        self._own_head("resize_token_embeddings")
        self._no_other_table()
        before = self.model.dims.vocab_size
        after = len(super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing).weight)
        if after != before:
            dims = self.config.sizes()
            self.model.logits_map = resized_logits(self.model, dims, mean=mean_resizing)
            self.model.dims = dims
            # transformers swaps the data of the old parameter, whose gradient and graph keep the old shape.
            self.model.E_in = nn.Parameter(self.model.E_in.detach(), self.model.E_in.requires_grad)
            constrain_rows(self.model, before)
            kept = self.generation_config.suppress_tokens
            self.generation_config.suppress_tokens = suppressed(kept, before, after, new_num_tokens)
        return self.get_input_embeddings()

    def _own_head(self, call: str) -> None:
        if self.model.head is self.model.E_in:
            raise ConfigError(
                f"{call}: this model has one matrix for embedding and head, which is not supported here"
            )

    def _no_other_table(self) -> None:
        others = [
            name
            for name, role in roles(self.model).items()
            if role is Role.EMBEDDING and name not in ("E_in", "E_out")
        ]
        if others:
            raise ConfigError(
                f"resize_token_embeddings: {others[0]} of this model has rows of its own, which would not follow; train a model "
                "of the vocabulary you need"
            )

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialize weights that no file gave; weights from a file stay as they are."""
        if isinstance(module, nn.Embedding | nn.Linear):
            draw_rows(self.model, module)
        if not isinstance(module, Decoder) or module.E_in.is_meta:
            return
        weights = module.parameters()
        given = [
            (weight, weight.clone()) for weight in weights if getattr(weight, "_is_hf_initialized", False)
        ]
        if len(given) < len(list(module.parameters())):
            module.reset(torch.initial_seed() % 2**63)
            for weight, value in given:
                weight.copy_(value)


def _layout(ids_BT: Tensor, past: int, mask: Tensor | None, positions: Tensor | None) -> Layout | None:
    """The layout of a batch that is padded or has positions of its own; None where tokens simply follow each other."""
    (B, T), device = ids_BT.shape, ids_BT.device
    if mask is not None and mask.shape != (B, past + T):
        raise ConfigError(
            f"attention_mask: given the shape {list(mask.shape)}, this model takes {[B, past + T]}, 0 for padding; "
            "static caches and masks of four axes are not supported"
        )
    padded = mask is not None and not bool(mask.all())
    in_order = positions is None or bool((positions == torch.arange(past, past + T, device=device)).all())
    if not padded and in_order:
        return None
    mask_BS = torch.ones(B, past + T, device=device) if mask is None else mask
    return padded_layout(mask_BS, T, positions)
