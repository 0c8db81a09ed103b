"""For the sections about what the command line refuses, and what it says."""

# Imports that this module does not use are for the sections of messages.txt.
# pyright: reportUnusedImport=false
from __future__ import annotations

import io
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import partial

from binance_pm.cli import main
from binance_pm.cli.app import run
from binance_pm.cli.dashboard.history import History
from binance_pm.cli.watch import show
from binance_pm.fleet import Fleet
from binance_pm.journal_file import HEADER
from tests.messages.fleet import ACCOUNT
from tests.messages.stage import KEY, SECRET, Stage
from tests.support.journals import ended, started


def command(stage: Stage, line: str) -> str:
    """Run a command line; FILE in it is an accounts file, FOLDER the folder that it is in."""
    file = stage.file(ACCOUNT, name="accounts.toml")
    words = [word.replace("FILE", str(file)).replace("FOLDER", str(stage.folder)) for word in shlex.split(line)]
    out, err = io.StringIO(), io.StringIO()
    stage.env(COLUMNS="100")
    with redirect_stdout(out), redirect_stderr(err):
        code = run(words)
    return f"exit {code}\n{out.getvalue()}{err.getvalue()}"


def with_journal(stage: Stage) -> Stage:
    """Write a journal with a loan and an order, and with the beginning of a line."""
    lost = ended("two", outcome="unknown", reason="the response was lost")
    lines = [started("one", client_id="desk-1", time=0), started("two", endpoint="margin.borrow", time=0), lost, b"{"]
    stage.file(HEADER + b"".join(lines), name="JOURNAL")
    stage.patch.chdir(stage.folder)
    return with_keys(stage)


def with_keys(stage: Stage) -> Stage:
    """Put keys into the environment."""
    stage.env(BINANCE_PM_API_KEY=KEY, BINANCE_PM_API_SECRET=SECRET)
    return stage


class Terminal(io.StringIO):
    """A terminal with a typed answer."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def at_terminal(stage: Stage, answer: str, line: str) -> str:
    """Run a command line with keys at a terminal, and answer its question."""
    stage.patch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    err = Terminal()
    with redirect_stderr(err):
        code = run(shlex.split(line))
    return f"exit {code}\n{err.getvalue()}"


async def without_dashboard(stage: Stage) -> object:
    """Show a dashboard without the library that draws it."""
    stage.without("textual")
    for name in [name for name in sys.modules if name.startswith("binance_pm.cli.dashboard.app")]:
        stage.patch.delitem(sys.modules, name)
    # A loaded module is an attribute of its package, too.
    stage.patch.delattr("binance_pm.cli.dashboard.app", raising=False)
    return await show(Fleet([]), None, [], History())  # type: ignore[arg-type] - `show` fails before it needs an account


def without_cli(stage: Stage) -> object:
    """Run the command without its extra."""
    stage.without("cyclopts")
    stage.patch.delitem(sys.modules, "binance_pm.cli.app", raising=False)
    stage.patch.setattr(sys, "argv", ["binance-pm"])
    try:
        main()
    except SystemExit as ended:
        return ended.code
    return None
