"""Functions that are called with every event of one kind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Listeners(list[Callable[[T], None]], Generic[T]):
    """Listeners of one source. A list, so that a call without listeners costs nothing.

    Args:
        source: names the source in the log.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source: Final = source

    def emit(self, event: T) -> None:
        """Call every listener with the event; log what a listener raises."""
        for listener in self:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a failing listener must not look like a failed call
                _log.exception("A listener of the %s failed.", self._source)
