"""The command ``binance-pm``."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def main() -> None:
    """Run the command: 0 on success, 1 on a failure it explains in one line, 2 on wrong usage, 130 on Ctrl-C."""
    _open_what_is_closed()
    try:
        from binance_pm.cli.app import run  # noqa: PLC0415 - what the command needs is an extra
    except ImportError as missing:
        name = (missing.name or "an extra").partition(".")[0]
        sys.exit(f"binance-pm: {name} is missing: pip install 'binance-pm[cli]'")
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        code = run(sys.argv[1:])
    except BaseException as error:
        if _holds(error, KeyboardInterrupt):
            code = 130
        elif _holds(error, BrokenPipeError):
            # Whoever read the output has seen enough, as `head` does.
            _discard(sys.stdout)
            code = 0
        else:
            raise
    sys.exit(code)


def _open_what_is_closed() -> None:
    """Python has None for a stream that the caller closed: what is said there goes nowhere, and nothing comes."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It is open as long as the process, and keeps the number of the stream from the next socket.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115


def _holds(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether it is of a kind, or a group with one of that kind: task groups raise groups."""
    return BaseExceptionGroup("", [error]).subgroup(kind) is not None


def _discard(stream: TextIO) -> None:
    """Keep the interpreter from flushing it again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
