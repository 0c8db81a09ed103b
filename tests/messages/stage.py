"""How the message of a section is provoked, and how it is written down."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

from binance_pm.doctor import Check
from binance_pm.errors import PortfolioMarginError
from binance_pm.extras import installation, installing

KEY, SECRET = "k" * 64, "s" * 64


class Stage:
    """A folder, and changes that are undone after the section.

    Attributes:
        folder: an empty directory.
        patch: changes the environment or a module.
        is_unordered: whether threads log in any order, and in real time.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.patch = patch
        self.is_unordered: bool = False

    def file(self, content: str | bytes, *, name: str = "file", mode: int = 0o600) -> Path:
        """Return the path of a file with the content."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    def env(self, **variables: str) -> None:
        """Set environment variables."""
        for name, value in variables.items():
            self.patch.setenv(name, value)

    def fails(self, holder: object, name: str, error: Exception) -> None:
        """Let a function raise the error."""

        def fail(*_: object, **__: object) -> NoReturn:
            raise error

        self.patch.setattr(holder, name, fail)

    def without(self, module: str) -> None:
        """Make a module impossible to import, even if a part of it is loaded."""
        for name in [name for name in sys.modules if name.startswith(f"{module}.")]:
            self.patch.delitem(sys.modules, name)
        self.patch.setitem(sys.modules, module, None)


async def errors_of(*acts: Callable[[], Awaitable[object]]) -> list[Exception]:
    """Return what the calls raise, made one after another."""
    raised: list[Exception] = []
    for act in acts:
        try:
            await act()
        except Exception as error:  # noqa: BLE001 - the message of any error is wanted
            raised.append(error)
    return raised


class _Log(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.INFO)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record down, with the class of the error that it carries."""
        error = record.exc_info and record.exc_info[1]
        cause = f" ({type(error).__name__}: {error})" if error else ""
        self._lines.append(f"{record.levelname.lower()}: {record.getMessage()}{cause}")


def observe(act: Callable[[], object], stage: Stage) -> str:
    """Return everything that an act says, one message per line: an error, logs, or a result, also of a coroutine."""
    lines: list[str] = []
    handler, logger = _Log(lines), logging.getLogger("binance_pm")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        result = act()
        shown = _shown(asyncio.run(result) if inspect.iscoroutine(result) else result)
    except Exception as error:  # noqa: BLE001 - the message of any error is wanted
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
        case BaseException():
            attributes = _attributes(result) if isinstance(result, PortfolioMarginError) else ""
            return [f"{type(result).__name__}: {result}"] + [f"    {attributes}"] * bool(attributes)
        case Check():
            advice = [f"    -> {result.advice}"] * bool(result.advice)
            return [f"{result.verdict} {result.name}: {result.finding}", *advice]
        case list():
            return [line for part in cast("list[object]", result) for line in _shown(part)]
        case _:
            return [line for line in str(result).splitlines() if line.strip()]


_IN_THE_TEXT = {"endpoint", "label", "reason", "advice", "message", "request"}


def _attributes(error: PortfolioMarginError) -> str:
    """Return the attributes that are neither part of the text nor empty."""
    known: Mapping[str, Any] = vars(error) | {"outcome": error.outcome}
    return ", ".join(
        f"{name}={value!r}"
        for name, value in sorted(known.items())
        if not name.startswith("_") and name not in _IN_THE_TEXT and value is not None and value is not False
    )


def _masked(line: str, folder: Path) -> str:
    """Return the line without what differs from machine to machine, or from run to run."""
    for extra in ("keys", "redis", "cli", "sandbox", "metrics", "keyring", "parquet", "stream"):
        line = line.replace(installation(extra), f"INSTALL {extra}")
    line = line.replace(installing("httpx[socks]"), "INSTALL httpx[socks]")
    line = line.replace(str(folder), "FOLDER").replace(sys.executable, "PYTHON")
    line = re.sub(r"(127\.0\.0\.1:|papi\.binance\.com:|127\.0\.0\.1, port )\d{5}", r"\1PORT", line)
    line = re.sub(r"\d{4}-\d\d-\d\d", "DATE", line)
    line = re.sub(r"(connected in|round trip|clock is) [\d.]+ m?s", r"\1 SOME ms", line)
    line = re.sub(r"(fingerprint is) [0-9a-f]{64}", r"\1 HEX", line)
    return re.sub(r" at 0x[0-9a-f]+", " at ADDRESS", line)
