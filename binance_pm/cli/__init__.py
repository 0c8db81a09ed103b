"""The command ``binance-pm``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, TextIO

from binance_pm.extras import installation
from binance_pm.version import VERSION

INTERRUPTED: Final = 130
_TERMINATED: Final = 143


def main() -> None:
    """Run the command, and exit.

    The code is 0 on success, 1 on a failure it explains in one line, 2 on wrong usage, 130 on Ctrl-C, 143 on SIGTERM.
    """
    _open_what_is_closed()
    with _terminable() as terminated:
        code = _code()
    sys.exit(_TERMINATED if terminated and code == INTERRUPTED else code)


def _code() -> int | str:
    try:
        return _run()
    except BaseException as error:
        if _holds(error, KeyboardInterrupt):
            return INTERRUPTED
        if _holds(error, BrokenPipeError):
            # Whoever read the output has seen enough, as `head` does.
            _discard(sys.stdout)
            return 0
        raise


def _run() -> int | str:
    if sys.argv[1:] == ["--version"]:
        # Neither an extra nor the API is loaded for it.
        print(VERSION)
        return 0
    try:
        from binance_pm.cli.app import run  # noqa: PLC0415 - what the command needs is an extra

        return run(sys.argv[1:])
    except ImportError as missing:
        name = (missing.name or "an extra").partition(".")[0]
        return f"binance-pm: {name} is missing: {installation('cli')}"


@contextmanager
def _terminable() -> Generator[list[int]]:
    """While the block lasts, SIGTERM ends the command in the same order as Ctrl-C does, and stands in the list."""
    terminated: list[int] = []
    # So a shell starts what a script runs in the background: Ctrl-C goes on unheard, SIGTERM must not.
    is_deaf = signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    def terminate(number: int, _: object) -> None:
        terminated.append(number)
        signal.raise_signal(signal.SIGINT)
        if is_deaf:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    before = signal.signal(signal.SIGTERM, terminate)
    if is_deaf:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield terminated
    finally:
        signal.signal(signal.SIGTERM, before)
        if is_deaf:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


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
