"""The origins of the exchange; bans from before the program started close the gate, too."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from binance_pm.budget.charges import Bounds
from binance_pm.budget.gate import LONGEST_BAN, Gate, closing_seconds
from binance_pm.clock import ServerClock
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.limits import Feedback

_log = logging.getLogger(__name__)

NEWS_SECONDS: Final = 1.5
"""Every call in flight brings the same refusal: only a gate that closes for so much longer is logged."""


class Origins:
    """The clock and the gate of each origin; the arguments are those of `Budget`."""

    def __init__(
        self, bans: Path | str | None, egress: str, *, monotonic: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._bans: Final = None if bans is None else _expanded(bans)
        self._egress: Final = egress
        self._monotonic: Final = monotonic
        self._wall: Final = wall
        self._clocks: Final[dict[str, ServerClock]] = {}
        self._gates: Final[dict[str, Gate]] = {}

    def clock(self, origin: str) -> ServerClock:
        """Return the clock of an origin."""
        clock = self._clocks.get(origin)
        if clock is None:
            clock = self._clocks[origin] = ServerClock(monotonic=self._monotonic, wall=self._wall)
        return clock

    def bounds(self, origin: str) -> Bounds:
        """Return the earliest and the latest time that the clock of an origin can show now."""
        return self.clock(origin).bounds()

    def has_gate(self, origin: str) -> bool:
        """Return whether the gate of an origin was asked for before."""
        return origin in self._gates

    def gate(self, origin: str) -> Gate:
        """Return the gate of an origin; the first time, a ban that the file knows closes it."""
        gate = self._gates.get(origin)
        if gate is None:
            from binance_pm.budget.bans import is_kept_in_memory, read_bans  # noqa: PLC0415 - for a cheap import

            gate = self._gates[origin] = Gate()
            bans = read_bans(self._bans) if self._bans and not is_kept_in_memory(origin) else {}
            if (left := min(bans.get(self._key(origin), 0) - self._wall(), LONGEST_BAN)) > 0:
                gate.close(self._monotonic() + left, banned=True)
                advice = self.ban_advice(origin)
                _log.warning("%s has banned this IP: nothing is sent to it for %.0f s. %s", origin, left, advice)
        return gate

    def close_gate(self, origin: str, feedback: Feedback, now: float, *, minute: float) -> float:
        """Close the gate after a refusal, and keep a ban in the file; return for how many seconds it is closed."""
        banned, clock, gate = feedback.limit == "ban", self.clock(origin), self.gate(origin)
        seconds = closing_seconds(
            feedback, bounds=clock.bounds(), minute=minute, wall=self._wall(), is_synchronised=clock.is_synchronised
        )
        if seconds > gate.wait(now) + NEWS_SECONDS:
            _log.warning("%s answered HTTP %d: nothing is sent to it for %.1f s", origin, feedback.status, seconds)
        is_news = banned and seconds > gate.ban_left(now) + NEWS_SECONDS
        gate.close(now + seconds, banned=banned)
        if is_news and self._bans is not None:
            from binance_pm.budget.bans import write_ban  # noqa: PLC0415 - as above

            write_ban(self._bans, self._key(origin), self._wall() + seconds, now=self._wall())
        return seconds

    def ban_advice(self, origin: str) -> str:
        """Return what to do about a ban that no longer applies; empty if bans do not outlive the program."""
        from binance_pm.budget.bans import is_kept_in_memory  # noqa: PLC0415 - as above

        if self._bans is None or is_kept_in_memory(origin):
            return ""
        return f"The ban is kept in {self._bans}: if this machine has another IP by now, delete it and start again."

    def _key(self, origin: str) -> str:
        return f"{origin} by {self._egress}" if self._egress else origin


def _expanded(bans: Path | str) -> Path:
    try:
        return Path(bans).expanduser()
    except RuntimeError:
        raise ConfigurationError(CallInfo("Budget"), "bans: the home directory in the path is not known") from None
