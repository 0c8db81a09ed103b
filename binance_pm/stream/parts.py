"""The parts of a live account: what can be chosen, in which order the parts are read, and how each is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal, NamedTuple, cast, get_args

from binance_pm.endpoint import ENDPOINTS
from binance_pm.limits import LimitType

Part = Literal["um.positions", "cm.positions", "margin.balances", "um.orders", "cm.orders", "margin.orders", "risk"]
"""What is read together. The balances of futures are read with the positions."""

PartChoice = Part | Literal["um", "cm", "margin"]
"""A part, or everything of a market together with the risk figures."""

MOST_SYMBOLS: Final = 39
"""From 40 symbols on, one list of all symbols weighs less than one list per symbol."""


class PartReads(NamedTuple):
    """How a part is read."""

    tier: int
    """A part is read only when no account of the session lacks a part of a lower tier."""
    endpoints: tuple[str, ...]
    """The endpoints."""
    by_symbol: bool = False
    """Whether a call with a symbol weighs much less."""


PARTS: Final[Mapping[Part, PartReads]] = {
    "um.positions": PartReads(1, ("um_account", "um.position_risk")),
    "cm.positions": PartReads(2, ("cm_account", "cm.position_risk")),
    "margin.balances": PartReads(2, ("balance",)),
    "um.orders": PartReads(3, ("um.open_orders", "um.open_algo_orders"), by_symbol=True),
    "cm.orders": PartReads(3, ("cm.open_orders", "cm.open_conditional_orders"), by_symbol=True),
    "margin.orders": PartReads(3, ("margin.open_orders",)),
    "risk": PartReads(4, ("account",)),
}


def chosen_parts(choices: Collection[PartChoice] | None) -> tuple[Part, ...]:
    """Return the parts that a caller chose, in the order in which they are read; None for all of them.

    Raises:
        ValueError: nothing was chosen, or a name is not known.
    """
    if choices is None:
        return tuple(PARTS)
    names = names_of("parts", choices, example="um")
    if unknown := {str(name) for name in names if not isinstance(name, str) or name not in _CHOICES}:
        raise ValueError(f"parts has {', '.join(map(repr, sorted(unknown)))}: give {', '.join(_CHOICES)}")
    parts = {part for choice in choices for part in _CHOICES[choice]}
    return tuple(part for part in PARTS if part in parts)


def names_of(what: str, given: object, *, example: str) -> list[object]:
    """Return the members of an argument that is a set of names.

    Raises:
        ValueError: the argument is no collection, or is empty.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Collection) or not given:
        raise ValueError(f'{what} is not a set of names, such as {{"{example}"}}')
    return list(cast("Collection[object]", given))


def weight_of(part: Part, symbols: Collection[str] | None = None) -> int:
    """Return the weight of reading a part once.

    Args:
        part: the part.
        symbols: the symbols whose orders are read; None for all.
    """
    facts = PARTS[part]
    calls, given = 1, {}
    if facts.by_symbol and symbols is not None and reads_by_symbol(symbols):
        calls, given = len(symbols), {"symbol": "any"}
    endpoints = [ENDPOINTS[name] for name in facts.endpoints]
    return calls * sum(one.weights[LimitType.IP].of(given) for one in endpoints)


def reads_by_symbol(symbols: Collection[str] | None) -> bool:
    """Return whether orders are read by symbol."""
    return symbols is not None and len(symbols) <= MOST_SYMBOLS


_CHOICES: Final[Mapping[PartChoice, tuple[Part, ...]]] = {
    **{part: (part,) for part in cast("tuple[Part, ...]", get_args(Part))},
    "um": ("um.positions", "um.orders", "risk"),
    "cm": ("cm.positions", "cm.orders", "risk"),
    "margin": ("margin.balances", "margin.orders", "risk"),
}
