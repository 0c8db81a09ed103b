"""The store of a shared budget in Redis or Valkey: what it survives, what it says, and what it never does."""

from __future__ import annotations

from itertools import count

import pytest

from binance_pm.budget.lanes import Lane
from binance_pm.budget.messages import Demand, HostReport, Message, PoolReport
from binance_pm.budget.redis import RedisStore

_numbers = count()


def asking(times: int = 1, *, held: int = 0, peer: str = "a") -> Message:
    """A message of a process that wants to send orders of the weight 1."""
    pool = PoolReport("papi", 0, 110, held, demands=(Demand(Lane.ORDERS, 1, times),))
    return Message(peer, next(_numbers), 60.0, 5.0, (HostReport("papi", 1.8e9, 1.8e9 + 0.1, is_heard=True),), (pool,))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A budget that no other test has."""
    return request.node.name


def test_processes_share_what_the_store_grants(valkey: str, name: str) -> None:
    """What one process holds is missing to the other."""
    one, other = RedisStore(valkey, name), RedisStore(valkey, name)

    one.exchange(asking())
    told = other.exchange(asking(peer="b")).pools[0]

    assert (told.granted, told.in_flight, told.holders) == ((0,), 1, 2)
    one.close()
    other.close()
