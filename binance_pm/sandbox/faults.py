"""Faults on demand: a fault as data, and the queue of faults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from binance_pm.sandbox.messages import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
_UNKNOWN = "Unknown error, please check your request or try again later."
_INTERNAL = "Internal error; unable to process your request. Please try again."
_THROTTLED = (
    "Request throttled by system-level protection. Reduce-only/close-position orders are exempt. Please try again."
)


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One fault. ``POST /sandbox/faults`` accepts it as JSON, with ``body`` in base64.

    A matching request waits ``delay``, takes effect (checks, weight, and the action itself), waits ``delay_after``, and
    gets a response that the fault changes. Only the first fault in the queue that matches is applied.

    * an error: ``Fault(status=503, code=-1008, msg="Request throttled")``
    * an error, and nothing was done or counted: ``Fault(status=503, code=0, msg="Service Unavailable.", effect=False)``
    * a wrong body: ``Fault(body=b"<html>")``, ``Fault(body=b"null")``, ``Fault(body=b"x" * 20_000_000)``
    * a redirect: ``Fault(status=307, headers={"Location": "http://127.0.0.1:1/"}, body=b"")``
    * a lost placement whose order appears 3 s later:
      ``Fault(method="POST", path="/papi/v1/um/order", drop=True, effect_after=3)``
    * a response as if done, and nothing was done: ``Fault(discard=True)``
    * a request that is delivered twice: ``Fault(deliveries=2)``
    * an order that queries do not find for 2 s: ``Fault(hidden_for=2)``
    * a query whose response shows the account as it was 5 s ago: ``Fault(method="GET", stale=5)``
    * a slow exchange: ``Fault(delay=10)``; a slow response: ``Fault(delay_after=10)``
    * a lost request: ``Fault(drop=True, effect=False)``; a lost response: ``Fault(drop=True)``
    * a response that ends after 10 bytes: ``Fault(cut=10)``
    * a file of a download that breaks off: ``Fault(path="/um-trade.csv", cut=10)``; a path of the file server has to be
      given in full
    * a clock 2 s fast: ``Fault(skew=2)``
    * other programs on the same IP: ``Fault(external_usage={"papi": 0.3})``

    Raises:
        ValueError: ``skew`` or ``external_usage`` together with fields for single requests; ``times`` or
            ``deliveries`` below 1; ``effect_after`` without a response of the fault's own.
    """

    method: str = "*"
    """The HTTP method that the fault applies to; ``*`` for all methods."""
    path: str = "*"
    """The path that the fault applies to; ``*`` for all paths."""
    account: str | None = None
    """Label or API key of the account that the fault applies to; None for all requests."""
    times: int | None = 1
    """How many requests the fault applies to; None for all until it is cleared."""
    effect: bool = True
    """Whether the request takes effect: the exchange checks it, counts its weight and executes it."""
    effect_after: float = 0.0
    """Seconds between the response of the fault and the effect. If the recvWindow of the request has passed by then,
    the request has no effect. The real response is not known yet: the fault needs ``drop``, ``status``, ``code`` or
    ``body``."""
    discard: bool = False
    """Whether the effect is undone after the response was made."""
    deliveries: int = 1
    """How often the request takes effect; the response is the first one."""
    hidden_for: float = 0.0
    """Seconds for which queries do not find an order that the request places."""
    stale: float = 0.0
    """Seconds by which a query is stale: the response shows the account as it was then, but not before the injection of
    the fault. Prices are current."""
    delay: float = 0.0
    """Seconds before the effect."""
    delay_after: float = 0.0
    """Seconds between the effect and the response."""
    drop: bool = False
    """Close the connection before the first byte of a response."""
    status: int | None = None
    """HTTP status instead of the real one."""
    code: int | None = None
    """The exchange's error code; ``code`` or ``msg`` makes the body ``{"code": ..., "msg": ...}``."""
    msg: str | None = None
    """The error message."""
    body: bytes | None = None
    """The body instead of the real one."""
    headers: dict[str, str | None] = {}
    """Headers to add or replace; None removes a header."""
    cut: int | None = None
    """How many bytes of the body are sent before the connection closes; Content-Length is that of the whole body."""
    skew: float = 0.0
    """Seconds by which the exchange's clock is ahead, for every request until cleared."""
    external_usage: dict[str, float] = {}
    """External usage by pool (``papi``, ``api``, ``fapi``, ``sapi-ip``, ``sapi-uid``), as a fraction of its limit,
    until cleared."""

    def __post_init__(self) -> None:
        if self.standing and msgspec.structs.replace(self, times=1, skew=0.0, external_usage={}) != Fault():
            raise ValueError("skew and external_usage hold for every request: give them a fault of their own")
        if self.times is not None and self.times < 1:
            raise ValueError("times is less than 1: give a number of requests, or None for all")
        if self.deliveries < 1:
            raise ValueError("deliveries is less than 1: effect=False lets a request have no effect")
        own = self.drop or self.status is not None or self.code is not None or self.body is not None
        if self.effect_after and not own:
            raise ValueError("effect_after needs drop, status, code or body: the effect comes after the response")

    @property
    def standing(self) -> bool:
        """Whether the fault changes the state of the exchange, not single requests."""
        return self.skew != 0 or bool(self.external_usage)

    def matches(self, method: str, path: str, names: tuple[str, ...]) -> bool:
        """Whether the fault applies to a request of this method and path, by an account with these names."""
        is_meant = self.method in ("*", method) and self.path in ("*", path)
        return not self.standing and is_meant and (self.account is None or self.account in names)

    def apply(self, reply: Reply) -> Reply:
        """Return the reply, changed by the fault."""
        return Reply(
            status=self.status or reply.status,
            headers=_merged(reply.headers, self.headers),
            body=self._body(reply.body),
            cut=self.cut,
            drop=self.drop,
        )

    def _body(self, body: bytes) -> bytes:
        if self.body is not None:
            return self.body
        if self.code is None and self.msg is None:
            return body
        said = {"code": self.code, "msg": self.msg}
        return msgspec.json.encode({name: value for name, value in said.items() if value is not None})


NO_FAULT = Fault()
"""Applied to requests that no fault matches."""

WRITE_FAULTS: Mapping[str, Fault] = {
    "lost request": Fault(drop=True, effect=False),
    "lost response": Fault(drop=True),
    "late effect": Fault(drop=True, effect_after=3.0),
    "response without effect": Fault(discard=True),
    "delivered twice": Fault(deliveries=2),
    "delivered twice, lost response": Fault(deliveries=2, drop=True),
    "not found at first": Fault(hidden_for=2.0),
    "timeout, done": Fault(status=503, code=-1007, msg=_TIMEOUT),
    "timeout, not done": Fault(status=503, code=-1007, msg=_TIMEOUT, effect=False),
    "unknown error, done": Fault(status=503, msg=_UNKNOWN),
    "unknown error, not done": Fault(status=503, msg=_UNKNOWN, effect=False),
    "service unavailable": Fault(status=503, msg="Service Unavailable.", effect=False),
    "internal error": Fault(status=503, code=-1001, msg=_INTERNAL, effect=False),
    "throttled": Fault(status=503, code=-1008, msg=_THROTTLED, effect=False),
}
"""Faults that put the outcome of a write in doubt, or let it fail in a known way. For the wording of 503, see
https://developers.binance.com/docs/derivatives/portfolio-margin/general-info (read 2026-11-29)."""


class FaultQueue:
    """The faults that are still in the queue. Not thread-safe: the owner locks."""

    def __init__(self) -> None:
        self._left: list[tuple[Fault, int | None]] = []

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults in the queue, in the order of injection; ``times`` is the remaining number."""
        return tuple(msgspec.structs.replace(fault, times=left) for fault, left in self._left)

    @property
    def skew(self) -> float:
        """Seconds by which the exchange's clock is ahead."""
        return sum(fault.skew for fault, _ in self._left)

    def add(self, fault: Fault) -> None:
        """Add a fault at the end of the queue."""
        self._left.append((fault, fault.times))

    def clear(self) -> None:
        """Remove all faults."""
        self._left.clear()

    def take(self, method: str, path: str, names: tuple[str, ...], *, exact: bool = False) -> Fault:
        """Return the fault for this request and count it down; ``NO_FAULT`` if none matches.

        Args:
            method: the method of the request.
            path: its path.
            names: the names of its account.
            exact: leave out faults that apply to all paths.
        """
        for place, (fault, left) in enumerate(self._left):
            if fault.matches(method, path, names) and (not exact or fault.path == path):
                self._left[place : place + 1] = [] if left == 1 else [(fault, left and left - 1)]
                return fault
        return NO_FAULT


def _merged(headers: dict[str, str], changes: dict[str, str | None]) -> dict[str, str]:
    changed = {name.lower() for name in changes}
    kept = {name: value for name, value in headers.items() if name.lower() not in changed}
    return kept | {name: value for name, value in changes.items() if value is not None}
