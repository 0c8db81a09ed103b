"""The queue between a stream and a consumer that may be slow."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_pm.api.stream_events import UnknownEvent
from binance_pm.stream.items import StreamDown, StreamGap, StreamItem
from binance_pm.stream.queue import TOO_SLOW, StreamQueue

DOWN = StreamDown(since=1.0, why="the connection broke")
GAP = StreamGap(since=1.0, until=2.0, why="the connection broke")


def event(number: int) -> UnknownEvent:
    """Return an event with a number."""
    return UnknownEvent(event_type=str(number), raw=b"")


def number_of(item: StreamItem) -> int:
    """Return the number of an event."""
    assert isinstance(item, UnknownEvent)
    return int(item.event_type)


def queue_of(capacity: int) -> StreamQueue:
    """Return a queue whose clock advances by a second at each look."""
    now = 0.0

    def bounds() -> tuple[float, float]:
        nonlocal now
        now += 1
        return now, now + 0.5

    return StreamQueue(capacity, bounds)


async def test_one_gap_takes_the_place_of_the_events_that_do_not_fit() -> None:
    """Its count is exact, and its times are those of the first and the last lost event."""
    queue = queue_of(3)
    fits = [queue.put(event(number)) for number in range(10)]

    assert fits == [True] * 3 + [False] * 7
    assert [number_of(await queue.get()) for _ in range(3)] == [0, 1, 2]
    gap = await queue.get()
    assert isinstance(gap, StreamGap)
    assert (gap.lost, gap.why) == (7, TOO_SLOW)
    assert gap.since < gap.until


async def test_events_are_accepted_again_when_half_of_the_queue_is_empty() -> None:
    """Otherwise a consumer that is a little too slow would see a gap after every event."""
    queue = queue_of(4)
    for number in range(6):
        queue.put(event(number))
    await queue.get()
    assert not queue.put(event(6))
    await queue.get()

    assert queue.put(event(7))
    got = [await queue.get() for _ in range(4)]
    assert [type(item).__name__ for item in got] == ["UnknownEvent", "UnknownEvent", "StreamGap", "UnknownEvent"]
    assert isinstance(got[2], StreamGap)
    assert got[2].lost == 3


async def test_reports_of_the_stream_always_fit() -> None:
    """A full queue drops neither `StreamDown` nor `StreamGap`."""
    queue = queue_of(1)
    queue.put(event(0))
    queue.put(event(1))
    queue.put_report(DOWN)
    queue.put_report(GAP)

    got = [await queue.get() for _ in range(4)]
    assert got[2:] == [DOWN, GAP]
    assert isinstance(got[1], StreamGap)
    assert got[1].lost == 1


async def test_reports_that_nobody_reads_do_not_fill_the_memory() -> None:
    """Of thousands of reports in a row, the latest become one gap that begins with the first of them."""
    queue = queue_of(2)
    for number in range(3):
        queue.put(event(number))
    for second in range(5_000):
        queue.put_report(StreamDown(since=second, why="the connection broke"))
        queue.put_report(StreamGap(since=second, until=second + 1, why="the connection broke"))
        queue.put(event(3 + second))
    queue.close()
    got = [item async for item in items_of(queue)]

    # For each two reports one gap of events that did not fit.
    assert len(got) <= 1_510
    assert [number_of(item) for item in got[:2]] == [0, 1]
    gaps = [item for item in got if isinstance(item, StreamGap) and item.why != TOO_SLOW]
    assert (gaps[0].since, gaps[-1].until) == (0, 5_000)


async def items_of(queue: StreamQueue) -> AsyncIterator[StreamItem]:
    """Yield what waits in a closed queue."""
    while True:
        try:
            yield await queue.get()
        except StopAsyncIteration:
            return


async def test_unreadable_messages_in_a_row_are_one_gap() -> None:
    """A stream of garbage does not fill the memory."""
    queue = queue_of(10)
    for second in range(1000):
        queue.put_report(StreamGap(since=second, until=second + 1, why="a message could not be read", lost=1))
    queue.close()

    gap = await queue.get()
    assert isinstance(gap, StreamGap)
    assert (gap.since, gap.until, gap.lost) == (0, 1000, 1000)
    with pytest.raises(StopAsyncIteration):
        await queue.get()


async def test_an_error_is_raised_after_what_waits() -> None:
    """The consumer receives everything that arrived before."""
    queue = queue_of(10)
    queue.put(event(1))
    queue.close(RuntimeError("closed"))

    assert number_of(await queue.get()) == 1
    with pytest.raises(RuntimeError, match="closed"):
        await queue.get()


async def test_a_waiting_consumer_is_woken() -> None:
    """By an event, by a report and by the end."""
    queue = queue_of(10)
    got: list[StreamItem] = []

    async def consume() -> None:
        while True:
            try:
                got.append(await queue.get())
            except StopAsyncIteration:
                return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(consume)
        for put in (lambda: queue.put(event(1)), lambda: queue.put_report(DOWN), queue.close):
            await anyio.wait_all_tasks_blocked()
            put()

    assert len(got) == 2


async def test_a_busy_consumer_can_be_cancelled() -> None:
    """A consumer that always finds an event still lets other tasks run."""
    queue = queue_of(10)
    with anyio.move_on_after(0.01):
        while True:
            queue.put(event(0))
            await queue.get()


@given(st.integers(1, 6), st.lists(st.sampled_from(["put", "get", "down", "gap"]), max_size=80))
def test_nothing_is_missing_without_a_gap_that_counts_it(capacity: int, steps: list[str]) -> None:
    """The numbers between two events are exactly those that the gaps between them have counted."""

    async def play() -> None:
        queue, number, got = queue_of(capacity), 0, list[StreamItem]()
        for step in [*steps, "put"]:
            match step:
                case "put":
                    number += 1
                    queue.put(event(number))
                case "get":
                    if queue.has_items:
                        got.append(await queue.get())
                case _:
                    queue.put_report(DOWN if step == "down" else GAP)
            assert len(queue) <= capacity
        while queue.has_items:
            got.append(await queue.get())
        assert sum(item == DOWN for item in got) == steps.count("down")
        assert sum(item == GAP for item in got) == steps.count("gap")
        assert missing_between(got) == number

    anyio.run(play)


def missing_between(got: list[StreamItem]) -> int:
    """Return the number up to which all events are received or counted by a gap in their place."""
    last = lost = 0
    for item in got:
        if isinstance(item, StreamGap):
            lost += item.lost or 0
        elif isinstance(item, UnknownEvent):
            assert number_of(item) == last + lost + 1
            last, lost = number_of(item), 0
    return last + lost
