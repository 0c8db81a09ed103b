"""How the outcome of a write is found out, as a fact of an endpoint.

A write has an unknown outcome if it was sent and no readable response came. Which query shows whether it was executed
depends on the endpoint; `Client.resolve` follows what is declared here.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class WriteOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What `Client.resolve` found out about a write."""

    state: Literal["done", "not_done", "not_found", "still_unknown"]
    """``done``: the write was executed. ``not_done``: the write was not executed. ``not_found``: no query showed the
    write until well after the exchange would have refused it; this is no proof that it does not exist.
    ``still_unknown``: the queries failed, or nothing that can be read proves this kind of write."""
    reason: str
    """What was found, in one sentence."""
    result: Any = None
    """The order as a query returned it, or what the query of a setting or of open orders returned; None if nothing was
    found."""
    client_id: str | None = None
    """The client order id that was looked for."""
    looked_in: tuple[str, ...] = ()
    """The queries that responded, such as ``um.order``."""
    seconds: float = 0.0
    """How long it took."""


class ByClientId(msgspec.Struct, frozen=True, kw_only=True):
    """A placement that its client id finds."""

    queries: tuple[str, ...]
    """Queries by client id, asked in turn. Any response proves the placement."""
    parameter: str = "orig_client_order_id"
    """The parameter of these queries for the client id."""
    field: str = "client_order_id"
    """The field of a response that holds the client id."""
    lists: tuple[str, ...] = ()
    """Lists of open orders that are searched for the client id before the placement counts as not found."""
    trades: str | None = None
    """The list of trades whose orders are searched as well, because an order may have been filled."""


class ByAmendment(msgspec.Struct, frozen=True, kw_only=True):
    """A change of an order that the history of its amendments shows, or its price and quantity."""

    query: str
    """The query of the order, which takes the order's ids from the arguments of the change."""
    amendments: str
    """The query of its amendments; an amendment with the change's ``modify_id`` proves the change."""


class ByOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A cancel that the state of the order shows."""

    queries: tuple[str, ...]
    """Queries of the order, asked in turn, which take the order's ids from the arguments of the cancel."""
    parameters: tuple[tuple[str, str], ...] = ()
    """Parameters that the query calls otherwise: the cancel's name and the query's name."""
    legs: str | None = None
    """The query of one order of an order list, whose state shows what happened to the list."""


class ByOpenOrders(msgspec.Struct, frozen=True):
    """A cancel of all orders of a symbol, which leaves its list of open orders empty."""

    query: str
    """The list of open orders."""


class ByValue(msgspec.Struct, frozen=True, kw_only=True):
    """An absolute setting that a query returns."""

    query: str
    """The query, which takes the arguments that it shares with the setting."""
    field: str
    """The field of the response with its value; in a list, of the row with the same symbol."""
    parameter: str | None = None
    """The parameter of the setting; None if the call removes the value, which is None afterwards."""


class ByReading(msgspec.Struct, frozen=True):
    """A loan, transfer or repayment, which has no id of the caller: rows and balances show it, and prove nothing."""

    queries: tuple[str, ...]
    """What to read before the call is repeated."""


Resolution = ByClientId | ByAmendment | ByOrder | ByOpenOrders | ByValue | ByReading


def advice_on(resolution: Resolution | None) -> str:
    """Return what an error advises if the outcome of a write is unknown; empty if nothing is declared."""
    match resolution:
        case None:
            return ""
        case ByReading():
            return f"Read {' and '.join(resolution.queries)} before sending it again: it has no id that proves it."
        case _:
            return "`await client.resolve(error)` finds out whether it was executed."


def queries_of(resolution: Resolution) -> tuple[str, ...]:
    """Return the names of all endpoints that a resolution calls or names."""
    match resolution:
        case ByClientId():
            trades = () if resolution.trades is None else (resolution.trades,)
            return (*resolution.queries, *resolution.lists, *trades)
        case ByAmendment():
            return (resolution.query, resolution.amendments)
        case ByOrder():
            return resolution.queries if resolution.legs is None else (*resolution.queries, resolution.legs)
        case ByReading():
            return resolution.queries
        case ByOpenOrders() | ByValue():
            return (resolution.query,)
