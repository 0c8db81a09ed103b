"""The script in Redis or Valkey does the same as the store in memory, message by message."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from itertools import count
from typing import Any, cast

import msgspec
import pytest
import redis
from hypothesis import example, given, settings
from hypothesis import strategies as st

from binance_pm.budget.ledger import Ledger
from binance_pm.budget.shared.messages import CallRefused, OriginReport, PoolReport, StoreMessage, StoreReply
from binance_pm.budget.shared.redis import SOURCES, figures, script
from tests.simulation.histories import History
from tests.support.memory_store import MemoryStore

keys = count()


class Script:
    """The script on the server, with times from the test."""

    def __init__(self, url: str) -> None:
        self._client: Any = redis.Redis(unix_socket_path=url.removeprefix("unix://"), protocol=2)
        self._run: Any = self._client.register_script(script())

    def exchange(self, key: str, message: StoreMessage, now: float) -> StoreReply:
        """Exchange one message."""
        answer = self._run([key], [msgspec.msgpack.encode(message), repr(now)])
        return msgspec.msgpack.decode(answer, type=StoreReply)

    def states(self, key: str) -> dict[str, Any]:
        """Return the stored state."""
        kept: dict[bytes, bytes] = self._client.hgetall(key)
        return {field.decode(): msgspec.msgpack.decode(state, strict=False) for field, state in kept.items()}

    def forget(self, key: str) -> None:
        """Delete the stored state."""
        self._client.delete(key)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


@pytest.fixture(scope="module")
def on_server(valkey: str) -> Generator[Script, None, None]:
    """The script on the test server."""
    opened = Script(valkey)
    yield opened
    opened.close()


def assert_alike(one: object, other: object, at: str = "") -> None:
    """Assert equality except for the last digits of fractions."""
    if one == other:
        return
    if isinstance(one, float) and isinstance(other, (float, int)):
        assert math.isclose(one, other, rel_tol=1e-12), at
    elif isinstance(one, dict) and isinstance(other, dict):
        named = cast("dict[object, object]", other)
        assert one.keys() == named.keys(), at
        for key, value in cast("dict[object, object]", one).items():
            assert_alike(value, named[key], f"{at}.{key}")
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        pairs = zip(cast("list[object]", one), cast("list[object]", other), strict=True)
        for place, pair in enumerate(pairs):
            assert_alike(*pair, f"{at}[{place}]")
    else:
        raise AssertionError(f"{at}: {one} is not {other}")


def table(stored: Mapping[int, Any] | Sequence[Any]) -> Mapping[int, Any]:
    """Convert a table: Lua has one kind, and an empty one is stored as an array."""
    return stored if isinstance(stored, Mapping) else dict(enumerate(stored, 1))


def kept(thing: object, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of that name, of a ledger or of its external usage."""
    return {name: getattr(thing, name, None) if hasattr(thing, name) else getattr(thing, f"_{name}") for name in names}


def assert_same_ledger(stored: dict[str, Any], ledger: Ledger) -> None:
    """Assert that the script keeps the same state of a pool as the ledger."""
    external, pending, last = stored.pop("external"), stored.pop("pending"), stored.pop("last", None)
    assert_alike(external, kept(ledger.external, external), "external")
    for counts in ("header", "header_at", "own"):
        stored[counts] = table(stored[counts])
    bucket = {name: stored.pop(name) for name in ("tokens", "filled_at")}
    assert_alike(bucket, kept(ledger._bucket, bucket), "bucket")
    penalty = stored.pop("penalty"), stored.pop("penalised")
    assert_alike(penalty, (ledger._penalty.weight, ledger._penalty.minute), "penalty")
    assert_alike(stored, kept(ledger, stored), "ledger")
    assert (last and (last["takes"], last["minute"], last["used"])) == ledger._last
    calls = sorted((c["first"], c["stop"], c["batch"], c["known"], c["weight"], c["reported"]) for c in pending)
    batches = ledger._pending.batches.items()
    assert_alike(calls, sorted((m.start, m.stop, number, *it) for (m, number), it in batches), "pending")


def assert_same_state(stored: dict[str, Any], memory: MemoryStore) -> None:
    """Assert that every host and pool is there, and nothing else."""
    assert stored.pop("swept", -math.inf) == memory._swept
    expected = {f"host:{name}" for name in memory.origins} | {f"pool:{name}" for name in memory.pools}
    assert stored.keys() == expected
    for name, host in memory.origins.items():
        assert_alike(stored[f"host:{name}"], msgspec.structs.asdict(host), name)
    for name, pool in memory.pools.items():
        state = stored[f"pool:{name}"]
        assert_same_ledger(state["ledger"], pool.ledger)
        holders = [
            {"peer": peer, "weight": h.weight, "ends": h.until, "number": h.number} for peer, h in pool.holders.items()
        ]
        assert_alike(state["holders"], holders, "holders")
        waiting = [
            {"peer": peer, "priority": w.priority, "weight": w.weight, "since": w.since, "ends": w.until}
            for peer, w in pool.waiting.items()
        ]
        assert_alike(state["waiting"], waiting, "waiting")


def test_refusals_in_every_minute_cost_the_same(on_server: Script) -> None:
    """The doubling penalty reaches the same maximum, which no other history reaches."""
    memory = MemoryStore()
    for minute in range(10):
        now = 60.0 * minute
        hosts = (OriginReport("papi", now, now, is_synchronised=True),)
        pools = (PoolReport("papi", 0, 400, 0, (CallRefused(minute, minute + 1, now, full=False),)),)
        message = StoreMessage("a", minute, 60.0, 5.0, hosts, pools)

        assert on_server.exchange("{refused}", message, now) == memory.exchange(message, now)
    assert memory.pools["papi"].ledger._penalty.weight == 200


def test_a_message_may_be_empty(on_server: Script) -> None:
    """The reply to an empty message contains the time."""
    assert on_server.exchange("{nothing}", StoreMessage("a", 0, 60.0, 5.0, (), ()), 7.5) == StoreReply(7.5, (), ())


def crowd(number: int, first: int, last: int) -> StoreMessage:
    """Return a message about so many accounts."""
    hosts = (OriginReport("papi", 1.8e9, 1.8e9, is_synchronised=True),)
    pools = tuple(PoolReport(f"account {account}", 0, 1200, 0) for account in range(first, last))
    return StoreMessage("a", number, 60.0, 5.0, hosts, pools)


def test_a_message_may_report_thousands_of_pools(on_server: Script) -> None:
    """More than Lua accepts as arguments at once."""
    memory = MemoryStore()

    assert on_server.exchange("{crowd}", crowd(1, 0, 9000), 7.5) == memory.exchange(crowd(1, 0, 9000), 7.5)
    assert_same_state(on_server.states("{crowd}"), memory)
    on_server.forget("{crowd}")


def test_unused_pools_are_looked_for_from_time_to_time(on_server: Script) -> None:
    """Not with each new pool, as there may be thousands."""
    memory = MemoryStore()
    for now in (0.0, 100.0, 650.0, 750.0, 1250.0, 1300.0):
        message = crowd(int(now), int(now), int(now) + 1)

        assert on_server.exchange("{swept}", message, now) == memory.exchange(message, now)
        assert_same_state(on_server.states("{swept}"), memory)
    assert set(memory.pools) == {f"account {now}" for now in (650, 750, 1250, 1300)}
    on_server.forget("{swept}")


def test_a_constant_has_one_source() -> None:
    """No two modules use one name for different constants of the script."""
    known = {item for module in SOURCES for item in figures(module).items()}

    assert len(known) == len({name for name, _ in known})


@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 60))
@example(seed=1329121, length=39)
@settings(max_examples=200, deadline=None)
def test_the_script_does_the_same_as_the_store_in_memory(on_server: Script, seed: int, length: int) -> None:
    """The same messages get the same replies and leave the same state."""
    key, memory, history = f"{{{next(keys)}}}", MemoryStore(), History(seed)

    for _ in range(length):
        message = history.next()
        reply = on_server.exchange(key, message, history.now)

        assert_alike(msgspec.to_builtins(reply), msgspec.to_builtins(memory.exchange(message, history.now)))
        assert_same_state(on_server.states(key), memory)
        history.hear(message, reply)
    on_server.forget(key)
