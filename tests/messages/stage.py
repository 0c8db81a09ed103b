"""How the message of a scenario is provoked, and how it is written down."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from binance_pm.doctor import Check
from binance_pm.errors import PortfolioMarginError
from binance_pm.extras import installation, installing

KEY, SECRET = "k" * 64, "s" * 64


class Stage:
    """What a scenario may use: a folder of its own, and changes that are undone after it.

    Attributes:
        folder: an empty directory.
        patch: changes the environment or a module.
        is_unordered: whether threads log as they come, and in real time.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.patch = patch
        self.is_unordered: bool = False

    def file(self, content: str | bytes, *, name: str = "file", mode: int = 0o600) -> Path:
        """A file with the content."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    def without(self, module: str) -> None:
        """Make a module impossible to import, also if a part of it is loaded."""
        for name in [name for name in sys.modules if name.startswith(f"{module}.")]:
            self.patch.delitem(sys.modules, name)
        self.patch.setitem(sys.modules, module, None)


Scenario = Callable[[Stage], object]
"""Provokes messages: raises an error, logs, or returns text (also as a coroutine, or several in a list)."""


class _Log(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.INFO)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record down, with the class of the error that it carries."""
        error = record.exc_info and record.exc_info[1]
        cause = f" ({type(error).__name__}: {error})" if error else ""
        self._lines.append(f"{record.levelname.lower()}: {record.getMessage()}{cause}")


def observe(scenario: Scenario, stage: Stage) -> str:
    """Everything that a scenario says, one message a line."""
    lines: list[str] = []
    handler, logger = _Log(lines), logging.getLogger("binance_pm")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        result = scenario(stage)
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
        shown = _shown(result)
    except Exception as error:  # noqa: BLE001 - the message of any error is what is wanted
        shown = _shown(error)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    if stage.is_unordered:
        lines = sorted({re.sub(r"for [\d.]+ s$", "for SOME s", line) for line in lines})
    return "\n".join(_masked(line, stage.folder) for line in (*lines, *shown))


def _shown(result: object) -> Iterable[str]:
    match result:
        case None:
            return []
        case PortfolioMarginError():
            attributes = ", ".join(f"{name}={value!r}" for name, value in _attributes(result).items())
            return [f"{type(result).__name__}: {result}"] + [f"    {attributes}"] * bool(attributes)
        case BaseException():
            return [f"{type(result).__name__}: {result}"]
        case Check():
            return [f"{result.verdict} {result.name}: {result.finding}"] + [f"    -> {result.advice}"] * bool(
                result.advice
            )
        case list():
            return [line for part in cast("list[object]", result) for line in _shown(part)]
        case _:
            return [line for line in str(result).splitlines() if line.strip()]


_IN_THE_TEXT = {"endpoint", "label", "reason", "advice", "message", "request"}


def _attributes(error: PortfolioMarginError) -> Mapping[str, Any]:
    """What a program can go by; what is part of the text, and what is empty, is left out."""
    known = {name: value for name, value in vars(error).items() if not name.startswith("_")} | {
        "outcome": error.outcome
    }
    return {
        name: value
        for name, value in sorted(known.items())
        if name not in _IN_THE_TEXT and value is not None and value is not False
    }


def _masked(line: str, folder: Path) -> str:
    """The line without what differs from machine to machine, or from run to run."""
    for extra in ("keys", "fast", "redis", "cli", "sandbox", "metrics", "keyring"):
        line = line.replace(installation(extra), f"INSTALL {extra}")
    line = line.replace(installing("httpx[socks]"), "INSTALL httpx[socks]")
    line = line.replace(str(folder), "FOLDER").replace(sys.executable, "PYTHON")
    line = re.sub(r"(127\.0\.0\.1:|papi\.binance\.com:|127\.0\.0\.1, port )\d{5}", r"\1PORT", line)
    line = re.sub(r"\d{4}-\d\d-\d\d", "DATE", line)
    line = re.sub(r"(connected in|round trip|clock is) [\d.]+ m?s", r"\1 SOME ms", line)
    return re.sub(r" at 0x[0-9a-f]+", " at ADDRESS", line)
