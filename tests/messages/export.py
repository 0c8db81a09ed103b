"""For the sections about exports."""

# Imports that this module does not use are for the sections of messages.txt.
# pyright: reportUnusedImport=false
from __future__ import annotations

from tests.messages.stage import Stage, errors_of
from tests.support.many_trades import FIRST, ManyTrades, begin_export, damage_export, row_of, save, trades_of


def damaged(stage: Stage, name: str) -> object:
    """Continue an export after its files were changed."""
    path = stage.folder / "trades.csv"
    begin_export(path)
    damage_export(path, name)
    return save(path)


def ended_earlier(stage: Stage) -> object:
    """Continue an export with an end before rows that it has."""
    path = stage.folder / "trades.csv"
    begin_export(path)
    return save(path, end_time=FIRST + 5)


async def twice(stage: Stage) -> list[Exception]:
    """Export into a file that is being written."""
    from binance_pm.history.checkpoints import GrowingFile  # noqa: PLC0415 - a name for this function only

    path = stage.folder / "trades.csv"
    files: list[GrowingFile] = []

    async def begin() -> None:
        files.append(GrowingFile(path, header=b"", columns=(), start_time=None, overwrite=False))

    raised = await errors_of(begin, begin)
    for file in files:
        file.close()
    return raised


def with_row(number: int) -> dict[str, object]:
    """Return a trade whose price has too many places for a Parquet file."""
    return row_of(number) | {"price": "0.1234567890123456789"}
