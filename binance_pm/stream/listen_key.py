"""The listen key of a stream: how it is confirmed, and up to when it was the account's active one."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

from binance_pm.errors import (
    AuthenticationError,
    ConfigurationError,
    PortfolioMarginError,
    RequestRejected,
    SessionClosed,
)
from binance_pm.signing import Secret
from binance_pm.stream.policy import Backoff, KeyProof, StreamSettings
from binance_pm.stream.shared import SessionStreams
from binance_pm.stream.source import StreamSource
from binance_pm.stream.timing import Timing

_log = logging.getLogger(__name__)

PERMANENT: Final = (AuthenticationError, ConfigurationError, RequestRejected, SessionClosed)
"""Errors that another attempt will not cure."""

ANOTHER_KEY: Final = "another listen key is active"
EXPIRED: Final = "the listen key expired"


class ActiveKey:
    """A listen key, and up to when it was the account's active one.

    Args:
        secret: the key.
        confirmed: when the POST was sent that returned the key.
        posts_prove: whether such a POST proves that the stream of the key receives events.
    """

    __slots__ = ("proof", "secret")

    def __init__(self, secret: Secret, confirmed: float, *, posts_prove: bool = True) -> None:
        self.secret: Final = secret
        self.proof: Final = KeyProof(confirmed, posts_prove=posts_prove)

    def is_same(self, secret: Secret) -> bool:
        """Return whether the other key is this one."""
        return self.secret.reveal() == secret.reveal()


class KeyKeeper:
    """The latest listen key of an account, confirmed from time to time.

    Args:
        label: names the account in logs.
        source: what the stream needs of the exchange.
        shared: what all streams of the session share.
        settings: intervals and limits.
        timing: clock, sleep and random numbers.
        lose: called with the reason when connections of the key may receive no more events; it ends them.
    """

    def __init__(
        self,
        label: str,
        source: StreamSource,
        shared: SessionStreams,
        settings: StreamSettings,
        timing: Timing,
        lose: Callable[[str], None],
    ) -> None:
        self._label: Final = label
        self._source: Final = source
        self._shared: Final = shared
        self._settings: Final = settings
        self._clock, self._sleep, self._jitter = timing
        self._lose: Final = lose
        self.key: ActiveKey | None = None
        """None if no key is known to be valid."""
        self._is_confirmed: bool = False
        """Whether the last POST has succeeded."""
        self._updated_at: float = -math.inf
        """When the last regular update of a Portfolio Margin Pro stream arrived."""

    async def confirm(self) -> PortfolioMarginError | None:
        """Ask for the active key, and end the connections of any other key; return the error if the request fails."""
        sent = self._clock()
        try:
            secret = await self._source.post_key()
        except PortfolioMarginError as error:
            self._is_confirmed = False
            return error
        self._is_confirmed = True
        if self.key is not None and self.key.is_same(secret):
            self.key.proof.confirm(sent)
        else:
            # Events prove the key of a Pro stream: they are regular, and a wrong stream would be silent.
            self.key = ActiveKey(secret, sent, posts_prove=self._source.product == "pm")
            self._lose(ANOTHER_KEY)
        return None

    async def confirm_regularly(self) -> None:
        """Confirm the key until it is given up; run this while the stream is up."""
        backoff = Backoff(self._settings.first_backoff, self._settings.longest_backoff)
        # The stream may have connected without a confirmation.
        backoff.failures = int(not self._is_confirmed)
        while (key := self.key) is not None:
            pause = backoff.pause(self._jitter()) if backoff.failures else self._next_confirmation(key) - self._clock()
            await self._sleep(max(0.0, pause))
            error = await self.confirm()
            backoff.failures = 0 if error is None else backoff.failures + 1
            if error is not None:
                _log.info("[%s] The listen key could not be confirmed: %s", self._label, error)
            if self._is_overdue():
                self.key = None
                self._lose("the listen key could not be confirmed in time")

    def usable(self, error: PortfolioMarginError | None) -> ActiveKey | None:
        """Return the key to connect with after an attempt to confirm it; None if there is none.

        A key that could not be confirmed is used as long as it may be valid: without a connection, all events are lost.
        """
        if error is not None and (self._is_overdue() or isinstance(error, PERMANENT)):
            return None
        return self.key

    def expire(self, key: ActiveKey, named: str | None) -> bool:
        """Give up an expired key; return False if the event of its connection names an earlier key of the account.

        Args:
            key: the key of the connection.
            named: the key that the event names; None if it names none.
        """
        if named is not None and named.encode() != key.secret.reveal():
            return False
        if self.key is key:
            self.key = None
        self._lose(EXPIRED)
        return True

    def note_update(self) -> None:
        """Record that a regular update of a Portfolio Margin Pro stream arrived, or that the stream came up."""
        self._updated_at = self._clock()

    async def expect_updates(self) -> None:
        """End the connection of a Portfolio Margin Pro stream when its regular updates stop."""
        timeout = self._settings.update_timeout
        while (pause := self._updated_at + timeout - self._clock()) > 0:
            await self._sleep(pause)
        self._lose(f"no PmProAccountUpdate for {timeout:g} s")

    def _next_confirmation(self, key: ActiveKey) -> float:
        """Return when the key is to be confirmed, at random a little earlier than the interval says."""
        source = self._source
        every = self._shared.confirm_interval(source.product, self._settings.confirm_every, source.weight_per_minute)
        return key.proof.confirmed + every * (1 - 0.1 * self._jitter())

    def _is_overdue(self) -> bool:
        """Return whether the key may have become invalid for lack of a confirmation."""
        return self.key is not None and self._clock() - self.key.proof.confirmed >= self._settings.key_lifetime
