"""Target 9: a consumer that sleeps while events arrive loses no connection, and is told exactly what it has missed."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Final

from binance_pm.sandbox import StreamRules
from binance_pm.stream.items import StreamDown, StreamGap
from binance_pm.testing import Sandbox
from tests.benchmarks.streams.clients import resident
from tests.benchmarks.streams.followed import Events, plain_accounts, push
from tests.benchmarks.streams.verdicts import Options, Verdict, at_most, exactly
from tests.support.streams import sample

RATE: Final = 1000
_AFTERWARDS: Final = 20
"""Events that are pushed when the consumer reads again."""


def position_events() -> Events:
    """Return events that change the size of a position to their numbers."""
    message = sample("ACCOUNT_UPDATE")
    position = message["a"]["P"][0] | {"s": "BTCUSDT", "ps": "BOTH", "pa": "0NUMBER"}
    return Events(message | {"fs": "UM", "a": message["a"] | {"P": [position]}})


async def consume(pm: Sandbox, seconds: float, options: Options) -> list[Verdict]:
    """Sleep, then read everything; return the verdicts."""
    events, received, downs, gaps = position_events(), 0, 0, list[StreamGap]()
    async with pm.client() as client, client.live_account({"um"}) as live:
        items, labels, before = live.events(), [client.label], resident()
        # The consumer asks for nothing.
        await asyncio.to_thread(push, pm, labels, events, RATE, seconds)
        await asyncio.sleep(0.5)
        growth = (resident() - before) / 1000
        is_current = live.is_current and live.positions["BTCUSDT"].position_amt == Decimal(events.last)
        reading = asyncio.create_task(asyncio.to_thread(push, pm, labels, events, 20, _AFTERWARDS / 20))
        expected = int(seconds * RATE) + _AFTERWARDS
        async with asyncio.timeout(30):
            while received + sum(gap.lost or 0 for gap in gaps) < expected:
                item = await anext(items)
                match item:
                    case StreamGap():
                        gaps.append(item)
                    case StreamDown():
                        downs += 1
                    case _:
                        received += 1
        await reading
    lost = sum(gap.lost or 0 for gap in gaps)
    options.say(
        f"{events.last:,} events, {RATE:,} a second, while the consumer slept {seconds:g} s: {received:,} received, "
        f"{lost:,} counted as lost."
    )
    return [
        exactly(9, "connections lost", 0, downs),
        exactly(9, "gaps", 1, len(gaps)),
        exactly(9, "events that were neither received nor counted", 0, events.last - received - lost),
        at_most(9, "memory that 10,000 waiting events and the rest add", 40.0, growth, " MB", digits=1),
        Verdict(9, "live account current meanwhile", "yes", "yes" if is_current else "no", is_current),
    ]


def run(options: Options) -> list[Verdict]:
    """Print the figures; return the verdicts."""
    with plain_accounts(1, streams=StreamRules(messages=None)) as pm:
        return asyncio.run(consume(pm, 15.0 if options.is_quick else 60.0, options))
