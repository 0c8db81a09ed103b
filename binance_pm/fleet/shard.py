"""Assignment of accounts to processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def shard(labels: Iterable[str], number: int, shards: int) -> list[str]:
    """Return the labels that one of several processes watches, in the order given.

    Every label belongs to exactly one process, determined by its text and the number of processes alone. If a process
    is added, each label stays with its process or moves to the new one. If the last process is removed, only its labels
    move.

    Args:
        labels: the labels of all accounts.
        number: number of the process, from 1.
        shards: number of processes.

    Raises:
        ValueError: ``number`` is not from 1 to ``shards``.
    """
    if not 1 <= number <= shards:
        raise ValueError(f"there is no shard {number} of {shards}: they are numbered from 1")
    return [label for label in labels if _home(label, shards) == number]


def _home(label: str, shards: int) -> int:
    """Return the process with the highest hash for the label (rendezvous hashing)."""
    return max(range(1, shards + 1), key=lambda number: hashlib.sha256(f"{number}:{label}".encode()).digest())
