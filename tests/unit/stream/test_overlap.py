"""What proves that the exchange serves two connections of one listen key."""

from __future__ import annotations

from typing import Any, cast

import anyio
import pytest

from binance_pm.api.stream_events import UnknownEvent
from binance_pm.stream.connection import HeldEvents
from binance_pm.stream.overlap import Overlap

EVENT = UnknownEvent(event_type="NEW", raw=b'{"e":"NEW"}')


class FakeConnection:
    """A connection that holds what it receives, and answers pings if it is open."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.held = HeldEvents()
        self.why = "" if is_open else "broken"
        self.ended = anyio.Event()
        self._is_open = is_open

    async def ping(self) -> bool:
        """Return whether the connection is open."""
        return self._is_open


async def is_proven(old: FakeConnection, new: FakeConnection, *, pushed_before: bool = False) -> bool:
    """Push an event to both connections; return whether that proves that both are served."""
    proofs: list[bool] = []
    overlap = Overlap(cast("Any", old), cast("Any", new), lambda: proofs.append(True))
    connections = [old, new]

    async def push(_: float = 0.0) -> None:
        while connections:
            connections.pop(0).held.hold(EVENT)
            overlap.check(EVENT)
        await anyio.lowlevel.checkpoint()

    if pushed_before:
        old.held.hold(EVENT)
        connections.remove(old)
    await overlap.receive(push, 3.0)
    return proofs == [True]


async def test_an_event_on_both_connections_is_a_proof() -> None:
    """Both answer a ping afterwards."""
    assert await is_proven(FakeConnection(), FakeConnection())


@pytest.mark.parametrize("is_old_open", [True, False])
async def test_a_connection_that_was_lost_proves_nothing(*, is_old_open: bool) -> None:
    """The exchange may have pushed a duplicate to the other one."""
    assert not await is_proven(FakeConnection(is_open=is_old_open), FakeConnection(is_open=not is_old_open))


async def test_an_event_from_before_the_overlap_proves_nothing() -> None:
    """The exchange may have pushed a duplicate to the new connection."""
    assert not await is_proven(FakeConnection(), FakeConnection(), pushed_before=True)


async def test_an_overlap_is_settled_when_a_lost_connection_has_ended() -> None:
    """A rotation that began before would lose what the old connection has received."""
    old, new = FakeConnection(), FakeConnection(is_open=False)
    overlap = Overlap(cast("Any", old), cast("Any", new), lambda: None)
    is_settled = False

    async def settle() -> None:
        nonlocal is_settled
        await overlap.settle()
        is_settled = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(settle)
        await anyio.wait_all_tasks_blocked()
        # The end of the new connection is that of the old one.
        old.why = new.why
        new.ended.set()
        await anyio.wait_all_tasks_blocked()
        assert not is_settled
        old.ended.set()
    assert is_settled
