"""The command ``binance-pm``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from binance_pm.extras import installation
from binance_pm.version import VERSION

_INTERRUPTED: Final = 128 + signal.SIGINT
_TERMINATED: Final = 128 + signal.SIGTERM


def main() -> None:
    """Run the command and exit.

    The exit code is 0 on success, 1 on a failure that one line explains, 2 on wrong usage, 130 on Ctrl-C, and 143 on
    SIGTERM.
    """
    _open_closed_streams()
    with _terminable() as terminated:
        code = _run()
    sys.exit(_TERMINATED if terminated and code == _INTERRUPTED else code)


def _run() -> int | str:
    try:
        if sys.argv[1:] == ["--version"]:
            # This option loads neither an extra nor the API.
            print(VERSION)
            return 0
        from binance_pm.cli.app import run  # noqa: PLC0415 - the command needs an extra

        return run(sys.argv[1:])
    except ImportError as missing:
        name = (missing.name or "an extra").partition(".")[0]
        return f"binance-pm: {name} is not installed: {installation('cli')}"
    except BaseException as error:
        if _contains(error, KeyboardInterrupt):
            return _INTERRUPTED
        if _contains(error, BrokenPipeError):
            # The reader has closed the pipe, as `head` does; the interpreter flushes stdout when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        raise


@contextmanager
def _terminable() -> Generator[list[int]]:
    """While the block lasts, SIGTERM is added to the list and ends the command in the same way as Ctrl-C."""
    terminated: list[int] = []
    # A shell starts background commands of a script with SIGINT ignored: Ctrl-C stays ignored, SIGTERM must work.
    is_ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    def terminate(number: int, _: object) -> None:
        terminated.append(number)
        signal.raise_signal(signal.SIGINT)
        if is_ignored:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    before = signal.signal(signal.SIGTERM, terminate)
    if is_ignored:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield terminated
    finally:
        signal.signal(signal.SIGTERM, before)
        if is_ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _open_closed_streams() -> None:
    """Open the null device in place of standard streams that the caller closed, which are None in Python."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Kept open until the process ends, so that no socket gets the file descriptor of the stream.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - see above; pathlib is not loaded


def _contains(error: BaseException, kind: type[BaseException]) -> bool:
    """Return whether the error is of a kind or is a group that contains such an error, as task groups raise."""
    return BaseExceptionGroup("", [error]).subgroup(kind) is not None
