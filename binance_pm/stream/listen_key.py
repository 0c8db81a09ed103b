"""The listen key of a stream, and up to when it was the account's active one."""

from __future__ import annotations

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
from binance_pm.stream.policy import KeyProof
from binance_pm.stream.source import StreamSource

PERMANENT: Final = (AuthenticationError, ConfigurationError, RequestRejected, SessionClosed)
"""Errors that another attempt will not cure."""


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
    """The latest listen key of an account.

    Args:
        source: what the stream needs of the exchange.
        lifetime: seconds for which a key is valid without a confirmation.
        clock: the time in seconds.
    """

    def __init__(self, source: StreamSource, lifetime: float, clock: Callable[[], float]) -> None:
        self._source: Final = source
        self._lifetime: Final = lifetime
        self._clock: Final = clock
        self.key: ActiveKey | None = None
        """None if no key is known to be valid."""
        self.is_confirmed: bool = False
        """Whether the last POST has succeeded."""

    async def confirm(self) -> PortfolioMarginError | None:
        """Ask for the active key; return the error if that fails."""
        sent = self._clock()
        try:
            secret = await self._source.post_key()
        except PortfolioMarginError as error:
            self.is_confirmed = False
            return error
        self.is_confirmed = True
        if self.key is not None and self.key.is_same(secret):
            self.key.proof.confirm(sent)
        else:
            # Events prove the key of a Pro stream: they are regular, and a wrong stream would be silent.
            self.key = ActiveKey(secret, sent, posts_prove=self._source.product == "pm")
        return None

    def usable(self, error: PortfolioMarginError | None) -> ActiveKey | None:
        """Return the key to connect with after an attempt to confirm it; None if there is none.

        A key that could not be confirmed is used as long as it may be valid: without a connection, all events are lost.
        """
        if error is not None and (self.is_overdue() or isinstance(error, PERMANENT)):
            return None
        return self.key

    def is_overdue(self) -> bool:
        """Return whether the key may have become invalid for lack of a confirmation."""
        return self.key is not None and self._clock() - self.key.proof.confirmed >= self._lifetime
