"""The server of a stream: its time limits, and warnings when it becomes unavailable and available again."""

from __future__ import annotations

import logging
from typing import Final

from binance_pm.errors import CallInfo
from binance_pm.redis_client import RedisServer

_log = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 1.0
REPLY_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 0.8
"""Seconds between two attempts to reach an unavailable server."""


class StreamServer(RedisServer):
    """A server of a stream, for one thread.

    Args:
        url: URL of the server, as for `SharedBudget`.
        call: names the caller in errors.

    Attributes:
        is_lost: whether the server did not respond to the last step.
    """

    def __init__(self, url: str, call: CallInfo) -> None:
        super().__init__(url, call=call, connect_seconds=CONNECT_SECONDS, reply_seconds=REPLY_SECONDS)
        self.is_lost: bool = False

    def note_lost(self, why: str) -> None:
        """Log the first failed step after a successful one."""
        if not self.is_lost:
            self.is_lost = True
            _log.warning("The stream is unavailable: %s", why)

    def note_back(self) -> None:
        """Log the first successful step after a failed one."""
        if self.is_lost:
            self.is_lost = False
            _log.warning("The stream is available again: %s", self.where)
