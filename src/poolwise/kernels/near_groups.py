"""Texts of nearly one length as one padded batch of attention: few large products instead of many small ones.

A call for every length keeps Python's lock so often that lanes wait for it, and fills no product. Padding stays inside
attention: layers still read real tokens only. The slow twin is each text alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from poolwise.kernels.text_attention import attend_by_products

_SLACK, _SHARE = 16, 8
"""Lengths in a group differ by 16 tokens at most, or by an eighth of the shortest if that is more."""


@dataclass(frozen=True)
class NearGroup:
    """Texts of nearly one length, shortest first, which attention takes as one batch padded to the longest.

    Args:
        start: the first text's place among the packed tokens.
    """

    start: int
    lengths: list[int]

    @cached_property
    def _is_real(self) -> Bool[Tensor, "C T"] | None:
        if self.lengths[0] == self.lengths[-1]:
            return None
        return torch.arange(self.lengths[-1]) < torch.tensor(self.lengths)[:, None]

    @cached_property
    def _rows(self) -> Int[Tensor, " CT"]:
        """The row at each place; each text's last row stands in its padding."""
        assert self._is_real is not None
        return self._is_real.flatten().cumsum(0) - 1

    @cached_property
    def _kept(self) -> Int[Tensor, " N"]:
        assert self._is_real is not None
        return self._is_real.flatten().nonzero()[:, 0]

    def pad(self, states: Float[Tensor, "N H E"]) -> Float[Tensor, "C T H E"]:
        """Return the states of the group's tokens text by text."""
        padded = states if self._is_real is None else states.index_select(0, self._rows)
        return padded.unflatten(0, (len(self.lengths), self.lengths[-1]))

    def unpad(self, states: Float[Tensor, "C T H E"]) -> Float[Tensor, "N H E"]:
        """Return the states end to end again."""
        flat = states.flatten(0, 1)
        return flat if self._is_real is None else flat.index_select(0, self._kept)

    @cached_property
    def late(self) -> Float[Tensor, "C P"] | None:
        """Return minus infinity at padding, 0 at tokens, for the places beyond the shortest text; None without any."""
        if self._is_real is None:
            return None
        beyond = self._is_real[:, self.lengths[0] :]
        return torch.zeros(beyond.shape).masked_fill_(~beyond, -torch.inf)


def group_near(lengths: Sequence[int]) -> list[NearGroup]:
    """Return runs of texts, shortest first, that differ little in length."""
    groups: list[NearGroup] = []
    start = 0
    for length in lengths:
        if not groups or length > groups[-1].lengths[0] + max(_SLACK, groups[-1].lengths[0] // _SHARE):
            groups.append(NearGroup(start, []))
        groups[-1].lengths.append(length)
        start += length
    return groups


def attend_near_groups(
    query: Float[Tensor, "1 H N E"],
    key: Float[Tensor, "1 G N E"],
    value: Float[Tensor, "1 G N E"],
    groups: Sequence[NearGroup],
    scale: float | None,
    *,
    is_causal: bool,
) -> Float[Tensor, "1 N H E"]:
    """Return the attention within each text of a packed batch; zeros in idle rows behind the last text."""
    attended = query.new_zeros(query.shape[2], *query.shape[1::2])
    for group in groups:
        rows = slice(group.start, group.start + sum(group.lengths))
        near = [group.pad(part[0].transpose(0, 1)[rows]).transpose(1, 2) for part in (query, key, value)]
        # Padding stands behind its text, where causal attention does not look.
        late = None if is_causal else group.late
        found = attend_by_products(near[0], near[1], near[2], scale, is_causal=is_causal, late=late)
        attended[rows] = group.unpad(found.transpose(1, 2))
    return attended[None]
