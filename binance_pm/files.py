"""Opening files that a user names."""

from __future__ import annotations

import os


def open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting, as an ``opener`` of `open`: opening a pipe would wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))
