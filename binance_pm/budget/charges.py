"""The weight that a call needs of each pool, and the ledger of a pool."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from binance_pm.budget.gate import Gate
from binance_pm.budget.waiting import WeightReason
from binance_pm.clock import ServerClock
from binance_pm.limits import Pool, Priority

Bounds = tuple[float, float]
"""The earliest and the latest time that the exchange's clock can show."""


class Wait(NamedTuple):
    """How long a call has to wait for a pool."""

    seconds: float
    """0 if the call fits now; infinite if only a response can make room."""
    holds_up: bool = False
    """Whether no call behind it may use the pool meanwhile; in a full minute, lighter calls may."""


NO_WAIT: Final = Wait(0.0)


class PoolLedger(Protocol):
    """An upper bound of what one pool has counted: of this process alone, or of a shared budget.

    A ledger reads no clock: `now` is monotonic, `bounds` are of the exchange's clock.
    """

    @property
    def limit(self) -> int:
        """What the exchange allows in one minute."""
        ...

    @property
    def misplaced(self) -> int:
        """Weight that shows that the exchange's window is not the clock minute; 0 if nothing does."""
        ...

    @property
    def in_flight(self) -> int:
        """Weight that is reserved or sent, and not settled."""
        ...

    @property
    def external_share(self) -> int:
        """Weight of the latest minute that other programs on the IP surely used."""
        ...

    @property
    def trusted_until(self) -> float:
        """Monotonic time until which acquired weight is surely still reserved for this process."""
        ...

    def minutes(self, bounds: Bounds) -> range:
        """Return the minutes in which the exchange's clock can be."""
        ...

    def most_used(self, bounds: Bounds) -> int:
        """Return the most that the exchange can have counted in this minute."""
        ...

    def cap(self, now: float) -> float:
        """Return the part of the limit that may be used in a minute."""
        ...

    def reserve(self, bounds: Bounds) -> float:
        """Return the weight that is kept for orders and rescues now."""
        ...

    def for_polls(self, now: float) -> float:
        """Return the weight a minute that polls of this process may use."""
        ...

    def fits_ever(self, weight: int) -> bool:
        """Return whether the weight fits into an empty minute."""
        ...

    def known_wait(self, weight: int, priority: Priority, now: float) -> Wait:
        """Return the wait that a store has already reported for such a call, without asking for its weight."""
        ...

    def wait(self, weight: int, priority: Priority, now: float, bounds: Bounds) -> Wait:
        """Return how long a call of the weight has to wait."""
        ...

    def why(self, weight: int, priority: Priority, now: float, bounds: Bounds) -> WeightReason:
        """Return the reason for which `wait` has no room for a call."""
        ...

    def acquire(self, weight: int, priority: Priority, now: float) -> None:
        """Reserve weight for a call that fits."""
        ...

    def release(self, weight: int, priority: Priority) -> None:
        """Release the weight of a call that was never sent."""
        ...

    def settle(
        self,
        weight: int,
        used: int | None,
        minutes: range,
        *,
        sent: float,
        now: float,
        is_probe: bool = True,
        endpoint: str = "",
    ) -> int | None:
        """Settle a call that got a response.

        Args:
            weight: what was acquired for the call.
            used: the count in the header of the response.
            minutes: the minutes in which the call can have been counted.
            sent: monotonic time before the first byte left.
            now: monotonic time after the response arrived.
            is_probe: whether a response without the header shows that the exchange sends none; a gateway's does not.
            endpoint: the endpoint called; only a leased pool needs its name.

        Returns:
            By how much this call raised the count, if no other of our calls was in flight since the count before.
        """
        ...

    def settle_unknown(self, weight: int, minutes: range, *, known: float) -> None:
        """Settle a call that was sent and got no response.

        Args:
            weight: what was acquired for the call.
            minutes: the minutes in which the call can be counted.
            known: monotonic time after which the call can no longer arrive.
        """
        ...

    def observe_refusal(self, minutes: range, now: float, *, full: bool) -> None:
        """Learn that the exchange refused a call of one of the minutes: the bound was wrong.

        Args:
            minutes: those in which the call can have arrived.
            now: monotonic time.
            full: whether surely the limit of this pool was hit.
        """
        ...

    def raise_weight_factor(self, times: float) -> None:
        """Count calls in flight as that many times their weight."""
        ...

    def is_idle(self, now: float) -> bool:
        """Return whether all that the ledger knows has passed."""
        ...


class PoolCharge(NamedTuple):
    """The weight that a call needs of one pool."""

    pool: Pool
    ledger: PoolLedger
    weight: int


class ChargeSet(NamedTuple):
    """What calls with the same charges have in common."""

    charges: tuple[PoolCharge, ...]
    pools: tuple[Pool, ...]
    gate: Gate
    clock: ServerClock
