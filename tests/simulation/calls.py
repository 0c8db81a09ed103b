"""The calls of the simulated programs, and the pools that count them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from binance_pm.budget import Charge, LimitType, Pool, pool_of
from binance_pm.transport.http import HttpResponse

Priority = Literal["rescue", "orders", "polls", "history"]
"""Priorities of a call, most urgent first."""

Send = Callable[[], Awaitable[HttpResponse | None]]
"""Carries one call to the exchange; None if no response arrived."""

HOST: Final = "https://papi.example"
PAPI: Final = pool_of("papi", LimitType.IP, origin=HOST, path="", key_id="")
"""The pool of the IP, shared by all calls but SAPI."""


class Ask(NamedTuple):
    """One call that a program makes."""

    priority: Priority
    account: str
    weight: int
    path: str = ""
    """A SAPI endpoint, which has its own pool; empty for Portfolio Margin."""


@lru_cache(maxsize=4096)
def charges_of(ask: Ask) -> tuple[Charge, ...]:
    """Return what the exchange counts for the call."""
    if ask.path:
        return (Charge(_pool(ask, LimitType.IP), ask.weight),)
    if ask.priority == "orders":
        return Charge(PAPI, ask.weight), Charge(_pool(ask, LimitType.ORDERS), 1)
    return (Charge(PAPI, ask.weight),)


def _pool(ask: Ask, kind: LimitType) -> Pool:
    return pool_of("sapi" if ask.path else "papi", kind, origin=HOST, path=ask.path, key_id=ask.account)
