"""Weight reserved for one call, and the errors of a call that gets none."""

from __future__ import annotations

import math
from itertools import count
from typing import Final, Protocol, Self

from binance_pm.budget.charges import ChargeSet
from binance_pm.errors import BudgetExceeded, CallInfo, GateClosed
from binance_pm.limits import Feedback, Priority
from binance_pm.wakeup import Wake

_tickets: Final = count()


class _Owner(Protocol):
    """The budget, as a reservation needs it."""

    def try_acquire(self, reservation: Reservation) -> bool: ...
    async def acquire(self, reservation: Reservation) -> None: ...
    def release(self, reservation: Reservation) -> None: ...
    def mark_sent(self, reservation: Reservation) -> float: ...
    def settle(self, reservation: Reservation, sent: float, feedback: Feedback) -> None: ...
    def settle_unknown(self, reservation: Reservation, sent: float) -> None: ...


class Reservation:
    """Weight reserved for one call: settled by its response, settled as unknown without one, or released unsent.

    Entering it waits for the weight; leaving it settles what was not settled.
    """

    def __init__(
        self,
        owner: _Owner,
        charge_set: ChargeSet,
        call: CallInfo,
        priority: Priority,
        *,
        asked_at: float,
        max_wait: float,
        is_requeued: bool,
    ) -> None:
        self.charges: Final = charge_set.charges
        self.pools: Final = charge_set.pools
        self.gate: Final = charge_set.gate
        self.clock: Final = charge_set.clock
        self.call: Final = call
        self.priority: Final = priority
        self.is_requeued: Final = is_requeued
        self.asked_at: Final = asked_at
        """Monotonic time at which the weight was asked for."""
        self.max_wait: Final = max_wait
        """Seconds to wait at most."""
        self.deadline: Final = asked_at + max_wait
        """Monotonic time at which waiting ends."""
        self.ticket: Final = next(_tickets)
        """The place in the order of arrival."""
        self.looks_at: float = self.deadline
        """Monotonic time at which the waiting call looks again whether it fits."""
        self.admitted_at: float | None = None
        """Monotonic time at which the weight was acquired."""
        self.is_settled: bool = False
        """Whether the weight was released, or is known to be counted."""
        self.sent_at: float | None = None
        """Monotonic time before the first byte left."""
        self.wake: Wake = is_awake
        self._owner: Final = owner

    @property
    def origin(self) -> str:
        """The origin whose pools are drawn on."""
        return self.pools[0].origin

    @property
    def weight(self) -> int:
        """The weight in the first of the pools."""
        return self.charges[0].weight

    @property
    def key_id(self) -> str:
        """The account that takes turns, by its key id, whatever label its clients give it."""
        return self.call.key_id or self.call.label

    @property
    def is_admitted(self) -> bool:
        """Whether the weight was acquired."""
        return self.admitted_at is not None

    @property
    def is_sent(self) -> bool:
        """Whether the request may have left this machine."""
        return self.sent_at is not None

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def try_acquire(self) -> bool:
        """Acquire the weight if that needs no waiting; return whether it was acquired."""
        return self._owner.try_acquire(self)

    async def acquire(self) -> None:
        """Acquire the weight as soon as the budget admits the call.

        Raises:
            BudgetExceeded: as soon as it is known that the wait would be too long.
            GateClosed: the gate of the origin stays closed for longer.
        """
        if not (self.is_admitted or self.try_acquire()):
            await self._owner.acquire(self)

    def release(self) -> None:
        """Free the weight of a call that was never sent; settle one that was sent and got no response."""
        if self.is_settled:
            return
        if self.sent_at is None:
            self._owner.release(self)
        else:
            self._owner.settle_unknown(self, self.sent_at)

    def mark_sent(self) -> None:
        """Record that the first byte is about to leave.

        Raises:
            GateClosed: the gate has closed since the weight was acquired. Nothing may be sent.
            BudgetExceeded: the weight was given up in the meantime. Nothing may be sent.
        """
        self.sent_at = self._owner.mark_sent(self)

    def mark_unsent(self) -> None:
        """Undo `mark_sent`: the transport knows that no byte left."""
        self.sent_at = None

    def settle(self, feedback: Feedback) -> None:
        """Settle the weight of a request that got a response, whatever its status."""
        assert self.sent_at is not None, "a response to a request that was never sent"  # noqa: S101 - for the type checker
        self._owner.settle(self, self.sent_at, feedback)


def is_awake() -> bool:
    """Stand in for the wake function of a reservation whose task does not sleep."""
    return True


def refusal(
    reservation: Reservation, wait: float, now: float, *, never: bool, advice: str
) -> BudgetExceeded | GateClosed:
    """Return the error of a call whose weight may be free after `wait` seconds, or never."""
    left = reservation.deadline - now
    if never:
        what = "the weight is more than the exchange allows in a minute"
    elif reservation.gate.wait(now) > max(left, 0.0):
        return gate_closed(reservation, now, advice=advice)
    elif left <= 0 < reservation.max_wait:
        what = f"no weight within max_wait ({reservation.max_wait:g} s)"
    elif left < wait < math.inf:
        what = f"the weight is free in {wait:.1f} s at the earliest, later than max_wait allows"
    else:
        what = "timed out after max_wait behind other queued calls"
    return BudgetExceeded(reservation.call, what, wait=math.inf if never else wait)


def gate_closed(reservation: Reservation, now: float, *, advice: str) -> GateClosed:
    """Return the error of a call that may not be sent because the gate of its origin is closed."""
    gate = reservation.gate
    until = reservation.clock.milliseconds() / 1000 + gate.wait(now)
    banned = gate.is_banned(now)
    what = f"the gate of {reservation.origin} is closed for another {gate.wait(now):.1f} s" + " by a ban" * banned
    if banned and advice:
        what += f". {advice.removesuffix('.')}"
    return GateClosed(reservation.call, what, until=until, banned=banned)
