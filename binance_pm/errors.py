"""What can go wrong, by what the caller can do about it.

* PortfolioMarginError
    * ConfigurationError      a key, URL or argument is wrong; nothing was sent
    * NotSent                 nothing left this machine
        * BudgetExceeded      the wait for weight would be longer than the caller allows
        * GateClosed          a 429 or 418 is being waited out; ``until`` says for how long
        * ConnectError        no connection could be made
        * SessionClosed       the client or session is not open
    * NoAnswer                it was sent and no answer came: a write may have been executed
    * ExchangeError           the exchange answered with an error
        * RequestRejected     the request is wrong: change it
        * AuthenticationError key, signature or permission; the message says the likely cause
        * ClockSkewError      timestamp outside recv_window
        * RateLimited         HTTP 429: wait ``retry_after`` seconds
            * IpBanned        HTTP 418: stop until ``until``
        * NotDone             the exchange failed and says that nothing was executed
        * OutcomeUnknown      the exchange failed and cannot say: ask by client order id
    * BadAnswer               the answer is not what the endpoint promises

Every message says the endpoint, what happened, whether it was sent, whether it may have taken effect and what to do.

Sources (read 2026-11-21):
    https://developers.binance.com/docs/derivatives/portfolio-margin/error-code
    https://developers.binance.com/docs/derivatives/portfolio-margin/general-info
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:
    from binance_pm.transport import HttpAnswer

Outcome = Literal["not_done", "unknown"]


class Call(NamedTuple):
    """What an error is about: a call of one endpoint for one account."""

    endpoint: str
    """The method called, such as ``um_account``."""
    account: str = ""
    """The label of the account, empty where no account is involved."""
    write: bool = False
    """Whether the call changes something at the exchange."""


class PortfolioMarginError(Exception):
    """Base of every error of this package.

    Attributes:
        endpoint: the method called, such as ``um_account``; the class or function where no call is involved.
        account: the label of the account, empty where none is involved.
        write: whether the call changes something at the exchange.
        what: what happened, without the rest of the message.
        advice: what to do about it.
        sent: whether the request left this machine (True also where that is not known).
    """

    sent: ClassVar[bool] = False
    _advice: ClassVar[str] = "See the message."
    _read_advice: ClassVar[str] = ""
    _uncertain: ClassVar[bool] = False

    def __init__(self, call: Call, what: str, *, advice: str | None = None) -> None:
        self.endpoint: str = call.endpoint
        self.account: str = call.account
        self.write: bool = call.write
        self.what = what
        self.advice: str = advice or ("" if call.write else self._read_advice) or self._advice
        name = f"{call.endpoint} [{call.account}]" if call.account else call.endpoint
        super().__init__(f"{name}: {what}. {self._fate()} {self.advice}")

    @property
    def outcome(self) -> Outcome | None:
        """For a write, whether it was surely not executed; None for a read, which changes nothing."""
        if not self.write:
            return None
        return "unknown" if self._uncertain else "not_done"

    def _fate(self) -> str:
        if not self.sent:
            return "Nothing was sent."
        if not self.write:
            return "It was sent; a read changes nothing."
        if self._uncertain:
            return "It was sent and may have been executed."
        return "It was sent and not executed."

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross process boundaries, and the constructors take more than the message."""
        return _restore, (type(self), self.args, self.__dict__)


class ConfigurationError(PortfolioMarginError):
    """A key, URL or argument is wrong; nothing was sent."""

    _advice = "Correct it and try again."


class NotSent(PortfolioMarginError):
    """Nothing left this machine."""

    _advice = "It is safe to try again."


class BudgetExceeded(NotSent):
    """The wait for weight would be longer than the caller allows.

    Attributes:
        wait: seconds until the weight may be free, infinite where it never is.
    """

    _advice = "Call less often, allow a longer max_wait, or drop what is not needed."

    def __init__(self, call: Call, what: str, *, wait: float) -> None:
        super().__init__(call, what)
        self.wait = wait


class GateClosed(NotSent):
    """A 429 or 418 is being waited out.

    Attributes:
        until: seconds since the epoch at which the gate opens.
        banned: whether it was closed by a ban (418).
    """

    _advice = "Wait until then: whatever is sent before makes a ban longer."

    def __init__(self, call: Call, what: str, *, until: float, banned: bool) -> None:
        super().__init__(call, what)
        self.until = until
        self.banned = banned


class ConnectError(NotSent):
    """No connection could be made."""

    _advice = "Check the network; it is safe to try again."


class SessionClosed(NotSent):
    """The client or its session is not open."""

    _advice = "Use it inside `async with`; nothing reopens itself."


class NoAnswer(PortfolioMarginError):
    """It was sent and no answer came: a write may have been executed."""

    sent = True
    _advice = "Ask by client order id before sending it again."
    _read_advice = "It is safe to try again."
    _uncertain = True


class ExchangeError(PortfolioMarginError):
    """The exchange answered with an error.

    Attributes:
        status: HTTP status.
        code: the exchange's own code, such as -1021; None where the body had none.
        message: the exchange's own text, without anything that looks like a key or signature.
    """

    sent = True
    _advice = "See the exchange's list of error codes."

    def __init__(self, call: Call, message: str, *, status: int, code: int | None = None) -> None:
        said = f"{message} (HTTP {status})" if code is None else f"{message} (code {code}, HTTP {status})"
        super().__init__(call, said, advice=_ADVICE.get(status) or _ADVICE.get(code or 0))
        self.status = status
        self.code = code
        self.message = message


class RequestRejected(ExchangeError):
    """The request is wrong: change it."""

    _advice = "Change the request: the same one will be refused again."


class AuthenticationError(ExchangeError):
    """Key, signature or permission; the message says the likely cause."""

    _advice = "Check the API key, its permissions and its list of IP addresses."


class ClockSkewError(ExchangeError):
    """The timestamp was outside recv_window.

    With -1021 it was so on arrival, although the clock had just been synchronised; with -5028 it was in time, and then
    waited for the matching engine, which looks again.
    """

    _advice = "The way to the exchange takes longer than recv_window: allow a longer one, at most 60000 ms."


class RateLimited(ExchangeError):
    """A limit of the exchange was hit (HTTP 429, code -1003, or a 403 of its firewall).

    Attributes:
        retry_after: seconds to wait, as the exchange said; None where it did not say.
    """

    _advice = "The gate is closed for every client of this IP until the limit is free again; call less often."

    def __init__(
        self, call: Call, message: str, *, status: int, code: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(call, message, status=status, code=code)
        self.retry_after = retry_after


class IpBanned(RateLimited):
    """The IP is banned (HTTP 418, or code -1003 that says until when).

    Attributes:
        until: seconds since the epoch at which the ban ends; None where the exchange did not say.
    """

    _advice = "Stop everything on this IP until the ban ends: whatever is sent before makes it longer."

    def __init__(
        self,
        call: Call,
        message: str,
        *,
        status: int,
        code: int | None = None,
        retry_after: float | None = None,
        until: float | None = None,
    ) -> None:
        super().__init__(call, message, status=status, code=code, retry_after=retry_after)
        self.until = until


class NotDone(ExchangeError):
    """The exchange failed and says that nothing was executed."""

    _advice = "It is safe to try again in a moment."


class OutcomeUnknown(ExchangeError):
    """The exchange failed and cannot say whether a write was executed."""

    _advice = "Ask by client order id before sending it again."
    _read_advice = "It is safe to try again."
    _uncertain = True


class BadAnswer(PortfolioMarginError):
    """The answer is not what the endpoint promises.

    Attributes:
        status: HTTP status.
    """

    sent = True
    _read_advice = "Something between here and the exchange answered in its place, or this version is too old."
    _advice = f"Ask by client order id before sending it again. {_read_advice}"
    _uncertain = True

    def __init__(self, call: Call, what: str, *, status: int) -> None:
        super().__init__(call, f"{what} (HTTP {status})")
        self.status = status


_TOO_MUCH_WEIGHT: Final = -1003
_TOO_MANY_ORDERS: Final = -1015

_KEY_ADVICE = (
    "Either the key is wrong, or this IP is not on its list, or a permission is missing. A key made before Portfolio "
    "Margin was enabled on the account never works here: create a new one, with the permission for Portfolio Margin. "
    "If the list has this machine's IPv4 address and it connects by IPv6, use IPv4 only: "
    "Session(local_address='0.0.0.0')."
)
_ADVICE: Final = {
    -2014: "The API key is mistyped or cut: it has 64 letters and digits. Copy it again.",
    -2015: _KEY_ADVICE,
    -1022: (
        "The secret does not belong to this API key, or the key is of another kind "
        "(HMAC, Ed25519, RSA) than the secret given."
    ),
    -21001: (
        "The account is not a portfolio margin account, or not of the product of this endpoint "
        "(span_account is for Portfolio Margin Pro SPAN, pro_account for Portfolio Margin Pro). "
        "After it is enabled, create a new key: older ones never work."
    ),
    451: "The exchange does not serve the place that this IP is in: use it from where it does.",
    _TOO_MANY_ORDERS: "Too many orders for this account: wait for the next minute.",
    -5028: (
        "It came in time, but reached the matching engine later than recv_window allows: the exchange is slow. "
        "Send it again, or allow a longer recv_window, at most 60000 ms."
    ),
}

# Where the documents disagree with what a code's name suggests, general-info decides: see the module docstring.
_KINDS: Final[dict[int, type[ExchangeError]]] = {
    -1000: OutcomeUnknown,
    -1001: NotDone,
    -1002: AuthenticationError,
    _TOO_MUCH_WEIGHT: RateLimited,
    -1006: OutcomeUnknown,
    -1007: OutcomeUnknown,
    -1008: NotDone,
    _TOO_MANY_ORDERS: RateLimited,
    -1021: ClockSkewError,
    -1022: AuthenticationError,
    -1099: AuthenticationError,
    -2014: AuthenticationError,
    -2015: AuthenticationError,
    -5028: ClockSkewError,
    -5041: OutcomeUnknown,
    -21001: AuthenticationError,
    51998: NotDone,
    51999: OutcomeUnknown,
}


# These say enough by themselves, however long the page that comes with them.
_LIMITING: Final = {403, 418, 429}
# A prefix, because every success is looked at: the exchange's refusals begin with their code, and it is negative.
_REFUSES: Final = re.compile(rb'\s*\{\s*"code"\s*:\s*"?-')


def error_of(call: Call, answer: HttpAnswer) -> PortfolioMarginError | None:
    """The error that an answer is, or None where it is a success as far as status and first bytes tell."""
    status = answer.status
    if answer.body is None and status not in _LIMITING:
        return BadAnswer(call, "the answer is longer than this session accepts", status=status)
    if 200 <= status < 300:
        return _refused_after_all(call, answer) if _REFUSES.match(answer.body or b"") else None
    if 300 <= status < 400:
        return BadAnswer(call, "it was redirected to another place, which was refused", status=status)
    return _refused(call, answer, *_refusal(answer.body))


def unreadable(call: Call, answer: HttpAnswer, reason: str) -> PortfolioMarginError:
    """The error for a success whose body is not what the endpoint promises, or is the exchange's refusal after all."""
    if refused := _refused_after_all(call, answer):
        return refused
    what = f"the answer is not what this endpoint promises: {_presentable(reason)}"
    return BadAnswer(call, what, status=answer.status)


def closes_gate(error: PortfolioMarginError | None) -> bool:
    """Whether an answer with this error refuses whoever asks, so that nothing may be sent to its host for a while.

    A limit of the IP and a ban do, whatever status they come with, and so does the firewall. Too many orders (-1015)
    are those of one account: its own calls are counted, and the other accounts on the IP need not wait for them.
    """
    if isinstance(error, IpBanned):
        return True
    return isinstance(error, RateLimited) and error.code != _TOO_MANY_ORDERS


def _refused_after_all(call: Call, answer: HttpAnswer) -> ExchangeError | None:
    """The refusal that a body is, although its status says success; None where it is none."""
    code, message = _refusal(answer.body)
    return None if code is None or code >= 0 else _refused(call, answer, code, message)


def _refused(call: Call, answer: HttpAnswer, code: int | None, message: str) -> ExchangeError:
    kind, status = _kind(answer, code, message), answer.status
    if issubclass(kind, IpBanned):
        until = answer.banned_until
        if until is None and answer.date is not None and answer.retry_after is not None:
            until = answer.date + answer.retry_after
        return kind(call, message, status=status, code=code, retry_after=answer.retry_after, until=until)
    if issubclass(kind, RateLimited):
        return kind(call, message, status=status, code=code, retry_after=answer.retry_after)
    return kind(call, message, status=status, code=code)


def _refusal(body: bytes | None) -> tuple[int | None, str]:
    """The exchange's code and text in an error's body; no code where the body is something else."""
    if body is None:
        return None, "more bytes than this session accepts"
    try:
        said = _REFUSAL.decode(body)
    except (ValueError, RecursionError):
        return None, _plain_text(body)
    return said.code, _presentable(_text(said.msg))


def _text(value: msgspec.Raw) -> str:
    """A JSON text; nothing where it is null or something else: the code alone says what happened."""
    try:
        return msgspec.json.decode(bytes(value).decode(errors="replace"), type=str)
    except ValueError:
        return ""


def _plain_text(body: bytes) -> str:
    """A body that is not the exchange's JSON, where it is a short text for people."""
    if len(body) > 200 or b"<" in body or b"{" in body:
        return f"{len(body)} bytes that are not the exchange's JSON"
    return _presentable(body.decode(errors="replace"))


# What a gateway says that gave up waiting or was left (408, 460, 499), or that keeps requests apart (409, 425): it does
# not know what became of one that it had passed on. The exchange itself documents 409 for replacing a spot order, where
# it means that a part was done; so of its codes only those are believed there that have a kind of their own.
_UNCERTAIN: Final = {408, 409, 425, 460, 499}
_BAD_GATEWAY: Final = {502, 504}


def _kind(answer: HttpAnswer, code: int | None, message: str) -> type[ExchangeError]:
    status = answer.status
    if status == 418 or (code == _TOO_MUCH_WEIGHT and answer.banned_until is not None):
        return IpBanned
    # A 403 without a code of the exchange's comes from its firewall, which counts requests too.
    if status == 429 or (status == 403 and code in {None, status}):
        return RateLimited
    kind = _KINDS.get(code or 0)
    # Both are an invitation to send it again, and a gateway that lost the exchange cannot know that nothing was done.
    if kind is not None and not (status in _BAD_GATEWAY and kind in {NotDone, ClockSkewError}):
        return kind
    if status == 401:
        return AuthenticationError
    if 200 <= status < 500 and status not in _UNCERTAIN:
        return RequestRejected
    return NotDone if status == 503 and _is_unavailable(code, message) else OutcomeUnknown


def _is_unavailable(code: int | None, message: str) -> bool:
    """Whether the exchange itself says that it did nothing: a gateway says the same of what it cannot know.

    A gateway says so as plain text, without a code, or with the status as the code; the exchange's codes are not
    positive here.
    """
    return code is not None and code <= 0 and message.startswith("Service Unavailable")


class _Refusal(msgspec.Struct):
    code: int | None = None
    msg: msgspec.Raw = msgspec.Raw(b'""')


_REFUSAL: Final = msgspec.json.Decoder(_Refusal, strict=False)
_SECRET_LIKE: Final = re.compile(r"[A-Za-z0-9+/=%_-]{40,}")


def _presentable(text: str) -> str:
    """One line of at most 300 characters, without keys and signatures that the text may echo."""
    printable = " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())
    return _SECRET_LIKE.sub("…", printable)[:300].rstrip(". ") or "no text"


def _restore(kind: type[PortfolioMarginError], args: tuple[Any, ...], state: dict[str, Any]) -> PortfolioMarginError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error
