"""The command ``binance-pm``."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command: 0 on success, 1 on a failure it explains in one line, 2 on wrong usage, 130 on Ctrl-C."""
    try:
        from binance_pm.cli.app import run  # noqa: PLC0415 - what the command needs is an extra
    except ImportError as missing:
        name = (missing.name or "an extra").partition(".")[0]
        sys.exit(f"binance-pm: {name} is missing: pip install 'binance-pm[all]'")
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `head` does; the interpreter must not try to flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
