"""``binance-pm demo``: twelve accounts of a local exchange, watched while faults are injected."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from functools import partial
from typing import Final, NamedTuple

import anyio
from rich.text import Text

from binance_pm.amounts import text_of
from binance_pm.api.futures_events import ExecutionType, OrderTradeUpdate
from binance_pm.budget import Budget
from binance_pm.cli.dashboard.history import History
from binance_pm.cli.dashboard.rows import ordered, rows_of
from binance_pm.cli.dashboard.screen import budget_lines
from binance_pm.cli.dashboard.table import table
from binance_pm.cli.output import Output, clock_time, print_event, printable, stamped_logs
from binance_pm.cli.stream import as_json
from binance_pm.cli.watch import dispatch, fills_screen, show
from binance_pm.client import Client
from binance_pm.fleet import Fleet, FleetEvent, FleetState, Member, Reading
from binance_pm.sandbox import Exchange, Fault, SimulatedAccount, StreamFault, serve
from binance_pm.stream.items import StreamDown, StreamGap, StreamItem
from binance_pm.stream.policy import StreamSettings
from binance_pm.testing import Sandbox

WARN: Final = "1.5"
ALARM: Final = "1.2"
MINUTE_TURNS: Final = 50.0
"""Second of the story at which a minute of the exchange ends and the gate that a 429 closed opens."""
FALL_SECONDS: Final = 30.0
"""Seconds for which the market falls, then rises again, repeatedly."""
STREAMED: Final = "account-07"
"""The account whose user data stream is followed."""

_ONCE_SECONDS: Final = 10.0
# Pings are more frequent than by default, so that the dead connection is detected within its scene.
_STREAM: Final = StreamSettings(ping_every=1.0, ping_timeout=1.5)
# uniMMR at the start: some accounts will cross a threshold while the market falls, most are far above all thresholds.
_STARTS: Final = (
    "2.40", "1.62", "1.95", "3.20", "2.60", "1.55", "5.00", "2.10", "1.64", "4.10", "1.80", "12.00"
)  # fmt: skip


class Scene(NamedTuple):
    """The faults and the caption from a second of the story on."""

    second: float
    caption: str
    faults: tuple[Fault, ...] = ()
    """All faults of this scene; they replace the faults of the previous scene."""
    stream_fault: StreamFault | None = None
    """A fault of the user data stream of `STREAMED` at the beginning of the scene."""
    buys: bool = False
    """Whether `STREAMED` places an order at the beginning of the scene."""


_LOST: Final = Fault(account="account-04", drop=True, effect=False, times=None)
_CROWD: Final = Fault(external_usage={"papi": 2.5})
_REFUSED: Final = Fault(status=429, code=-1003, msg="Too many requests", effect=False)

STORY: Final[tuple[Scene, ...]] = (
    Scene(0, "Twelve accounts of a local exchange; the market falls for 30 seconds. The worst account comes first."),
    Scene(4, "uniMMR falls. Accounts that cross a threshold raise an event, and are read more often."),
    Scene(8, "All responses for account-04 are lost from now on. Its figures age until they are stale.", (_LOST,)),
    Scene(11, f"{STREAMED} buys 0.01 BTC: its user data stream reports the fill at once.", (_LOST,), buys=True),
    Scene(
        13,
        f"The stream of {STREAMED} goes silent. A ping is not answered: the stream reconnects and reports a StreamGap.",
        (_LOST,),
        StreamFault(kind="half_open", account=STREAMED),
    ),
    Scene(18, "account-04 responds again. Another program on this IP uses up the limit of /papi.", (_CROWD,)),
    Scene(38, "The exchange refuses a request with 429: nothing is sent until the gate opens.", (_REFUSED,)),
    Scene(MINUTE_TURNS, "The exchange's minute ends: the gate opens, and all accounts are read again."),
    Scene(60, "No more faults: the market keeps falling and rising. Press q to quit."),
)
"""The first minute of the demo."""


async def play(
    story: Iterable[Scene],
    exchange: Exchange,
    say: Callable[[str], None],
    *,
    buy: Callable[[], Awaitable[object]],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Show the caption of each scene at its second, and apply its faults and its order.

    Args:
        story: the scenes.
        exchange: receives the faults.
        say: called with each caption.
        buy: places an order.
        sleep: waits for a number of seconds.
    """
    passed, before = 0.0, ()
    for scene in story:
        await sleep(scene.second - passed)
        passed = scene.second
        if scene.faults != before:
            exchange.clear()
            exchange.inject(*scene.faults)
            before = scene.faults
        say(scene.caption)
        if scene.stream_fault is not None:
            exchange.streams.apply(scene.stream_fault)
        if scene.buys:
            await buy()


async def buy(fleet: Fleet) -> None:
    """Place an order for `STREAMED` that is filled at once."""
    await _streamed(fleet).um.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")


async def follow(fleet: Fleet, tell: Callable[[StreamItem], None]) -> None:
    """Call ``tell`` with each item of the user data stream of `STREAMED`, until cancelled."""
    async with _streamed(fleet).stream(_STREAM) as items:
        async for item in items:
            tell(item)


def describe_item(item: StreamItem, at: float) -> str | None:
    """Return a fill, `StreamDown` or `StreamGap` of `STREAMED` as one line; None for any other item."""
    match item:
        case OrderTradeUpdate(order=order) if order.execution_type == ExecutionType.TRADE:
            price = text_of(order.last_filled_price)
            what = f"{order.side} {text_of(order.last_filled_qty)} {order.symbol} at {price}"
            return f"{clock_time(at)} {'Fill':<16} {STREAMED}: {what}"
        case StreamDown():
            return f"{clock_time(at)} {'StreamDown':<16} {STREAMED}: {item.why}"
        case StreamGap():
            what = f"events of {item.until - item.since:.1f} s may be missing: {item.why}"
            return f"{clock_time(at)} {'StreamGap':<16} {STREAMED}: {what}"
        case _:
            return None


def _streamed(fleet: Fleet) -> Client:
    return next(member.client for member in fleet.members if member.client.label == STREAMED)


def story_clock(wall: Callable[[], float] = time.time) -> Callable[[], float]:
    """Return a clock for the exchange whose minute ends at `MINUTE_TURNS` of a story that begins now.

    The clock differs from the wall clock by at most half a minute.
    """
    ahead = (-MINUTE_TURNS - wall() + 30) % 60 - 30
    return lambda: wall() + ahead


def made_exchange(*, seed: int, clock: Callable[[], float]) -> Exchange:
    """Return the local exchange, in a market that falls and rises faster than usual."""
    # The last account also holds a contract settled in BTC, so its profit has no sum in dollars.
    accounts = [
        SimulatedAccount(f"account-{place:02}", seed=seed, uni_mmr=start, holds_ethbtc=place == len(_STARTS))
        for place, start in enumerate(_STARTS, 1)
    ]
    # The story is about falling and rising accounts, so no position is closed by force.
    return Exchange(seed=seed, accounts=accounts, clock=clock, fall_seconds=FALL_SECONDS, liquidation=False)


def fleet_of(pm: Sandbox, budget: Budget) -> Fleet:
    """Return a fleet of all accounts of the local exchange."""
    session = pm.session(budget=budget)
    read = ("span_account", "um_account")
    members = [Member(pm.client(place, session=session), "span", read) for place in range(len(pm.accounts))]
    return Fleet(members, floor=0.5, ceiling=2.0, slack=3.0)


def run(*, once: bool, plain: bool, json: bool, seed: int) -> int:
    """Watch the accounts until Ctrl-C or, with ``once``, until each account was read."""
    return anyio.run(_run, once, plain, json, seed)


async def _run(once: bool, plain: bool, json: bool, seed: int) -> int:  # noqa: FBT001 - anyio.run passes no keywords
    clock = story_clock()
    exchange = made_exchange(seed=seed, clock=clock)
    with serve(exchange) as base_url:
        async with fleet_of(Sandbox(exchange, base_url), Budget(wall=clock)) as fleet:
            events = fleet.watch(warn=WARN, alarm=ALARM)
            if once:
                return await _once(fleet, events, plain=plain, json=json)
            history = History()
            fills = fills_screen(plain=plain, json=json)

            def say(caption: str) -> None:
                history.say(caption, at=fleet.now(), style="bold cyan")
                if not (fills or json):
                    print(f"{clock_time(fleet.now())} {caption}", flush=True)

            def tell(item: StreamItem) -> None:
                text = describe_item(item, fleet.now())
                if json:
                    print(printable(as_json(item, label=STREAMED)), flush=True)
                elif text is not None:
                    history.add(text, at=fleet.now(), style="bold red" if isinstance(item, StreamDown) else "bold")
                    if not fills:
                        print(printable(text), flush=True)

            code = 0
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(play, STORY, exchange, say, buy=partial(buy, fleet), sleep=anyio.sleep))
                tasks.start_soon(follow, fleet, tell)
                if fills:
                    code = await show(fleet, events, [], history)
                else:
                    with stamped_logs(fleet.now):
                        await dispatch(events, [partial(print_event, as_json=json)])
                tasks.cancel_scope.cancel()
    return code


async def _once(fleet: Fleet, events: AsyncIterable[FleetEvent], *, plain: bool, json: bool) -> int:
    """Read each account once, and print the events meanwhile or the table of accounts afterwards."""
    unread = {snapshot.label for snapshot in fleet.snapshot()}
    as_lines = plain or json
    with anyio.move_on_after(_ONCE_SECONDS):
        async for event in events:
            if as_lines:
                print_event(event, as_json=json)
            if isinstance(event, Reading):
                unread.discard(event.label)
            if not unread:
                break
    if not as_lines:
        _print(fleet.state())
    return 1 if unread else 0


def _print(known: FleetState) -> None:
    output = Output()
    shown = table(ordered(rows_of(known.accounts), "danger"), output.width)
    for spans in (shown.head, *shown.body, (), *budget_lines(known.pools, output.width)):
        text = Text.assemble(*spans, no_wrap=True)
        text.rstrip()
        output.print(text, crop=True)
