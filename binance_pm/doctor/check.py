"""What is told of each thing that was looked at, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

CheckName = Literal[
    "configuration", "clock", "egress", "tls", "key", "permissions", "product", "budget", "account", "limits"
]

Verdict = Literal["ok", "warning", "failed", "not checked"]
"""A warning is no failure. What cannot be looked at because something else failed is not checked."""


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: CheckName
    """Which check."""
    target: str
    """The host or the label of the account that it is about; empty where it is about all of them."""
    verdict: Verdict
    """How the check ended."""
    finding: str
    """What was found, without secrets."""
    advice: str = ""
    """The one thing to do; empty where there is nothing."""


class Report:
    """Passes checks on in the expected order, each as soon as those before it are there.

    Args:
        expected: name and subject of every check, in their order.
        tell: is given each.
    """

    def __init__(self, expected: Iterable[tuple[CheckName, str]], tell: Callable[[Check], None]) -> None:
        self._expected: Final = list(expected)
        self._found: Final[list[Check | None]] = [None] * len(self._expected)
        self._tell: Final = tell
        self._told = 0

    def put(self, check: Check) -> None:
        """Take a check in. One that is there already stays, and one that was not expected is left out."""
        for place, key in enumerate(self._expected):
            if key == (check.name, check.target) and self._found[place] is None:
                self._found[place] = check
                break
        while self._told < len(self._found) and (ready := self._found[self._told]) is not None:
            self._told += 1
            self._tell(ready)

    def skip(self, names: Iterable[CheckName], subject: str, why: str) -> None:
        """Say that some checks of a subject cannot be made."""
        for name in names:
            self.put(Check(name, subject, "not checked", why))

    def close(self, why: str) -> None:
        """Say of everything that is still missing that it was not checked."""
        for place in range(self._told, len(self._expected)):
            if self._found[place] is None:
                self.put(Check(*self._expected[place], "not checked", why))
