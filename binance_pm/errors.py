"""What can go wrong, by what the caller can do about it.

* PortfolioMarginError
    * ConfigurationError      a key, URL or argument is wrong; nothing was sent
    * NotSent                 nothing left this machine
        * BudgetExceeded      the wait for weight would be longer than the caller allows
        * GateClosed          a 429 or 418 has closed the gate; ``until`` says when it opens
        * ConnectError        no connection could be made
        * SessionClosed       the client or session is not open, or was opened on another event loop
        * JournalError        the journal cannot be written or read
    * NoResponse              the request was sent and no response arrived: a write may have been executed
    * ExchangeError           the exchange responded with an error
        * RequestRejected     the request is wrong: change it
        * AuthenticationError key, signature or permission; the message says the likely cause
        * ClockSkewError      timestamp outside recv_window
        * RateLimited         HTTP 429: wait ``retry_after`` seconds
            * IpBanned        HTTP 418: stop until ``until``
        * NotDone             the exchange failed and says that nothing was executed
        * OutcomeUnknown      the exchange failed and cannot say: ask by client order id
    * InvalidResponse         the response is not what the endpoint promises
    * HistoryIncomplete       a history cannot be read or saved completely, so it ends
    * DownloadFailed          the file of a download was not received; its id can still be used

Every message gives the endpoint, what happened, whether the request was sent, whether it may have been executed, and
what to do.

Sources (read 2026-11-21):
    https://developers.binance.com/docs/derivatives/portfolio-margin/error-code
    https://developers.binance.com/docs/derivatives/portfolio-margin/general-info
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple

import msgspec

from binance_pm.limits import LimitHit

if TYPE_CHECKING:
    from binance_pm.resolution import WriteOutcome

Outcome = Literal["not_done", "unknown"]

Repeat = Literal["same_effect", "never"]
"""Whether a request that may have been executed may be sent again: yes, because a second request has no further effect,
or never."""


class SentWrite(msgspec.Struct, frozen=True):
    """A write as the client prepared it: what is needed to find out whether it was executed."""

    parameters: Mapping[str, Any]
    """Its parameters by the exchange's names, without timestamp and signature."""
    client_id: str | None = None
    """The caller's own id of the order or change, or the one that the client created."""
    id_name: str = ""
    """The parameter of the id, such as ``new_client_order_id``."""
    key_id: str = ""
    """The account that the write was sent for."""
    timestamp: int | None = None
    """The timestamp that was signed last, in milliseconds since the epoch; None if nothing was signed."""
    expires_at: int | None = None
    """When the exchange stops accepting the request, by its own clock: timestamp plus recv_window."""
    journal_id: str = ""
    """The id of the write in the journal; empty if there is no journal."""


class CallInfo(NamedTuple):
    """The call that an error is about: one endpoint, for one account."""

    endpoint: str
    """The method called, such as ``um_account``."""
    label: str = ""
    """The name that the user gave the account; empty if no account is involved."""
    key_id: str = ""
    """The digest of the account's API key; empty if the call needs no key."""
    write: bool = False
    """Whether the call changes something at the exchange."""
    repeat: Repeat | None = None
    """The ``repeat`` of the endpoint's declaration; None if there is none."""
    find_out: str = ""
    """How to find out whether a write was executed, if the endpoint declares it."""


_TOO_MANY_ORDERS: Final = -1015
_TRY_AGAIN: Final = "It is safe to try again."
_FIND_OUT: Final[dict[Repeat | None, str]] = {
    None: "Find out whether the request was executed before you send it again.",
    "same_effect": "Sending the request again is safe: the effect is the same.",
    "never": "The request may have used up part of a quota: check this before you send it again.",
}


class PortfolioMarginError(Exception):
    """Base of every error of this package.

    Attributes:
        endpoint: the method called, such as ``um_account``; the class or function if no call is involved.
        label: the label of the account; empty if no account is involved.
        write: whether the call changes something at the exchange; True also for a query that uses up a quota.
        repeat: the ``repeat`` of the endpoint's declaration: "same_effect", "never" or, mostly, None.
        reason: what happened, without the rest of the message.
        advice: what to do about it.
        sent: whether the request left this machine (True also if this is not known), in the last attempt.
        request: for a write, its parameters, client order id and expiry; None for a read.
        resolved: what `Client.resolve` found out before the error was raised; None if it was not asked to.
    """

    sent: ClassVar[bool] = False
    request: SentWrite | None = None
    resolved: WriteOutcome | None = None
    _advice: ClassVar[str] = "See the message."
    _uncertain: bool = False

    def __init__(self, call: CallInfo, reason: str, *, advice: str | None = None) -> None:
        self.endpoint: str = call.endpoint
        self.label: str = call.label
        self.write: bool = call.write
        self.repeat: Repeat | None = call.repeat
        self.reason = reason
        self.advice: str = advice or self._advice
        if call.write and self._uncertain:
            first = _FIND_OUT[call.repeat] if call.repeat else call.find_out or _FIND_OUT[None]
            self.advice = f"{first} {self.advice}".removesuffix(f" {_TRY_AGAIN}")
        name = f"{call.endpoint} [{call.label}]" if call.label else call.endpoint
        super().__init__(f"{name}: {reason}. {self._fate()} {self.advice}")

    @property
    def outcome(self) -> Outcome | None:
        """For a write, "not_done" or "unknown"; None for a read, which changes nothing."""
        if not self.write:
            return None
        return "unknown" if self._uncertain else "not_done"

    @property
    def client_id(self) -> str | None:
        """The caller's own id of an order or change that was to be made; None for other calls."""
        return None if self.request is None else self.request.client_id

    def describe_write(self, request: SentWrite, *, may_be_done: bool = False) -> None:
        """Attach the write that the error is about, and name its id in the message.

        Args:
            request: the write.
            may_be_done: whether an earlier attempt may have been executed.
        """
        self.request = request
        text = str(self)
        if may_be_done and not self._uncertain:
            self._uncertain = True
            text += " An earlier attempt was sent and may have been executed."
        if request.client_id is not None:
            text += f" Its {request.id_name} is {request.client_id}"
            if self._uncertain and request.expires_at is not None:
                expiry = datetime.fromtimestamp(request.expires_at / 1000, UTC)
                text += f"; the exchange accepts the request until {expiry:%H:%M:%S} UTC"
            text += "."
        self.args: tuple[Any, ...] = (text,)

    def _fate(self) -> str:
        if not self.sent:
            return "Nothing was sent."
        if not self.write:
            return "The request was sent; a read changes nothing."
        if self._uncertain:
            return "The request was sent and may have been executed."
        return "The request was sent and not executed."

    def __reduce__(self) -> tuple[Any, ...]:
        """Support pickling: the constructors take more than the message."""
        return _restore, (type(self), self.args, self.__dict__)


class ConfigurationError(PortfolioMarginError):
    """A key, URL or argument is wrong; nothing was sent."""

    _advice = "Correct it and try again."


class NotSent(PortfolioMarginError):
    """Nothing left this machine."""

    _advice = _TRY_AGAIN


class BudgetExceeded(NotSent):
    """The wait for weight would be longer than the caller allows.

    Attributes:
        wait: seconds until the weight may be free; infinite if it never will be.
    """

    _advice = "Call less often, allow a longer max_wait, or drop calls that are not needed."

    def __init__(self, call: CallInfo, what: str, *, wait: float) -> None:
        super().__init__(call, what)
        self.wait = wait


class GateClosed(NotSent):
    """A 429 or 418 has closed the gate.

    Attributes:
        until: when the gate opens, in seconds since the epoch.
        banned: whether a ban (418) closed the gate.
    """

    _advice = "Wait until then: requests sent earlier make a ban longer."

    def __init__(self, call: CallInfo, what: str, *, until: float, banned: bool) -> None:
        super().__init__(call, what)
        self.until = until
        self.banned = banned


class ConnectError(NotSent):
    """No connection could be made."""

    _advice = "Check DNS or the network; it is safe to try again."


class SessionClosed(NotSent):
    """The client or its session is not open, or was opened on another event loop or in another process."""

    _advice = "Use the client or session inside `async with`; neither reopens itself."


class JournalError(NotSent):
    """The journal cannot be written, or a file cannot be read as a journal."""

    _advice = "Correct it and try again."


class NoResponse(PortfolioMarginError):
    """The request was sent and no response arrived: a write may have been executed."""

    sent = True
    _advice = _TRY_AGAIN
    _uncertain = True


class ExchangeError(PortfolioMarginError):
    """The exchange responded with an error.

    Attributes:
        status: HTTP status.
        code: the exchange's own code, such as -1021; None if the body had none.
        message: the exchange's own text, without anything that looks like a key or signature.
    """

    sent = True
    _advice = "See the exchange's list of error codes."

    def __init__(
        self, call: CallInfo, message: str, *, status: int, code: int | None = None, advice: str | None = None
    ) -> None:
        said = f"{message} (HTTP {status})" if code is None else f"{message} (code {code}, HTTP {status})"
        if advice is None and not self._uncertain:
            advice = _ADVICE.get(code or 0) or _ADVICE.get(status)
        super().__init__(call, said, advice=advice)
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

    With -1021, the timestamp was outside on arrival, although the clock had just been synchronised. With -5028, the
    timestamp was inside on arrival, but no longer when the matching engine checked it again.
    """

    _advice = "The latency to the exchange exceeds recv_window: allow a longer one, at most 60000 ms."


class RateLimited(ExchangeError):
    """A limit of the exchange was hit (HTTP 429, code -1003, or a page of its firewall).

    Attributes:
        retry_after: seconds to wait, as stated by the exchange; None if not stated.
        until: end of the ban as stated by the exchange, in seconds since the epoch; None if not stated or not banned.
        limit: the limit that was hit: all except "orders" close the gate.
    """

    _advice = "The gate is closed for every client of this IP until the limit resets. Call less often."
    _limit: ClassVar[LimitHit | None] = None

    def __init__(
        self,
        call: CallInfo,
        message: str,
        *,
        status: int,
        code: int | None = None,
        retry_after: float | None = None,
        until: float | None = None,
        uncertain: bool = False,
    ) -> None:
        # A gateway that failed cannot know whether it had forwarded a write.
        self._uncertain = uncertain
        # The firewall has its own counters, and its pages carry no code of the exchange.
        is_exchanges = status == 429 or (code is not None and code < 0)
        limit: LimitHit = "orders" if code == _TOO_MANY_ORDERS else "ip" if is_exchanges else "firewall"
        self.limit: LimitHit = self._limit or limit
        advice = (
            "Too many orders for this account: wait for the next minute." if self.limit == "orders" else self._advice
        )
        super().__init__(call, message, status=status, code=code, advice=advice)
        self.retry_after = retry_after
        self.until = until


class IpBanned(RateLimited):
    """The IP is banned (HTTP 418, or code -1003 with the end of the ban)."""

    _advice = "Stop everything on this IP until the ban ends: earlier requests make it longer. The gate is closed."
    _limit = "ban"


class NotDone(ExchangeError):
    """The exchange failed and says that nothing was executed."""

    _advice = "It is safe to try again in a moment."


class OutcomeUnknown(ExchangeError):
    """The exchange failed and cannot say whether a write was executed."""

    _advice = _TRY_AGAIN
    _uncertain = True


class InvalidResponse(PortfolioMarginError):
    """The response is not what the endpoint promises.

    Attributes:
        status: HTTP status.
    """

    sent = True
    _advice = "A proxy or gateway may have answered instead of Binance. Otherwise, update this package."
    _uncertain = True

    def __init__(self, call: CallInfo, what: str, *, status: int, advice: str | None = None) -> None:
        super().__init__(call, f"{what} (HTTP {status})", advice=advice)
        self.status = status


class DownloadFailed(PortfolioMarginError):
    """The file of a download was not received. Its id can still be used, for a day at least.

    Attributes:
        download_id: the id of the download.
        path: the file that was to be written.
        start_time: first millisecond of the file's range; None for an id that was requested before.
        end_time: last millisecond of the file's range; None for an id that was requested before.
    """

    sent = True

    def __init__(
        self,
        call: CallInfo,
        reason: str,
        *,
        download_id: str,
        path: Path,
        start_time: int | None = None,
        end_time: int | None = None,
    ) -> None:
        again = f"Continue with download_id={download_id!r}: a new id would use up another download of this month."
        super().__init__(call, reason, advice=again)
        self.download_id = download_id
        self.path = path
        self.start_time = start_time
        self.end_time = end_time

    def _fate(self) -> str:
        return "No file was written."


class HistoryIncomplete(PortfolioMarginError):
    """A history cannot be read or saved completely: it ends before a row is left out."""

    sent = True


_KEY_ADVICE: Final = (
    "Either the key is wrong, or this IP is not on its list, or a permission is missing. A key made before Portfolio "
    "Margin was enabled on the account never works here: create a new one, with the permission for Portfolio Margin. "
    "If the list has this machine's IPv4 address and the machine connects by IPv6, use IPv4 only: "
    "Session(local_address='0.0.0.0')."
)
_UNKNOWN_KEY_ADVICE: Final = (
    "The exchange does not know this API key: it is mistyped, deleted, or of another exchange, such as a testnet. "
    "Copy it again, or create a new one."
)
_IP_ADVICE: Final = "This IP address is not allowed: add it to the API key's list of IP addresses."
_KEY_KIND_ADVICE: Final = "The exchange does not accept this kind of key here: create a key of another kind."
_ACCOUNT_ADVICE: Final = (
    "The account is not a portfolio margin account, or not of the product of this endpoint "
    "(span_account is for Portfolio Margin Pro SPAN, pro_account for Portfolio Margin Pro). "
    "After it is enabled, create a new key: older ones never work."
)
PLACE_ADVICE: Final = "Binance does not serve the country of this IP address: connect from a country that it serves."
"""For HTTP 451, and for a web page that says the same."""

_ADVICE: Final = {
    -2011: (
        "The order is not open: it was filled, was cancelled, has expired, or has not arrived yet. "
        "`await client.resolve(error)` finds out which."
    ),
    -1005: _IP_ADVICE,
    -1011: _IP_ADVICE,
    -2008: _UNKNOWN_KEY_ADVICE,
    -2014: "The API key is mistyped or cut: it has 64 letters and digits. Copy it again.",
    -2015: _KEY_ADVICE,
    -1022: (
        "The secret does not belong to this API key, or the key is of another kind "
        "(HMAC, Ed25519, RSA) than the secret given."
    ),
    -2017: "The exchange has locked the API keys of this account: see its website.",
    -4056: _KEY_KIND_ADVICE,
    -4057: _KEY_KIND_ADVICE,
    -9000: _ACCOUNT_ADVICE,
    -21001: _ACCOUNT_ADVICE,
    451: PLACE_ADVICE,
    -5028: (
        "The request arrived in time, but reached the matching engine later than recv_window allows: the exchange is "
        "slow. Send it again, or allow a longer recv_window, at most 60000 ms."
    ),
}


def closes_gate(error: PortfolioMarginError | None) -> bool:
    """Return whether this error closes the gate of its origin, so that nothing is sent there for a while.

    A limit of the IP, a ban and a refusal by the firewall close the gate with any HTTP status. Code -1015 does not: the
    orders of one account are counted in their own pool, and the other accounts on the IP need not wait.
    """
    return isinstance(error, RateLimited) and error.limit != "orders"


def _restore(kind: type[PortfolioMarginError], args: tuple[Any, ...], state: dict[str, Any]) -> PortfolioMarginError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error
