"""Which process watches which account."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def shard(labels: Iterable[str], number: int, shards: int) -> list[str]:
    """The labels that one of several processes watches, in their order.

    Every label belongs to exactly one process, by nothing but its own text. With one process more, a label either stays
    where it was or goes to the new one; with one less, only those of the last one move.

    Args:
        labels: all of them.
        number: which process, from 1.
        shards: how many there are.

    Raises:
        ValueError: there is no such process.
    """
    if not 1 <= number <= shards:
        raise ValueError(f"there is no shard {number} of {shards}: they are numbered from 1")
    return [label for label in labels if _home(label, shards) == number]


def _home(label: str, shards: int) -> int:
    """The process that draws the highest for the label (rendezvous hashing)."""
    return max(range(1, shards + 1), key=lambda number: hashlib.sha256(f"{number}:{label}".encode()).digest())
