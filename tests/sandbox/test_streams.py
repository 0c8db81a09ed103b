"""Listen keys, and the delivery of events to connections, without sockets."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest

from binance_pm.sandbox import Exchange, Fault, StreamFault, StreamRules
from binance_pm.sandbox.stream_faults import AccountFault, ConnectionFault, Delivery, EventFilter, StreamProduct
from binance_pm.sandbox.websocket import Route, route_of
from tests.support.followers import FakeFollower

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.conftest import Caller, Desk, FakeClock

MINUTE = 60
EVENT = {"e": "balanceUpdate", "a": "BTC", "d": "1", "U": 1, "T": 1}
KEYS = pytest.mark.parametrize("path", ["/papi/v1/listenKey", "/fapi/v1/listenKey"])


async def key_of(desk: Desk, path: str = "/papi/v1/listenKey") -> str:
    """Return the listen key of the account."""
    return (await desk("POST", path))["listenKey"]


async def following(desk: Desk, *, product: StreamProduct = "pm") -> FakeFollower:
    """Return a connection with the listen key of the account."""
    path = "/papi/v1/listenKey" if product == "pm" else "/fapi/v1/listenKey"
    follower = FakeFollower(await key_of(desk, path), product=product)
    desk.exchange.streams.open(follower)
    return follower


async def change(desk: Desk) -> None:
    """Make a change that pushes one event."""
    await desk("POST", "um/leverage", symbol="BTCUSDT", leverage=10)


@KEYS
async def test_a_listen_key_is_the_same_while_it_is_valid(desk: Desk, path: str) -> None:
    """POST returns the active key and extends it; after it has expired, POST creates another one."""
    first = await key_of(desk, path)
    desk.clock.now += 59 * MINUTE
    again = await key_of(desk, path)
    desk.clock.now += 59 * MINUTE
    extended = await key_of(desk, path)
    desk.clock.now += 60 * MINUTE
    later = await key_of(desk, path)

    assert first == again == extended != later
    assert len(later) == 64


@KEYS
async def test_put_extends_a_listen_key_and_delete_ends_it(desk: Desk, path: str) -> None:
    """PUT and DELETE without a listen key are refused with -1125."""
    refused = await desk("PUT", path), await desk("DELETE", path)
    key = await key_of(desk, path)
    desk.clock.now += 59 * MINUTE
    kept = await desk("PUT", path)
    desk.clock.now += 59 * MINUTE
    again = await key_of(desk, path)
    closed = await desk("DELETE", path)
    other = await key_of(desk, path)

    assert [one["code"] for one in refused] == [-1125, -1125]
    assert (kept, closed) == ({}, {})
    assert key == again != other


async def test_each_product_has_a_key_of_its_own(desk: Desk) -> None:
    """A key of one product is silent on the stream of the other."""
    pm, pro = await key_of(desk), await key_of(desk, "/fapi/v1/listenKey")
    wrong = FakeFollower(pro)
    desk.exchange.streams.open(wrong)

    await change(desk)

    assert pm != pro
    assert wrong.take() == []


async def test_the_weight_of_a_pro_key_counts_in_the_pool_of_futures(desk: Desk) -> None:
    """The weight of a Pro key counts in the pool of fapi.binance.com."""
    await key_of(desk, "/fapi/v1/listenKey")

    assert desk.exchange.used("fapi") == 1
    assert desk.exchange.used("papi") == 0


async def test_a_listen_key_sent_as_a_parameter_is_accepted(caller: Caller) -> None:
    """A listen key sent as a parameter is accepted, and no record keeps the key."""
    api_key = caller.key.api_key
    key = (await caller.send("/papi/v1/listenKey", method="POST", api_key=api_key)).json()["listenKey"]

    response = await caller.send("/papi/v1/listenKey", f"listenKey={key}", method="PUT", api_key=api_key)

    assert (response.status_code, response.json()) == (200, {})
    assert key not in repr(caller.exchange.requests)


async def test_an_unknown_key_stays_silent(desk: Desk) -> None:
    """A connection with an unknown key is open and receives nothing."""
    follower = FakeFollower("unknown")
    desk.exchange.streams.open(follower)

    await change(desk)
    desk.exchange.streams.tick()

    assert desk.exchange.streams.open_connections == 1
    assert follower.take() == []


async def test_nothing_is_replayed(desk: Desk) -> None:
    """Events from a time without a connection are lost, even if the exchange computes them later."""
    sale = {"side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "60100"}
    await desk("POST", "um/order", symbol="BTCUSDT", **sale)
    key = await key_of(desk)
    desk.exchange.market.set_price("BTCUSDT", Decimal(60200), desk.clock.now)
    desk.clock.now += 10

    follower = FakeFollower(key)
    desk.exchange.streams.open(follower)
    desk.exchange.streams.tick()

    assert follower.take() == []
    assert desk.orders()[-1].status == "FILLED"


async def test_a_tick_fills_what_the_market_crosses(desk: Desk) -> None:
    """A tick fills orders without a request while a connection follows the account."""
    follower = await following(desk)
    sale = {"side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "60100"}
    await desk("POST", "um/order", symbol="BTCUSDT", **sale)
    follower.take()
    desk.exchange.market.set_price("BTCUSDT", Decimal(60200), desk.clock.now)
    desk.clock.now += 1

    desk.exchange.streams.tick()

    assert [event["e"] for event in follower.take()] == ["ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"]


async def test_an_expired_key_is_announced_twice(desk: Desk) -> None:
    """The expiry of a key is announced twice; then the connection stays open and silent."""
    follower = await following(desk)
    desk.clock.now += 60 * MINUTE

    desk.exchange.streams.tick()
    desk.exchange.streams.tick()
    events = follower.take()
    await change(desk)

    assert events == [{"e": "listenKeyExpired", "E": int(desk.clock.now * 1000)}] * 2
    assert follower.take() == []
    assert follower.closed is None


async def test_an_expired_key_is_announced_after_it_was_replaced(desk: Desk) -> None:
    """The expiry of a key is announced even after a new key has replaced it."""
    follower = await following(desk)
    desk.clock.now += 60 * MINUTE
    await key_of(desk)

    desk.exchange.streams.tick()

    assert [event["e"] for event in follower.take()] == ["listenKeyExpired"] * 2


@pytest.mark.parametrize(("kind", "announced"), [("expire_key", 2), ("delete_key", 0)])
async def test_a_key_can_be_deleted_or_expired(desk: Desk, kind: AccountFault, announced: int) -> None:
    """The deletion of a key is not announced, but its expiry is; POST then creates another key."""
    follower = await following(desk)

    desk.exchange.streams.apply(StreamFault(kind=kind, account="desk"))
    await change(desk)

    assert [event["e"] for event in follower.take()] == ["listenKeyExpired"] * announced
    assert await key_of(desk) not in follower.keys


@pytest.mark.parametrize(("delivery", "receivers"), [("all", [1, 1, 1]), ("newest", [0, 0, 1]), ("oldest", [1, 0, 0])])
async def test_several_connections_of_a_key(desk: Desk, delivery: Delivery, receivers: list[int]) -> None:
    """All connections of a key receive an event, or only the newest or the oldest."""
    followers = [await following(desk) for _ in range(3)]
    desk.exchange.streams.delivery = delivery

    await change(desk)

    assert [len(follower.take()) for follower in followers] == receivers


async def test_a_closed_connection_receives_nothing(desk: Desk) -> None:
    """A closed connection receives nothing, while another connection still receives events."""
    gone, stays = await following(desk), await following(desk)

    desk.exchange.streams.close(gone)
    desk.exchange.streams.close(gone)
    await change(desk)

    assert (gone.take(), len(stays.take())) == ([], 1)


@pytest.mark.parametrize(("connections", "hit"), [("all", [1, 1]), ("newest", [0, 1]), ("oldest", [1, 0])])
async def test_a_fault_selects_connections(desk: Desk, connections: Delivery, hit: list[int]) -> None:
    """A fault selects connections by age and product."""
    followers = [await following(desk) for _ in range(2)]
    pro = await following(desk, product="pro")

    desk.exchange.streams.apply(StreamFault(kind="break", connections=connections))

    assert [len(follower.faults) for follower in (*followers, pro)] == [*hit, 0]


async def test_a_fault_selects_an_account(caller: Caller) -> None:
    """A fault of one account does not apply to connections of other accounts."""
    followers: list[FakeFollower] = []
    for account in caller.exchange.accounts:
        response = await caller.send("/papi/v1/listenKey", method="POST", api_key=account.api_key)
        followers.append(FakeFollower(response.json()["listenKey"]))
        caller.exchange.streams.open(followers[-1])

    caller.exchange.streams.apply(StreamFault(kind="silent", account="account-02"))

    assert [len(follower.faults) for follower in followers] == [0, 1]
    with pytest.raises(ValueError, match="account-09"):
        caller.exchange.streams.apply(StreamFault(kind="silent", account="account-09"))


async def test_a_fault_for_all_accounts_hits_each_connection_once(desk: Desk) -> None:
    """A fault for all accounts applies once to each connection, even with several keys or an unknown key."""
    first = await following(desk)
    await desk("DELETE", "listenKey")
    both = FakeFollower(*first.keys, await key_of(desk))
    unknown = FakeFollower("unknown")
    for follower in (both, unknown):
        desk.exchange.streams.open(follower)

    desk.exchange.streams.apply(StreamFault(kind="break"))

    assert [len(follower.faults) for follower in (first, both, unknown)] == [1, 1, 1]


@pytest.mark.parametrize("wrong", [{"times": 0}, {"seconds": -1}])
def test_an_invalid_fault_is_refused(wrong: dict[str, Any]) -> None:
    """An invalid fault is refused with the name of the field."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StreamFault(kind="garbage", **wrong)


async def test_a_connection_ends_after_a_day(desk: Desk) -> None:
    """A connection ends after a day with a close frame; until then, the server checks its pings."""
    follower = await following(desk)

    for _ in range(24 * 2 - 1):
        desk.clock.now += 30 * MINUTE
        await key_of(desk)
    desk.exchange.streams.tick()
    before = follower.closed, follower.checks
    desk.clock.now += 30 * MINUTE
    desk.exchange.streams.tick()

    assert before == (None, 1)
    assert follower.closed == (1001, "")


async def test_the_intervals_can_be_set(clock: FakeClock, calling: Callable[[Exchange], Caller]) -> None:
    """The lifetimes of keys and connections can be set."""
    exchange = Exchange(accounts=1, clock=clock, streams=StreamRules(listen_key=10, connection=20))
    caller = calling(exchange)
    response = await caller.send("/papi/v1/listenKey", method="POST", api_key=caller.key.api_key)
    follower = FakeFollower(response.json()["listenKey"])
    exchange.streams.open(follower)

    clock.now += 10
    exchange.streams.tick()
    clock.now += 10
    exchange.streams.tick()

    assert len(follower.take()) == 2
    assert follower.closed == (1001, "")


async def test_events_can_be_pushed(desk: Desk) -> None:
    """A pushed event gets the time of its push, and other text is sent unchanged."""
    follower = await following(desk)

    sent = [desk.exchange.streams.push("desk", EVENT), desk.exchange.streams.push("desk", {**EVENT, "E": 7})]

    assert sent == [1, 1]
    assert [event["E"] for event in follower.take()] == [int(desk.clock.now * 1000), 7]
    with pytest.raises(ValueError, match="nobody"):
        desk.exchange.streams.push("nobody", EVENT)


async def test_the_time_of_a_push_never_goes_back(desk: Desk) -> None:
    """The time of a push does not decrease, even if the clock does."""
    follower = await following(desk)
    desk.exchange.streams.push("desk", EVENT)
    desk.clock.now -= 10

    desk.exchange.streams.push("desk", EVENT)

    first, second = follower.take()
    assert first["E"] == second["E"]


async def test_the_state_shows_connections_and_no_key(caller: Caller) -> None:
    """The state lists connections with the accounts that they follow, without a key."""
    response = await caller.send("/papi/v1/listenKey", method="POST", api_key=caller.key.api_key)
    key = response.json()["listenKey"]
    for one in (key, "unknown"):
        caller.exchange.streams.open(FakeFollower(one))
    caller.clock.now += 5

    state = await caller.send("/sandbox/state")

    assert [(row["accounts"], row["isActive"], row["openSeconds"]) for row in state.json()["streams"]] == [
        (["account-01"], True, 5.0),
        ([], False, 5.0),
    ]
    assert key not in state.text


async def test_control_over_http(caller: Caller) -> None:
    """Faults and events are accepted as JSON over HTTP, and invalid input is refused with the reason."""
    response = await caller.send("/papi/v1/listenKey", method="POST", api_key=caller.key.api_key)
    follower = FakeFollower(response.json()["listenKey"])
    caller.exchange.streams.open(follower)
    events = "/sandbox/streams/events"

    fault = StreamFault(kind="slow", seconds=0.5)
    answers = [
        await caller.send("/sandbox/streams/faults", method="POST", content=msgspec.json.encode(fault).decode()),
        await caller.send("/sandbox/streams/faults", method="POST", content='{"kind": "explode"}'),
        await caller.send(events, "account=account-01", method="POST", content=msgspec.json.encode(EVENT).decode()),
        await caller.send(events, "account=account-09", method="POST", content="{}"),
        await caller.send(events, "account=account-01", method="POST", content="[]"),
        await caller.send(events, "account=account-01&product=pm-classic", method="POST", content="{}"),
    ]

    assert [answer.status_code for answer in answers] == [204, 422, 204, 422, 422, 422]
    assert follower.faults == [fault]
    assert [event["e"] for event in follower.take()] == ["balanceUpdate"]


async def test_a_stale_query_sees_the_account_as_it_was(desk: Desk) -> None:
    """A stale query shows an earlier state, but none from before the fault; writes and the stream are not stale."""
    follower = await following(desk)
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
    stale = Fault(method="GET", path="/papi/v1/um/positionRisk", stale=5, times=None)

    async def amount() -> Decimal:
        rows = await desk("GET", "um/positionRisk", symbol="BTCUSDT")
        return sum((Decimal(row["positionAmt"]) for row in rows), Decimal(0))

    before = await amount()
    desk.exchange.inject(stale)
    await desk("POST", "um/order", **order)
    at_once = await amount()
    desk.clock.now += 4
    await desk("POST", "um/order", **order)
    desk.clock.now += 1.5
    later = await amount()
    desk.clock.now += 4
    latest = await amount()
    await desk("POST", "um/order", **order)
    desk.exchange.clear()

    assert [one - before for one in (at_once, later, latest)] == [0, Decimal("0.01"), Decimal("0.02")]
    assert await amount() - before == Decimal("0.03")
    assert [event["e"] for event in follower.take()].count("ACCOUNT_UPDATE") == 3


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/pm/ws/abc", Route("pm", ("abc",), is_wrapped=False)),
        ("/pm-classic/ws/abc", Route("pro", ("abc",), is_wrapped=False)),
        ("/pm/ws", Route("pm", (), is_wrapped=False)),
        ("/pm/stream", Route("pm", (), is_wrapped=True)),
        ("/pm-classic/stream", Route("pro", (), is_wrapped=True)),
        ("/pm/stream?streams=abc/def", Route("pm", ("abc", "def"), is_wrapped=True)),
        ("/pm/stream/abc", None),
        ("/pm/ws/pm/ws/abc", None),
        ("/ws/abc", None),
        ("/pm", None),
        ("/", None),
    ],
)
def test_routes(path: str, route: Route | None) -> None:
    """The path of a connection determines the product, the keys, and whether events are wrapped."""
    assert route_of(path) == route


def passed(events: EventFilter, *kinds: str) -> list[str]:
    """Return the texts that are sent for events of these types, in order."""
    sent = [
        message for number, kind in enumerate(kinds) for message in events.pass_on(kind, f"{kind}{number}".encode())
    ]
    return [message.decode() for message in sent]


def test_a_filter_duplicates() -> None:
    """The filter sends the next events twice."""
    events = EventFilter()
    events.inject("duplicate", 2)

    assert passed(events, "a", "b", "a") == ["a0", "a0", "b1", "b1", "a2"]


def test_a_filter_reorders_only_events_of_different_types() -> None:
    """Events of one type stay in their order."""
    events = EventFilter()
    events.inject("reorder", 2)

    assert passed(events, "a", "a", "b", "a") == ["a0", "b2", "a1", "a3"]
    assert not events.is_holding


def test_a_filter_releases_the_event_that_it_holds() -> None:
    """The filter releases a held event even if no event of another type follows."""
    events = EventFilter()
    events.inject("reorder", 1)

    assert passed(events, "a") == []
    assert events.is_holding
    assert events.release() == [b"a0"]
    assert events.release() == []


def test_a_filter_cuts_events() -> None:
    """The filter cuts the next event so that it is not JSON."""
    events = EventFilter()
    events.inject("garbage", 1)

    first, second = (events.pass_on("a", b'{"e":"a"}')[0] for _ in range(2))

    assert (first, second) == (b'{"e"', b'{"e":"a"}')
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(first)


def test_a_silent_filter_drops_events() -> None:
    """Events that arrive during silence are dropped, not kept for later."""
    events = EventFilter()
    events.is_silent = True
    lost = passed(events, "a", "b")
    events.is_silent = False

    assert (lost, passed(events, "c")) == ([], ["c0"])


def test_every_fault_is_documented() -> None:
    """The docstring of `StreamFault` names each kind."""
    kinds = (*get_args(ConnectionFault), *get_args(AccountFault))
    assert [kind for kind in kinds if f"* ``{kind}``: " not in (StreamFault.__doc__ or "")] == []
