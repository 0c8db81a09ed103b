"""Functions that are called with every event of one kind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Listeners(Generic[T]):
    """Listeners of one source; false as long as there are none.

    Args:
        source: names the source in the log.
    """

    def __init__(self, source: str) -> None:
        self._source: Final = source
        self._listeners: Final[list[Callable[[T], None]]] = []

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def add(self, listener: Callable[[T], None]) -> None:
        """Add a listener; what it raises is logged."""
        self._listeners.append(listener)

    def emit(self, event: T) -> None:
        """Call every listener with the event."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a failing listener must not look like a failed call
                _log.exception("A listener of the %s failed.", self._source)
