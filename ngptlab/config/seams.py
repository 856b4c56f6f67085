"""Which seams of a run another method fills. Imports no torch."""

from __future__ import annotations

from ngptlab.config.frozen import Section


class SeamsConfig(Section):
    """Which seams another method fills: the run's method with some of its parts replaced. The names are those of `Parts`."""

    norm: str | None = None
    """Method that fills this seam. None: the run's own."""
    after_step: str | None = None
    """Method that fills this seam. None: the run's own."""
    residual: str | None = None
    """Method that fills this seam. None: the run's own."""
    attn_scale: str | None = None
    """Method that fills this seam. None: the run's own."""
    qk: str | None = None
    """Method that fills this seam. None: the run's own."""
    gate: str | None = None
    """Method that fills this seam. None: the run's own."""
    logits: str | None = None
    """Method that fills this seam. None: the run's own."""
    weight_decay: str | None = None
    """Method whose own weight decay is taken where optim.weight_decay is none. None: the run's own."""
    warmup_steps: str | None = None
    """Method whose own warm-up is taken where schedule.warmup_steps is none. None: the run's own."""
    optimizer: str | None = None
    """Method that fills this seam. None: the run's own."""
    init: str | None = None
    """Method that fills this seam. None: the run's own."""
    embed: str | None = None
    """Method that fills this seam. None: the run's own."""
    stream: str | None = None
    """Method that fills this seam. None: the run's own."""
    block: str | None = None
    """Method that fills this seam. None: the run's own."""
    attention: str | None = None
    """Method that fills this seam. None: the run's own."""
    value: str | None = None
    """Method that fills this seam. None: the run's own."""
    mask: str | None = None
    """Method that fills this seam. None: the run's own."""
    attn_out: str | None = None
    """Method that fills this seam. None: the run's own."""
    mlp: str | None = None
    """Method that fills this seam. None: the run's own."""
    head: str | None = None
    """Method that fills this seam. None: the run's own."""
    loss: str | None = None
    """Method that fills this seam. None: the run's own."""
    context: str | None = None
    """Method that fills this seam. None: the run's own."""
    batch_stages: str | None = None
    """Method whose own stages hold where train.batch_stages is none. None: the run's own."""
    schedule: str | None = None
    """Method that fills this seam. None: the run's own."""
    average: str | None = None
    """Method that fills this seam. None: the run's own."""

    @property
    def lenders(self) -> dict[str, str]:
        """For each seam that the run's own method does not fill, the method that fills it."""
        return {name: value for name, value in self if value is not None}
