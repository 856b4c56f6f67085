"""Methods whose models can be exported, and those of them whose vocabulary can change."""

from __future__ import annotations

from ngptlab import ConfigError, Dims, methods
from ngptlab.export.write import check_cached

TINY = Dims(vocab_size=260, num_layers=2, num_heads=6, d_model=24, d_ff=7)


def _can_be(name: str) -> bool:
    try:
        check_cached(methods.build_model(name, TINY))
    except ConfigError:
        return False
    return True


EXPORTED = [name for name in methods.names() if _can_be(name)]
OF_ONE_VOCABULARY = {
    "tied": "one matrix for embedding and head",
    "value_embeddings": "E_v of this model has rows",
}
"""Why the vocabulary of some exported models can't change."""
