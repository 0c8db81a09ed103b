"""What a handler gets, and the register of all handlers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from binance_pm.sandbox import facts, order_errors
from binance_pm.sandbox.file_server import FileServer
from binance_pm.sandbox.messages import Refusal

if TYPE_CHECKING:
    from binance_pm.sandbox.contracts import Contract, Product
    from binance_pm.sandbox.facts import Error
    from binance_pm.sandbox.market import Market
    from binance_pm.sandbox.state import AccountState
    from binance_pm.sandbox.valuation import Statement

Fields: TypeAlias = "dict[str, Any]"
"""One JSON object of a response."""


class Context:
    """The data that a handler may use.

    Attributes:
        parameters: as decoded, already checked against the facts.
        now: seconds since the epoch by the exchange's clock.
        market: prices.
        hidden_until: queries do not find an order that this request places before this time.
        downloads: where links of files lead.
    """

    def __init__(
        self,
        parameters: Mapping[str, str],
        now: float,
        market: Market,
        state: AccountState | None = None,
        *,
        hidden_for: float = 0.0,
        downloads: FileServer | None = None,
    ) -> None:
        self.parameters = parameters
        self.now = now
        self.market = market
        self.hidden_until: float = now + hidden_for
        self.downloads: FileServer = downloads or FileServer()
        self._state = state

    @property
    def state(self) -> AccountState:
        """The account of the key that was sent."""
        assert self._state is not None, "an endpoint without a key has no account"  # noqa: S101 - for the type checker
        return self._state

    @property
    def time(self) -> int:
        """Milliseconds since the epoch by the exchange's clock."""
        return int(self.now * 1000)

    @cached_property
    def statement(self) -> Statement:
        """The account valued now."""
        return self.state.statement(self.now)

    def text(self, name: str) -> str | None:
        """Return a parameter as sent."""
        return self.parameters.get(name)

    def number(self, name: str) -> int | None:
        """Return a whole number."""
        value = self.parameters.get(name)
        return None if value is None else int(value)

    def decimal(self, name: str) -> Decimal | None:
        """Return an amount."""
        value = self.parameters.get(name)
        return None if value is None else Decimal(value)

    def flag(self, name: str) -> bool:
        """Return a switch that is off if it was not sent."""
        return self.parameters.get(name) == "true"

    def contract(self, product: Product) -> Contract:
        """Return the contract of the parameter ``symbol``.

        Raises:
            Refusal: -1121, the market does not have it.
        """
        contract = self.market.contract(product, self.parameters["symbol"])
        if contract is None:
            raise Refusal(facts.BAD_SYMBOL)
        return contract

    def symbol(self, product: Product) -> str | None:
        """Return the parameter ``symbol``, if it was sent.

        Raises:
            Refusal: -1121, the market does not have it.
        """
        return self.contract(product).symbol if "symbol" in self.parameters else None

    def limit(self, default: int, most: int, name: str = "limit") -> int:
        """Return how many rows are wanted."""
        return min(self.number(name) or default, most)

    def is_forward(self, first: int | None = None) -> bool:
        """Return whether a list with too many rows shows the first of them: from an id on, or from a time on."""
        return first is not None or ("startTime" in self.parameters and not self.state.shows_newest)

    def window(
        self, longest: int, *, default: int | None = None, too_long: Error = order_errors.INVALID_INTERVAL
    ) -> tuple[int, int]:
        """Return the first and the last millisecond that are wanted.

        Args:
            longest: milliseconds that start and end may lie apart.
            default: milliseconds before the end, if no start was sent.
            too_long: the error for a window that is too long.

        Raises:
            Refusal: -1023, the end is before the start; ``too_long``, they lie too far apart.
        """
        start, end = self.number("startTime"), self.number("endTime")
        if start is not None and end is not None:
            if start > end:
                raise Refusal(facts.INVALID_TIME_RANGE)
            if end - start > longest:
                raise Refusal(too_long)
        if end is None:
            end = self.time if start is None else min(self.time, start + longest)
        if start is None:
            start = end - (longest if default is None else default)
        return start, end


Handler: TypeAlias = Callable[[Context], "Fields | list[Fields]"]
F = TypeVar("F", bound=Handler)

HANDLERS: dict[str, Handler] = {}
"""The response to a request that breaks no rule, by the endpoint's name in ``facts.json``."""

DAY = 24 * 3600 * 1000
"""Milliseconds of a day."""


def handles(*names: str) -> Callable[[F], F]:
    """Register a function as the handler of endpoints."""

    def register(handler: F) -> F:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def handles_futures(
    name: str, products: tuple[Product, ...] = ("UM", "CM")
) -> Callable[[Callable[[Context, Product], Fields | list[Fields]]], object]:
    """Register a function as the handler of an endpoint that USD-M and COIN-M share."""

    def register(handler: Callable[[Context, Product], Fields | list[Fields]]) -> object:
        for product in products:
            HANDLERS[f"{product.lower()}.{name}"] = _of(handler, product)
        return handler

    return register


def _of(handler: Callable[[Context, Product], Fields | list[Fields]], product: Product) -> Handler:
    return lambda context: handler(context, product)
