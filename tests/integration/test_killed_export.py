"""An export that is killed at any moment continues without losing or repeating a row."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.coverage import unmeasured
from tests.support.many_trades import ROWS, ManyTrades, names, save


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes can be forked")
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_killed_export_neither_loses_nor_repeats_rows(
    tmp_path: Path, complete_export: Callable[[str], bytes], form: str
) -> None:
    """Killed at every request, and before every file is opened, renamed, linked or removed."""
    whole = complete_export(form)
    # Each of the exports runs the same lines.
    with unmeasured():
        for moment in range(1, 200):
            path = tmp_path / f"{moment}" / f"trades.{form}"
            path.parent.mkdir()
            if not killed_at(moment, path):
                break
            is_complete = path.exists()
            assert not is_complete or path.read_bytes() == whole, f"killed at {moment}"
            save(path, overwrite=is_complete)

            assert path.read_bytes() == whole, f"killed at {moment}"
            assert [name for name in names(path) if not name.startswith(".")] == [path.name]
        else:
            pytest.fail("the export has no end")
    assert moment > 16


def killed_at(moment: int, path: Path) -> bool:
    """Run an export in a child process that is killed at an event; return whether it came to that event."""
    child = os.fork()
    if child == 0:
        count = 0

        def step(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            is_ours = event in {"open", "os.rename", "os.link", "os.remove"} and str(path.parent) in str(arguments[0])
            if is_ours or event == "request":
                count += 1
                if count == moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(step)
            save(path, ManyTrades(ROWS, hook=lambda _: step("request", ("",))))
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])
