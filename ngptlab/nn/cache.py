"""Keys and values of tokens that were read before, so that what follows them is computed without reading them again.

    cache = Cache(model.dims)
    model(prompt_BT, cache)
    model(next_B1, cache)

A cache also holds what may differ from training where a text is longer than what the model was trained on: how far back
attention reaches, and how angles follow from positions. It keeps no gradient.
"""

from __future__ import annotations

from torch import Tensor

from ngptlab.config import Dims
from ngptlab.errors import ConfigError, DataError
from ngptlab.nn.functions import attention_to_past, causal_attention, heads_for
from ngptlab.nn.rope import TRAINED, Angles, Rope, rope_tables

AHEAD = 64
"""Positions whose angles are computed together."""


def narrower(one: int | None, other: int | None) -> int | None:
    """The smaller of two windows; None stands for no window."""
    return min((window for window in (one, other) if window is not None), default=None)


class Past:
    """Keys and values of one layer, as the seam `qk` leaves them.

    In names: S positions that are held, the new ones included.
    """

    def __init__(self, capacity: int, window: int | None) -> None:
        self.capacity, self.window = capacity, window
        self._room_2BHSK: Tensor | None = None
        self._held = 0

    def attend(
        self, q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float, window: int | None = None
    ) -> Tensor:
        """Hold new keys and values; gives the new queries' attention to all that are held and not later, [B, T, H, K].

        Args:
            window: window of this layer. Where the cache has one too, the narrower applies.

        Raises:
            ConfigError: the keys have a gradient.
            DataError: there were more or fewer sequences in earlier calls.
        """
        if k_BTHK.requires_grad:
            raise ConfigError("a cache keeps no gradient; call the model under torch.no_grad()")
        first = self._held == 0
        k_BHSK, v_BHSK = self._hold(k_BTHK, v_BTHK)
        window = narrower(window, self.window)
        if first and window is None:
            return causal_attention(q_BTHK, heads_for(q_BTHK, k_BTHK), heads_for(q_BTHK, v_BTHK), scale)
        return attention_to_past(q_BTHK, k_BHSK, v_BHSK, scale, window)

    @property
    def held(self) -> int:
        """Positions held."""
        return self._held

    @property
    def position_values(self) -> int:
        """Values of keys and values that a position of one sequence takes; 0 before the first call."""
        room = self._room_2BHSK
        return 0 if room is None else 2 * room.shape[2] * room.shape[4]

    def select(self, rows: Tensor) -> None:
        """Keep these sequences of the batch, in this order; one that is named twice is there twice."""
        if self._room_2BHSK is not None:
            self._room_2BHSK = self._room_2BHSK.index_select(1, rows.to(self._room_2BHSK.device))

    def _hold(self, k_BTHK: Tensor, v_BTHK: Tensor) -> Tensor:
        """Hold new keys and values; gives all that the new queries may attend to, [2, B, H, S, K]."""
        room = self._room_for(k_BTHK)
        begin, end = self._held, self._held + k_BTHK.shape[1]
        room[0, :, :, begin:end] = k_BTHK.transpose(1, 2)
        room[1, :, :, begin:end] = v_BTHK.transpose(1, 2)
        self._held = end
        return room[:, :, :, begin - self._needed(begin) : end]

    def _room_for(self, k_BTHK: Tensor) -> Tensor:
        """The buffer, with room for the positions of these keys after those it holds."""
        B, T, H, K = k_BTHK.shape
        room = self._room_2BHSK
        if room is None:
            room = k_BTHK.new_empty(2, B, H, 0, K)
        elif room.shape[1] != B:
            raise DataError(
                f"this cache holds {room.shape[1]} sequences, given {B}; a batch needs one of its own"
            )
        if self._held + T > room.shape[3]:
            # Twice the positions that are still needed, so that over a text each is copied twice at most, on average.
            needed = self._needed(self._held)
            wider = room.new_empty(2, B, H, max(needed + T, 2 * needed, self.capacity), K)
            wider[:, :, :, :needed] = room[:, :, :, self._held - needed : self._held]
            self._room_2BHSK, self._held = wider, needed
            return wider
        return room

    def _needed(self, held: int) -> int:
        """How many of so many positions later queries can still attend to."""
        return held if self.window is None else min(held, self.window - 1)


class Cache:
    """What a decoder has read so far: a `Past` for each layer, and how many tokens.

    Args:
        capacity: tokens to make room for at once; beyond them the room grows as needed.
        window: each token attends to itself and the window - 1 before it; None: to all before it.
        angles: of RoPE; by default those of training.

    Raises:
        ConfigError: a window below 1.
    """

    def __init__(
        self, dims: Dims, *, capacity: int = 0, window: int | None = None, angles: Angles = TRAINED
    ) -> None:
        if window is not None and window < 1:
            raise ConfigError(f"window {window}: a token attends to itself at least, so give 1 or more")
        self.dims, self.window, self.angles = dims, window, angles
        self.length = 0
        """Tokens read."""
        self.prefix = 0
        """Positions that stand before the text, once they are held. The next token's position is `prefix + length`."""
        self.kept: dict[str, Tensor] = {}
        """What parts keep of the last position, [B, 1, ...], by names that the parts choose."""
        room = capacity if window is None else min(capacity, window)
        self.layers = [Past(room, window) for _ in range(dims.num_layers)]
        self._tables: Rope | None = None
        self._tables_begin = 0

    def rope(self, length: int, *, like: Tensor) -> Rope:
        """Tables for the next `length` positions."""
        position = self.prefix + self.length
        begin = position - self._tables_begin
        if self._tables is None or not 0 <= begin <= len(self._tables[0]) - length:
            self._tables, self._tables_begin, begin = self._tables_from(position, length, like), position, 0
        cos_THK, sin_THK = self._tables
        return cos_THK[begin : begin + length], sin_THK[begin : begin + length]

    def _tables_from(self, position: int, length: int, like: Tensor) -> Rope:
        """Tables from `position` on, also for later tokens one by one, because many positions cost no more than one."""
        dims, ahead = self.dims, max(length, AHEAD)
        return rope_tables(ahead, dims.num_heads, dims.d_head, like=like, first=position, angles=self.angles)

    def select(self, rows: Tensor) -> None:
        """Keep these sequences of the batch, in this order; one that is named twice is there twice."""
        for layer in self.layers:
            layer.select(rows)
        self.kept = {name: x_B1.index_select(0, rows.to(x_B1.device)) for name, x_B1 in self.kept.items()}
