"""Local checks: rules of the exchange that a call can break before it is sent.

Each function returns a check for the facts of a declaration. A check raises ValueError with a text that names the
parameters and the rule. What only the exchange knows, such as prices and filters, is not checked here. What follows
from the type of a parameter alone, such as an amount above 0, is checked by `binance_pm.argument_types`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple, cast

from binance_pm.client_ids import RESERVED_IDS
from binance_pm.endpoint import Check
from binance_pm.wire import Amount, Time, milliseconds

Arguments = Mapping[str, object]
"""The arguments of a call by the names of the parameters, without those that are None."""

# The exchange's limit, which is one second below the largest time of the year 9999.
_LATEST = 253_402_300_799_000
_FIRST_PLAUSIBLE = 1_577_836_800_000


class Shape(NamedTuple):
    """What an order of one type has."""

    needs: tuple[str, ...]
    """Parameters that must be given. Of ``"price|price_match"``, exactly one must be given."""
    may_have: tuple[str, ...] = ()
    """Parameters that may be given, and that other types do not have."""

    @property
    def names(self) -> set[str]:
        """All parameters of the type."""
        return {name for needed in self.needs for name in needed.split("|")} | set(self.may_have)


def all_of(*checks: Check) -> Check:
    """Refuse what one of the checks refuses."""

    def check(arguments: Arguments) -> None:
        for one in checks:
            one(arguments)

    return check


def at_least_one(*names: str) -> Check:
    """Refuse a call without any of the parameters."""

    def check(arguments: Arguments) -> None:
        if arguments.keys().isdisjoint(names):
            raise ValueError(f"{_either(names)} is required")

    return check


def at_most_one(*names: str) -> Check:
    """Refuse a call with two of the parameters."""

    def check(arguments: Arguments) -> None:
        given = [name for name in names if name in arguments]
        if len(given) > 1:
            raise ValueError(f"{_both(given)} exclude each other")

    return check


def exactly_one(*names: str) -> Check:
    """Refuse a call without any of the parameters, or with two of them."""
    return all_of(at_least_one(*names), at_most_one(*names))


def all_or_none(*names: str) -> Check:
    """Refuse a call with some of the parameters only."""

    def check(arguments: Arguments) -> None:
        missing = [name for name in names if name not in arguments]
        if missing and len(missing) < len(names):
            given = [name for name in names if name in arguments]
            raise ValueError(f"{_both(given)} cannot be sent without {_both(missing)}")

    return check


def excludes(name: str, *others: str) -> Check:
    """Refuse a call with the parameter and one of the others."""
    return all_of(*(at_most_one(name, other) for other in others))


def between(name: str, lowest: Amount, highest: Amount | None = None) -> Check:
    """Refuse a value outside of the range; both ends are allowed."""
    bounds = f"at least {lowest}" if highest is None else f"from {lowest} to {highest}"

    def check(arguments: Arguments) -> None:
        if (value := _number(arguments, name)) is None:
            return
        if value < Decimal(lowest) or (highest is not None and value > Decimal(highest)):
            raise ValueError(f"{name} must be {bounds}")

    return check


def whole(name: str) -> Check:
    """Refuse an amount that is not a whole number."""

    def check(arguments: Arguments) -> None:
        value = _number(arguments, name)
        if value is not None and value != value.to_integral_value():
            raise ValueError(f"{name} must be a whole number")

    return check


def client_id(name: str, *, longest: int = 32, characters: str = ".A-Z:/a-z0-9_-") -> Check:
    """Refuse an id for a new order that is too long, has other characters, or is reserved by the exchange.

    Args:
        name: the parameter.
        longest: the most characters.
        characters: as in a character class of a regular expression.
    """
    pattern = f"[{characters}]{{1,{longest}}}"

    def check(arguments: Arguments) -> None:
        text = arguments.get(name)
        if not isinstance(text, str):
            return
        if not re.fullmatch(pattern, text):
            raise ValueError(f"{name} must match {pattern}")
        if text.startswith(RESERVED_IDS):
            raise ValueError(f"{name} cannot begin with {_either(RESERVED_IDS)}: the exchange uses these ids itself")

    return check


def time_range(widest: timedelta | None = None, *, start: str = "start_time", end: str = "end_time") -> Check:
    """Refuse a range of time that ends before it begins, or that is wider than one response covers."""
    days = 0 if widest is None else widest / timedelta(days=1)
    length = f"{days:.0f} days" if days > 1 else "24 hours"
    bound = f"at most {length}" if days % 1 == 0 else f"less than {length}"

    def check(arguments: Arguments) -> None:
        if start not in arguments or end not in arguments:
            return
        apart = _time(arguments, end) - _time(arguments, start)
        if apart < 0:
            raise ValueError(f"{start} is after {end}")
        if widest is not None and apart > widest / timedelta(milliseconds=1):
            raise ValueError(f"{start} and {end} must be {bound} apart")

    return check


def good_till_date(arguments: Arguments) -> None:
    """Refuse ``good_till_date`` without time in force GTD, GTD without it, and a date that is not in milliseconds."""
    is_gtd = arguments.get("time_in_force") == "GTD"
    if is_gtd != ("good_till_date" in arguments):
        raise ValueError("time_in_force GTD and good_till_date need each other")
    if is_gtd and not _FIRST_PLAUSIBLE <= _time(arguments, "good_till_date") < _LATEST:
        raise ValueError("good_till_date must be in milliseconds since the epoch, before the end of the year 9999")


def reduce_only(arguments: Arguments) -> None:
    """Refuse ``reduce_only`` in hedge mode: there, side and position side say whether an order reduces."""
    if "reduce_only" in arguments and arguments.get("position_side") in {"LONG", "SHORT"}:
        raise ValueError("reduce_only cannot be sent with position_side LONG or SHORT")


def shapes(by: str, table: Mapping[str, Shape], *, source: str = "") -> Check:
    """Refuse an order that lacks a parameter of its type, or has one that only other types have.

    Args:
        by: the parameter with the type, such as ``type``.
        table: the parameters of each type. Parameters that are in no row are not examined.
        source: where the rules come from, if that is not the page of the endpoint; added to the error text.
    """
    governed = set[str]().union(*(shape.names for shape in table.values()))
    forbidden = {kind: governed - shape.names for kind, shape in table.items()}
    needs = {kind: [needed.split("|") for needed in shape.needs] for kind, shape in table.items()}
    suffix = f" ({source})" if source else ""

    def check(arguments: Arguments) -> None:
        kind = cast("str", arguments[by])
        if kind not in table:
            return
        # A flag that is False has no effect.
        if extra := sorted(name for name in forbidden[kind] & arguments.keys() if arguments[name] is not False):
            raise ValueError(f"{_both(extra)} cannot be sent with {by} {kind}{suffix}")
        for names in needs[kind]:
            present = [name for name in names if arguments.get(name, False) is not False]
            if not present:
                raise ValueError(f"{by} {kind} needs {_either(names)}{suffix}")
            if len(present) > 1:
                raise ValueError(f"{_both(present)} exclude each other")

    return check


def _either(names: tuple[str, ...] | list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _both(names: tuple[str, ...] | list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _number(arguments: Arguments, name: str) -> Decimal | None:
    """Return an amount, whose form was checked before, or None if it was not given."""
    value = arguments.get(name)
    return None if value is None else Decimal(cast("Amount", value))


def _time(arguments: Arguments, name: str) -> int:
    return milliseconds(name, cast("Time", arguments[name]))
