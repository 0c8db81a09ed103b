"""Decides once what a response means: budget, retry and caller use the same result.

The exchange's own code decides, or the status if there is no code. If neither comes from the exchange, because a
gateway or firewall responded instead, the words of the page decide.

Sources:
    https://developers.binance.com/docs/derivatives/portfolio-margin/error-code (read 2026-11-21)
    https://developers.binance.com/docs/derivatives/portfolio-margin/general-info (read 2026-11-21)
    https://developers.binance.com/docs/derivatives/portfolio-margin-pro/error-code (read 2026-11-21)
    https://developers.binance.com/docs/binance-spot-api-docs/errors and
    https://developers.binance.com/docs/derivatives/usds-margined-futures/error-code, for codes that the pages of
    Portfolio Margin leave out
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from binance_pm.errors import (
    PLACE_ADVICE,
    AuthenticationError,
    CallInfo,
    ClockSkewError,
    ExchangeError,
    InvalidResponse,
    IpBanned,
    NotDone,
    OutcomeUnknown,
    PortfolioMarginError,
    RateLimited,
    RequestRejected,
)
from binance_pm.limits import USED_HEADERS, Feedback
from binance_pm.page import presentable, text_of
from binance_pm.transport.http import HttpResponse

_TOO_MUCH_WEIGHT: Final = -1003

# Codes whose class is not that of the status. For the exchange's other codes a 4xx means that the request is wrong.
_KINDS: Final[dict[int, type[ExchangeError]]] = {
    # Portfolio Margin, error-code; general-info decides if it says more about what was executed.
    -1000: OutcomeUnknown,  # UNKNOWN
    -1001: NotDone,  # DISCONNECTED: "Internal error; unable to process your request."
    -1002: AuthenticationError,  # UNAUTHORIZED
    _TOO_MUCH_WEIGHT: RateLimited,  # TOO_MANY_REQUESTS
    -1005: AuthenticationError,  # NO_SUCH_IP: not on the list
    -1006: OutcomeUnknown,  # UNEXPECTED_RESP
    -1007: OutcomeUnknown,  # TIMEOUT
    -1008: NotDone,  # request throttled by system-level protection
    -1011: AuthenticationError,  # NON_WHITE_LIST
    -1015: RateLimited,  # TOO_MANY_ORDERS
    -1021: ClockSkewError,  # INVALID_TIMESTAMP
    -1022: AuthenticationError,  # INVALID_SIGNATURE
    -2014: AuthenticationError,  # BAD_API_KEY_FMT
    -2015: AuthenticationError,  # REJECTED_MBX_KEY: key, IP or permission
    -4056: AuthenticationError,  # INVALID_API_KEY_TYPE
    -4057: AuthenticationError,  # INVALID_RSA_PUBLIC_KEY
    -5028: ClockSkewError,  # ME_RECVWINDOW_REJECT
    -5041: OutcomeUnknown,  # TOO_MANY_REQUESTS_IN_QUEUE
    51998: NotDone,  # SYSTEM_BUSY
    51999: OutcomeUnknown,  # UNKNOWN
    # Portfolio Margin Pro, error-code.
    -1099: AuthenticationError,  # not found, authenticated or authorized
    -3000: OutcomeUnknown,  # INNER_FAILURE of loans and repayments: what failed inside is not said
    -3007: NotDone,  # HAS_PENDING_TRANSACTION: an earlier loan or repayment is not finished
    -9000: AuthenticationError,  # USER_IS_NOT_UNIACCOUNT, as it was called before -21001
    -21001: AuthenticationError,  # USER_IS_NOT_UNIACCOUNT
    # Spot and USD-M futures, error codes.
    -2008: AuthenticationError,  # BAD_API_ID: "Invalid Api-Key ID."
    -2017: AuthenticationError,  # API_KEYS_LOCKED
}

# Two pages of the documentation give these codes different meanings; the text of the error shows which one applies.
_KINDS_BY_WORDS: Final[dict[int, tuple[str, type[ExchangeError]]]] = {
    # SERVER_BUSY of Portfolio Margin Pro; DUPLICATE_IP of Portfolio Margin.
    -1004: (r"\bbusy\b", NotDone),
    # USD-M futures: there is no depth for a price match, so no order was placed.
    -5041: (r"\bdepth\b", RequestRejected),
}

# Some errors of Portfolio Margin have positive codes (error-code, 51xxx); any other code from 0 on belongs to a success
# or to a gateway.
_POSITIVE_ERRORS: Final = range(51_000, 52_000)

# These statuses are clear, however long the page that comes with them.
_LIMITING: Final = {403, 418, 429}
# Statuses of a gateway that stopped waiting or was abandoned (408, 460, 499), or that keeps requests apart (409, 425):
# the gateway does not know the outcome of a request that it had forwarded. The exchange itself documents 409 for
# replacing a spot order, where 409 means that a part was executed. Therefore, with these statuses, only the exchange's
# codes that have a class of their own are trusted.
_UNCERTAIN: Final = {408, 409, 425, 460, 499}
_BAD_GATEWAY: Final = {502, 504}

# How many characters of a text are searched for words.
_MOST_READ: Final = 2000
# Patterns, which are compiled when a text is first searched.
# Every page of CloudFront mentions "too much traffic", so these words mean nothing.
_LIMIT_WORDS: Final = (
    r"too many (?:\w+ )?requests|rate (?:is |was )?(?:too high|exceeded)|\brate[ -]?limit|reduce your request rate"
    r"|requests? per (?:second|minute|hour)|\bbanned until \d"
)
# A limit of time or size says nothing about the number of requests, which is what a 503 limits.
_EXCEEDED_WORDS: Final = (
    r"exceed\w{0,5}[^.]{0,60}\b(?<!time )(?<!size )(?:limit|quota|rate|requests)\b"
    r"|\b(?<!time )(?<!size )(?:limit|quota) (?:\w+ ){0,3}(?:exceeded|reached)"
)
_PLACE_WORDS: Final = (
    r"\b(?:your|this|restricted|prohibited|unsupported) (?:country|region|location|jurisdiction|territory|area)\b"
    r"|\bcountry or region\b"
)


class Verdict(NamedTuple):
    """What a response means."""

    error: PortfolioMarginError | None
    """The error for the caller; None for a success, whose body the decoder may still find invalid."""
    feedback: Feedback
    """What the budget learns from the response."""


class _Said(msgspec.Struct, frozen=True):
    """The content of an error's body."""

    code: int | None
    """The code, if it is a whole number."""
    is_negative: bool
    """Whether the code is a number below zero, whole or not."""
    text: str

    def has(self, words: str) -> bool:
        """Return whether the pattern occurs in the part of the text that is searched."""
        return re.search(words, self.text[:_MOST_READ], re.IGNORECASE) is not None

    @property
    def is_of_exchange(self) -> bool:
        """Whether the code is one of the exchange's errors."""
        return self.code is not None and (self.code < 0 or self.code in _POSITIVE_ERRORS)


def classify(call: CallInfo, response: HttpResponse, counts: Iterable[str] = USED_HEADERS) -> Verdict:
    """Decide by status, headers and body whether a response is a success or an error, and what the budget learns.

    A success is also searched for a refusal by the exchange: a JSON object with an error code, whatever the status. A
    list is a value, even if it contains refusals: each item reports the outcome of one part.

    Args:
        call: the call, for the error.
        response: what the exchange has responded.
        counts: the headers whose counts the budget needs.
    """
    status, body = response.status, response.body
    used: dict[str, int] = {}
    for header in counts:
        if (count := response.used(header)) is not None:
            used[header] = count
    # Most responses end here. Searching from the end is three times as fast as from the start.
    if 200 <= status < 300 and body is not None and body.rfind(b'"code"') < 0:
        return Verdict(None, Feedback(status, used, response.date))
    error = _error(call, response)
    if not isinstance(error, RateLimited):
        return Verdict(error, Feedback(status, used, response.date))
    when = response.retry_in, response.retry_at, response.banned_until
    return Verdict(error, Feedback(status, used, response.date, error.limit, *when))


def unreadable(call: CallInfo, response: HttpResponse, reason: str) -> InvalidResponse:
    """Return the error for a success whose body is not what the endpoint promises."""
    what = f"unexpected response: {presentable(reason)}"
    return InvalidResponse(call, what, status=response.status)


def _error(call: CallInfo, response: HttpResponse) -> PortfolioMarginError | None:
    status = response.status
    if response.body is None and status not in _LIMITING:
        advice = "Give Session a larger max_body, if such a response is plausible."
        return InvalidResponse(call, "the response is longer than max_body allows", status=status, advice=advice)
    said = _said(response.body)
    if 200 <= status < 300 and not (said.is_of_exchange or said.is_negative):
        return None
    kind, code, message, wait = _kind(response, said), said.code, presentable(said.text), response.retry_after
    if 300 <= status < 400 and not (said.is_of_exchange and issubclass(kind, RateLimited)):
        return InvalidResponse(call, "the request was redirected, and redirects are not followed", status=status)
    if issubclass(kind, RateLimited):
        until = response.banned_until if kind is IpBanned else None
        if kind is IpBanned and until is None and response.date is not None and wait is not None:
            until = response.date + wait
        uncertain = (status >= 500 or status in _UNCERTAIN) and not said.is_of_exchange
        return kind(call, message, status=status, code=code, retry_after=wait, until=until, uncertain=uncertain)
    place = kind is RequestRejected and not said.is_of_exchange and said.has(_PLACE_WORDS)
    return kind(call, message, status=status, code=code, advice=PLACE_ADVICE if place else None)


def _kind(response: HttpResponse, said: _Said) -> type[ExchangeError]:
    status, code = response.status, said.code or 0
    if status == 418 or (code == _TOO_MUCH_WEIGHT and response.banned_until is not None):
        return IpBanned
    if status == 429:
        return RateLimited
    if not said.is_of_exchange:
        return _kind_of_gateway(response, said)
    words, other = _KINDS_BY_WORDS.get(code, ("", None))
    kind = other if words and said.has(words) else _KINDS.get(code)
    # Both classes invite a retry, but a gateway that lost the exchange cannot know that nothing was executed.
    if kind is None or (status in _BAD_GATEWAY and kind in {NotDone, ClockSkewError}):
        return _kind_of_status(status, said)
    return kind


def _kind_of_gateway(response: HttpResponse, said: _Said) -> type[ExchangeError]:
    """Return the class of an error without a code of the exchange."""
    status = response.status
    if status >= 400 and said.has(_LIMIT_WORDS):
        return IpBanned if response.banned_until is not None else RateLimited
    # The exchange's firewall blocks countries and clients that send too often: without a country, it is the latter.
    if (status == 503 and said.has(_EXCEEDED_WORDS)) or (status == 403 and not said.has(_PLACE_WORDS)):
        return RateLimited
    # A success with a code below zero that is not one of the exchange's.
    return OutcomeUnknown if 200 <= status < 300 else _kind_of_status(status, said)


def _kind_of_status(status: int, said: _Said) -> type[ExchangeError]:
    if status == 401:
        return AuthenticationError
    if 200 <= status < 500 and status not in _UNCERTAIN:
        return RequestRejected
    # Only the exchange knows that nothing was executed. A gateway says the same without knowing, but as plain text,
    # without a code, or with the status as the code; the exchange's codes are not positive here.
    is_known = said.code is not None and said.code <= 0 and said.text.startswith("Service Unavailable")
    return NotDone if status == 503 and is_known else OutcomeUnknown


class _Refusal(msgspec.Struct):
    code: msgspec.Raw = msgspec.Raw(b"null")
    msg: msgspec.Raw = msgspec.Raw(b"null")
    message: msgspec.Raw = msgspec.Raw(b"null")


_REFUSAL: Final = msgspec.json.Decoder(_Refusal)
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# A whole number, or its text; no code of the exchange is longer.
_WHOLE: Final = rb'"?\s*(-?\d{1,18})(?:\.0{1,18})?\s*"?'
_BELOW_ZERO: Final = rb'"?\s*-[0.]*[1-9]'


def _said(body: bytes | None) -> _Said:
    if body is None:
        return _Said(None, is_negative=False, text="a response that is longer than max_body allows")
    try:
        refusal = _REFUSAL.decode(body.removeprefix(_BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        return _Said(None, is_negative=False, text=text_of(body))
    code = bytes(refusal.code)
    whole = re.fullmatch(_WHOLE, code)
    text = (_text(refusal.msg) or _text(refusal.message)).strip()
    return _Said(int(whole[1]) if whole else None, re.match(_BELOW_ZERO, code) is not None, text)


def _text(value: msgspec.Raw) -> str:
    """Return a JSON text, or an empty text for null or another type: the code alone says what happened."""
    try:
        return msgspec.json.decode(bytes(value).decode(errors="replace"), type=str)
    except ValueError:
        return ""
