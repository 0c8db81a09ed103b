"""The results of the checks, reported in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

CheckName = Literal[
    "configuration", "clock", "egress", "tls", "key", "permissions", "product", "budget", "account", "limits"
]

StreamCheckName = Literal[
    "unknown_key",
    "listen_key",
    "keepalive",
    "connections",
    "pings",
    "server_pings",
    "events",
    "event_time",
    "update_time",
    "key_sharing",
    "unanswered",
]
"""The checks of user data streams, which follow those of the accounts' products and precede ``budget``."""

Verdict = Literal["ok", "warning", "failed", "not checked"]
"""The outcome of a check. A warning is not a failure. ``not checked``: the check could not be made, or its time
limit was too short."""


class Check(msgspec.Struct, frozen=True):
    """The result of one check."""

    name: CheckName | StreamCheckName
    """Name of the check."""
    target: str
    """The host or the label of the account that was checked; empty if the check concerns all of them."""
    verdict: Verdict
    """The outcome of the check."""
    finding: str
    """What was found, without secrets."""
    advice: str = ""
    """What to do about the finding; empty if there is nothing to do."""


ExpectedCheck = tuple[CheckName | StreamCheckName, str]
"""Name and target of a check."""


class Report:
    """A report that passes checks on in the expected order, each as soon as all checks before it are available.

    Args:
        tell: called with each check.
        expected: see `expect`.
    """

    def __init__(self, tell: Callable[[Check], None], expected: Iterable[ExpectedCheck] = ()) -> None:
        self._tell: Final = tell
        self._told: int = 0
        self.expect(expected)

    def expect(self, checks: Iterable[ExpectedCheck]) -> None:
        """Set the expected checks; call this method before a check is added."""
        self._expected: list[ExpectedCheck] = list(checks)
        self._found: list[Check | None] = [None] * len(self._expected)

    def put(self, check: Check) -> None:
        """Add a check; ignore a check that was not expected or that was added already."""
        for place, key in enumerate(self._expected):
            if key == (check.name, check.target) and self._found[place] is None:
                self._found[place] = check
                break
        while self._told < len(self._found) and (ready := self._found[self._told]) is not None:
            self._told += 1
            self._tell(ready)

    def skip(self, names: Iterable[CheckName | StreamCheckName], subject: str, why: str) -> None:
        """Report that some checks of a target cannot be made."""
        for name in names:
            self.put(Check(name, subject, "not checked", why))

    def close(self, why: str) -> None:
        """Report all missing checks as not checked."""
        for place in range(self._told, len(self._expected)):
            if self._found[place] is None:
                self.put(Check(*self._expected[place], "not checked", why))
