"""Weight taken for one call."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from binance_pm.budget.gate import Gate
from binance_pm.budget.ledger import Ledger
from binance_pm.clock import ServerClock
from binance_pm.errors import CallInfo
from binance_pm.limits import Feedback, Pool, Priority
from binance_pm.wakeup import Wake

if TYPE_CHECKING:
    from binance_pm.budget.budget import Budget
    from binance_pm.budget.shared.leased_pool import LeasedPool

_tickets: Final = count()


class PoolCharge(NamedTuple):
    """What a call takes of one pool."""

    pool: Pool
    ledger: Ledger | LeasedPool
    weight: int


class ChargeSet(NamedTuple):
    """What calls with the same charges have in common."""

    charges: tuple[PoolCharge, ...]
    pools: tuple[Pool, ...]
    gate: Gate
    clock: ServerClock


class Reservation:
    """Weight taken for one call; it ends in exactly one of answered, lost, or cancelled before sending.

    Enter it to wait for the weight, and leave it to settle what was not.
    """

    def __init__(
        self,
        budget: Budget,
        fare: ChargeSet,
        call: CallInfo,
        priority: Priority,
        *,
        max_wait: float,
        is_returning: bool,
    ) -> None:
        self.charges: Final = fare.charges
        self.pools: Final = fare.pools
        self.gate: Final = fare.gate
        self.clock: Final = fare.clock
        self.call: Final = call
        self.priority: Final = priority
        self.is_returning: Final = is_returning
        self.asked_at: Final = budget.monotonic()
        self.max_wait: Final = max_wait
        """Seconds that it waits at most."""
        self.deadline: Final = self.asked_at + max_wait
        """Monotonic time at which it gives up waiting."""
        self.ticket: Final = next(_tickets)
        """The place in the order of arrival."""
        self.looks_at: float = self.deadline
        """Monotonic time at which it looks again whether it fits."""
        self.admitted_at: float | None = None
        """Monotonic time at which its weight was taken."""
        self.is_settled: bool = False
        """Whether its weight was given back, or is known to be counted."""
        self.sent_at: float | None = None
        """Monotonic time before its first byte left."""
        self.wake: Wake = is_awake
        self._budget: Final = budget

    @property
    def origin(self) -> str:
        """The host whose pools are drawn on."""
        return self.pools[0].origin

    @property
    def weight(self) -> int:
        """What it costs in the first of its pools."""
        return self.charges[0].weight

    @property
    def key_id(self) -> str:
        """The account that takes turns: its key id, whatever label its clients give it."""
        return self.call.key_id or self.call.label

    @property
    def is_admitted(self) -> bool:
        """Whether its weight was taken."""
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
        """Take the weight, if that needs no waiting."""
        return self._budget.try_acquire(self)

    async def acquire(self) -> None:
        """Take the weight, as soon as it may be taken.

        Raises:
            BudgetExceeded: as soon as it is known that the wait would be too long.
            GateClosed: the host's gate stays closed for longer.
        """
        if not (self.is_admitted or self.try_acquire()):
            await self._budget.acquire(self)

    def release(self) -> None:
        """Settle what was not: as lost where the request departed, as cancelled where it did not."""
        if self.is_settled:
            return
        if self.sent_at is None:
            self._budget.release(self)
        else:
            self._budget.settle_unknown(self, self.sent_at)

    def mark_sent(self) -> None:
        """Say that the first byte is about to leave.

        Raises:
            GateClosed: the gate has closed since the weight was taken. Nothing may be sent.
            BudgetExceeded: the weight was given up in the meantime. Nothing may be sent.
        """
        self.sent_at = self._budget.mark_sent(self)

    def mark_unsent(self) -> None:
        """Take `depart` back: the transport knows that no byte left."""
        self.sent_at = None

    def settle(self, feedback: Feedback) -> None:
        """Settle the weight of a request that got a response, whatever its status."""
        assert self.sent_at is not None, "a response to a request that was never sent"  # noqa: S101
        self._budget.settle(self, self.sent_at, feedback)


def is_awake() -> bool:
    """What wakes a reservation whose task has not gone to sleep yet."""
    return True
