"""Write the screenshot of the dashboard for the documentation: ``nox -s screenshot``.

It is the demo, a quarter of a minute after its start, on a screen of 80 columns.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from binance_pm.budget import Budget
from binance_pm.cli import demo
from binance_pm.cli.dashboard.app import Dashboard
from binance_pm.cli.dashboard.history import History
from binance_pm.cli.watch import dispatch
from binance_pm.sandbox import serve
from binance_pm.testing import Sandbox

_SECONDS: Final = 14.5
_FILE: Final = Path(__file__).parent / "pages" / "dashboard.svg"


async def main() -> None:
    """Run the demo until the time of the screenshot, and save the screen."""
    clock, history = demo.story_clock(), History()
    exchange = demo.made_exchange(seed=7, clock=clock)
    picture = ""
    with serve(exchange) as base_url:
        async with (
            demo.fleet_of(Sandbox(exchange, base_url), Budget(wall=clock)) as fleet,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(dispatch, fleet.watch(warn=demo.WARN, alarm=demo.ALARM), [history.receive])

            async def play() -> None:
                buy = partial(demo.buy, fleet)
                await demo.play(demo.STORY, exchange, lambda _: None, buy=buy, sleep=anyio.sleep)

            tasks.start_soon(play)
            dashboard = Dashboard(fleet.state, history)
            async with dashboard.run_test(size=(80, 24)):
                await anyio.sleep(_SECONDS)
                picture = dashboard.export_screenshot(title="binance-pm demo")
            tasks.cancel_scope.cancel()
    # The page must not request a font from another host.
    local = (
        re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
        .replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas")
        .strip()
    )
    _FILE.write_text(f"{local}\n", encoding="utf-8")


if __name__ == "__main__":
    anyio.run(main)
