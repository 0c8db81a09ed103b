"""What goes wrong on demand: faults as data, and the list of those still armed."""

from __future__ import annotations

import msgspec

from binance_pm.sandbox.messages import Reply


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One thing that goes wrong, as JSON on ``POST /sandbox/faults`` too (there ``body`` is base64).

    A request that matches goes through: wait ``delay``, take effect (checks, weight, the act itself), wait
    ``delay_after``, then answer, changed as the fault says. The first armed fault that matches applies, alone.

    * an error: ``Fault(status=503, code=-1008, msg="Request throttled")``
    * an error, and nothing was done or counted: ``Fault(status=503, code=0, msg="Service Unavailable.", effect=False)``
    * a wrong body: ``Fault(body=b"<html>")``, ``Fault(body=b"null")``, ``Fault(body=b"x" * 20_000_000)``
    * a redirect: ``Fault(status=307, headers={"Location": "http://127.0.0.1:1/"}, body=b"")``
    * a slow exchange: ``Fault(delay=10)``; a slow way back: ``Fault(delay_after=10)``
    * a lost request: ``Fault(drop=True, effect=False)``; a lost answer: ``Fault(drop=True)``
    * an answer that breaks off after 10 bytes: ``Fault(cut=10)``
    * a clock 2 s fast: ``Fault(skew=2)``
    * other programs on the same IP: ``Fault(external_usage={"papi": 0.3})``

    Raises:
        ValueError: ``skew`` or ``external_usage`` together with what concerns single requests; ``times`` below 1.
    """

    path: str = "*"
    """The path it strikes, ``*`` for all."""
    account: str | None = None
    """Label or API key of the account it strikes, None for all."""
    times: int | None = 1
    """How many requests it strikes, None for all until it is cleared."""
    effect: bool = True
    """Whether the exchange still does what it was asked: checks the request, counts its weight, acts."""
    delay: float = 0.0
    """Seconds before the effect."""
    delay_after: float = 0.0
    """Seconds between the effect and the answer."""
    drop: bool = False
    """Close the connection without a byte of an answer."""
    status: int | None = None
    """HTTP status in place of the real one."""
    code: int | None = None
    """The exchange's error code; ``code`` or ``msg`` makes the body ``{"code": ..., "msg": ...}``."""
    msg: str | None = None
    """The error message."""
    body: bytes | None = None
    """The body in place of the real one."""
    headers: dict[str, str | None] = {}
    """Headers added or replaced; None takes one away."""
    cut: int | None = None
    """How many bytes of the body are sent before the connection closes; Content-Length promises all of it."""
    skew: float = 0.0
    """Seconds the exchange's clock is ahead, for every request until cleared."""
    external_usage: dict[str, float] = {}
    """Foreign traffic by pool (``papi``, ``api``, ``sapi-ip``, ``sapi-uid``), as a part of its limit, until cleared."""

    def __post_init__(self) -> None:
        if self.standing and msgspec.structs.replace(self, times=1, skew=0.0, external_usage={}) != Fault():
            raise ValueError("skew and external_usage hold for every request: give them a fault of their own")
        if self.times is not None and self.times < 1:
            raise ValueError("a fault strikes at least once: times is 1 or more, or None")

    @property
    def standing(self) -> bool:
        """Whether it is a state of the exchange rather than the fate of a request."""
        return self.skew != 0 or bool(self.external_usage)

    def matches(self, path: str, names: tuple[str, ...]) -> bool:
        """Whether a request for this path, by an account of these names, is one of those it strikes."""
        return not self.standing and self.path in ("*", path) and (self.account is None or self.account in names)

    def apply(self, reply: Reply) -> Reply:
        """The reply as the fault changes it."""
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
"""The fate of a request that nothing strikes."""


class FaultQueue:
    """The faults that have not run out yet. Not safe for threads: its owner locks."""

    def __init__(self) -> None:
        self._left: list[tuple[Fault, int | None]] = []

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Those still armed, in the order in which they were injected; ``times`` is what is left."""
        return tuple(msgspec.structs.replace(fault, times=left) for fault, left in self._left)

    @property
    def skew(self) -> float:
        """Seconds by which the exchange's clock is ahead."""
        return sum(fault.skew for fault, _ in self._left)

    def add(self, fault: Fault) -> None:
        """Arm a fault behind the others."""
        self._left.append((fault, fault.times))

    def clear(self) -> None:
        """Disarm all."""
        self._left.clear()

    def take(self, path: str, names: tuple[str, ...]) -> Fault:
        """The fault that strikes this request, used up by one; ``NO_FAULT`` where none does."""
        for place, (fault, left) in enumerate(self._left):
            if fault.matches(path, names):
                self._left[place : place + 1] = [] if left == 1 else [(fault, left and left - 1)]
                return fault
        return NO_FAULT


def _merged(headers: dict[str, str], changes: dict[str, str | None]) -> dict[str, str]:
    changed = {name.lower() for name in changes}
    kept = {name: value for name, value in headers.items() if name.lower() not in changed}
    return kept | {name: value for name, value in changes.items() if value is not None}
