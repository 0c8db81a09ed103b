"""The buffer of events for the task that watches a fleet."""

from __future__ import annotations

from decimal import Decimal

from binance_pm.fleet import Change, Reading
from binance_pm.fleet.event_queue import EventBuffer


async def test_a_figure_that_returns_to_its_value_is_not_a_change() -> None:
    """Readings that wait are merged, with every change since the last reading that was taken."""
    buffer = EventBuffer(1)
    for before, after, equity in ((1, 2, 5), (2, 1, 6)):
        changed = {
            "uni_mmr": Change(Decimal(before), Decimal(after)),
            "account_equity": Change(Decimal(equity - 1), Decimal(equity)),
        }
        buffer.put(Reading(label="a", at=float(equity), responses={}, changed=changed))

    reading = await buffer.get()

    assert isinstance(reading, Reading)
    assert (reading.at, reading.changed) == (6.0, {"account_equity": Change(Decimal(4), Decimal(6))})
    assert len(buffer) == 0
