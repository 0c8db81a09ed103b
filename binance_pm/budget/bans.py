"""Bans on disk: a program that is restarted does not make one longer by asking."""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path
from typing import Final

import msgspec

_log = logging.getLogger(__name__)
_DECODE: Final = msgspec.json.Decoder(dict[str, float]).decode


def default_path() -> Path:
    """Where the programs of a user tell each other: ``bans.json`` in the platform's directory for state."""
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "binance-pm" / "bans.json"


def read_bans(path: Path) -> dict[str, float]:
    """The end of each ban, seconds since the epoch; nothing where there is no file, or it cannot be read."""
    try:
        return _DECODE(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RuntimeError) as error:
        _log.warning(
            "The bans in %s cannot be read (%s): a ban from before is not known.",
            ascii(str(path)),
            type(error).__name__,
        )
        return {}


def write_ban(path: Path, key: str, until: float, *, now: float) -> None:
    """Keep a ban beside those that have not ended."""
    bans = {name: end for name, end in read_bans(path).items() if end > now}
    bans[key] = max(until, bans.get(key, 0.0))
    try:
        # Budgets of two ways out may write at once, each in a thread of its own.
        fresh = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(msgspec.json.encode(bans))
        fresh.replace(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        _log.warning("The ban of %s cannot be written to %s (%s): a restart will not know.", key, ascii(str(path)), why)
