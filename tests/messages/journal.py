"""For the sections about the journal."""

# Imports that this module does not use are for the sections of messages.txt.
# pyright: reportUnusedImport=false
from __future__ import annotations

import errno
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from binance_pm import CallInfo, JournalError, NoResponse, PortfolioMarginError, WriteEnded, read_journal
from binance_pm.cli.orders import run
from binance_pm.errors import SentWrite
from binance_pm.journal import Journal
from binance_pm.journal_file import HEADER, open_journal
from binance_pm.transport.http import Timeouts
from tests.messages.arguments import HTTP
from tests.messages.responses import client_of
from tests.messages.stage import Stage, errors_of
from tests.support.cancelling import cancelled_at
from tests.support.clocks import FakeClock
from tests.support.journals import ended, started

CALL = CallInfo("um.new_order", "desk", write=True)
ORDER: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "MARKET",
    "quantity": 1,
    "new_client_order_id": "a",
}
LINE = started("one")


def failure(number: int) -> Callable[..., Any]:
    """Return a function that fails as the operating system does."""

    def fail(*_: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def opened(path: Path | str, **fakes: Any) -> None:
    """Open a journal, and write one line."""
    file = open_journal(Path(path), CALL, **fakes)
    try:
        file.append(LINE, CALL)
    finally:
        file.close()


def forked(stage: Stage, *, is_shared: bool) -> str:
    """Return what a child process says of a journal that its parent has open."""
    path = stage.folder / "journal"
    file = open_journal(path, CALL)
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Other tests may have threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            if is_shared:
                file.append(LINE, CALL)
            opened(path)
        except JournalError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    file.close()
    with os.fdopen(reader) as told:
        return told.read()


def deleted(path: Path) -> None:
    """Delete an open journal."""
    file = open_journal(path, CALL)
    path.unlink()
    try:
        file.append(LINE, CALL)
    finally:
        file.close()


async def failing_disk(path: Path) -> None:
    """Flush to a disk that fails."""
    file = open_journal(path, CALL, sync=failure(errno.EIO))
    try:
        await file.sync(CALL)
    finally:
        file.close()


def unremovable(stage: Stage) -> list[Exception]:
    """Fail to remove the beginning of a line."""
    file = open_journal(stage.folder / "journal", CALL, write=lambda descriptor, line: os.write(descriptor, line[:5]))
    stage.fails(os, "ftruncate", OSError(errno.EIO, os.strerror(errno.EIO)))
    raised: list[Exception] = []
    for _ in range(2):
        try:
            file.append(LINE, CALL)
        except JournalError as error:
            raised.append(error)
    file.close()
    return raised


def read(content: bytes, stage: Stage) -> list[str]:
    """Read a file."""
    path = stage.folder / "journal"
    path.write_bytes(content)
    return [f"{entry.outcome}: {entry.error or ''}" for entry in read_journal(path)]


async def unencodable(path: Path) -> None:
    """Place an order for an account whose label is no text."""
    async with client_of(HTTP, FakeClock(), journal=path, label="\ud800") as desk:
        try:
            await desk.um.new_order(**ORDER)
        except JournalError as error:
            raise JournalError(CALL, error.reason) from None


async def raising() -> None:
    """Place an order with a function as the journal, which raises."""

    def refuse(_: object) -> None:
        raise KeyError("x")

    async with client_of(HTTP, FakeClock(), journal=refuse) as desk:
        await desk.um.new_order(**ORDER)


async def full_after_the_write(stage: Stage) -> None:
    """Have no space for the line after a write."""
    left = [1]

    def write(descriptor: int, line: bytes) -> int:
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left.pop()
        return os.write(descriptor, line)

    file = open_journal(stage.folder / "journal", CALL, write=write)
    stage.patch.setattr(os, "urandom", bytes)
    answer = httpx.MockTransport(lambda _: httpx.Response(200, json={"listenKey": "x"}))
    async with client_of(answer, FakeClock(), journal=file.path) as desk:
        await desk.create_listen_key()
    file.close()


async def cancelled(stage: Stage) -> list[str]:
    """Cancel a write before it is sent."""
    path = stage.folder / "journal"
    entered = threading.Event()

    def sync(_: int) -> None:
        entered.wait(0.01)

    file = open_journal(path, CALL, sync=sync)
    async with client_of(HTTP, FakeClock(), journal=path) as desk:
        point = 0
        while not (found := list(read_journal(path))):
            await cancelled_at(point, desk.create_listen_key())
            point += 1
    file.close()
    return [f"{entry.outcome}: {entry.ended.reason if entry.ended else ''}" for entry in found]


def closed() -> None:
    """Write to a journal that is not open."""
    Journal("journal").append(WriteEnded(id="1", time=1, outcome="done"), CALL)


def reopened(path: Path) -> None:
    """Write to a file that was closed."""
    file = open_journal(path, CALL)
    file.close()
    file.append(LINE, CALL)
