"""What the exchange promises, as data: endpoints, limits and errors, with their sources.

Adding an endpoint is one row of ``ENDPOINTS`` and one answer in ``answers.py``.

Sources, all read 2026-11-21:

* weights, security and parameters: the page named beside each endpoint
* limits and signing of /papi: https://developers.binance.com/docs/derivatives/portfolio-margin/general-info
* limits and signing of /sapi: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/general-info
* codes and wording: https://developers.binance.com/docs/derivatives/portfolio-margin/error-code and
  https://developers.binance.com/docs/derivatives/portfolio-margin-pro/error-code
* wording with the IP in it, and the pages of 404: seen in public answers of the exchange
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Pool(NamedTuple):
    """One of the exchange's counters of weight."""

    limit: int
    """Weight a minute."""
    holder: Literal["IP", "UID"]
    """Whose weight is counted together: a client address or an account."""
    each_path: bool
    """Whether every path has a counter of its own."""
    headers: tuple[str, ...]
    """The headers that tell the weight used."""


_MBX_HEADERS = ("X-MBX-USED-WEIGHT", "X-MBX-USED-WEIGHT-1M")

POOLS: Mapping[str, Pool] = {
    "papi": Pool(6000, "IP", each_path=False, headers=_MBX_HEADERS),
    "api": Pool(6000, "IP", each_path=False, headers=_MBX_HEADERS),
    "sapi-ip": Pool(12_000, "IP", each_path=True, headers=("X-SAPI-USED-IP-WEIGHT-1M",)),
    "sapi-uid": Pool(180_000, "UID", each_path=True, headers=("X-SAPI-USED-UID-WEIGHT-1M",)),
}

# How refusals escalate is not published beyond "2 minutes to 3 days, growing": the tenth refusal in one minute is this
# exchange's own, strict, reading of "continuing to send requests after receiving 429". SAPI is treated alike.
OFFENCES_BEFORE_BAN = 10
FIRST_BAN_MINUTES = 2
LONGEST_BAN_MINUTES = 3 * 24 * 60

DEFAULT_RECV_WINDOW = 5_000
"""Milliseconds."""
MAX_RECV_WINDOW = 60_000
"""Milliseconds."""
MAX_AHEAD = 1_000
"""Milliseconds: a timestamp this far ahead of the exchange, or farther, is refused."""

API_KEY_PATTERN = "^[A-Za-z0-9]{64}$"


class Error(NamedTuple):
    """A refusal: a code and message as JSON, or a page where there is no code."""

    code: int | None
    status: int
    text: str
    """With the names of what varies in braces."""


NOT_FOUND = Error(None, 404, "<html><body><h2>404 Not found</h2></body></html>")
METHOD_NOT_ALLOWED = Error(None, 405, "<html><body><h2>405 Method Not Allowed</h2></body></html>")

TOO_MANY_REQUESTS = Error(
    -1003,
    429,
    "Too many requests; current limit of IP({ip}) is {limit} requests per minute."
    " Please use the websocket for live updates to avoid polling the API.",
)
TOO_MUCH_WEIGHT = Error(
    -1003,
    429,
    "Too much request weight used; current limit is {limit} request weight per 1 MINUTE."
    " Please use WebSocket Streams for live updates to avoid polling the API.",
)
BANNED = Error(
    -1003,
    418,
    "Way too many requests; IP({ip}) banned until {until}. Please use the websocket for live updates to avoid bans.",
)
BANNED_FOR_WEIGHT = Error(
    -1003,
    418,
    "Way too much request weight used; IP banned until {until}."
    " Please use WebSocket Streams for live updates to avoid bans.",
)

TIMESTAMP_TOO_OLD = Error(-1021, 400, "Timestamp for this request is outside of the recvWindow.")
TIMESTAMP_AHEAD = Error(-1021, 400, "Timestamp for this request was 1000ms ahead of the server's time.")
WRONG_SIGNATURE = Error(-1022, 400, "Signature for this request is not valid.")

ILLEGAL_CHARACTERS = Error(-1100, 400, "Illegal characters found in parameter '{name}'; legal range is '{pattern}'.")
TOO_MANY_PARAMETERS = Error(-1101, 400, "Too many parameters; expected '{expected}' and received '{received}'.")
DUPLICATE_PARAMETER = Error(-1101, 400, "Duplicate values for a parameter detected.")
MANDATORY_MISSING = Error(-1102, 400, "Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
UNREAD_PARAMETERS = Error(
    -1104, 400, "Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'."
)
EMPTY_PARAMETER = Error(-1105, 400, "Parameter '{name}' was empty.")
INVALID_RECV_WINDOW = Error(-1130, 400, "Data sent for parameter 'recvWindow' is not valid.")
BAD_RECV_WINDOW = Error(-1131, 400, "recvWindow must be less than 60000")

BAD_KEY_FORMAT = Error(-2014, 401, "API-key format invalid.")
REJECTED_KEY = Error(-2015, 401, "Invalid API-key, IP, or permissions for action.")
NOT_PORTFOLIO_MARGIN = Error(-21001, 400, "Request ID is not a Portfolio Margin Account.")


class Family(NamedTuple):
    """The first part of a path, whose endpoints refuse in the same words."""

    over_limit: Error
    banned: Error
    recv_window: Error
    not_enabled: Error
    """For an account without portfolio margin, or of another type than the endpoint serves."""


FAMILIES: Mapping[str, Family] = {
    "papi": Family(TOO_MANY_REQUESTS, BANNED, INVALID_RECV_WINDOW, REJECTED_KEY),
    "sapi": Family(TOO_MUCH_WEIGHT, BANNED_FOR_WEIGHT, BAD_RECV_WINDOW, NOT_PORTFOLIO_MARGIN),
    "api": Family(TOO_MUCH_WEIGHT, BANNED_FOR_WEIGHT, BAD_RECV_WINDOW, REJECTED_KEY),
}


def family_name(path: str) -> str:
    """The first part of a path, such as ``papi``; ``papi`` too where it is none of the families."""
    name = path.lstrip("/").partition("/")[0]
    return name if name in FAMILIES else "papi"


class Parameter(NamedTuple):
    """A parameter that an endpoint reads."""

    name: str
    pattern: str
    """What its characters must match."""
    mandatory: bool


LONG = "^[0-9]{1,20}$"

# The signature has no legal range of its own: whatever is wrong with it is -1022.
SIGNED: tuple[Parameter, ...] = (
    Parameter("recvWindow", LONG, mandatory=False),
    Parameter("timestamp", LONG, mandatory=True),
    Parameter("signature", "", mandatory=True),
)

AccountType = Literal["PM_1", "PM_2", "PM_3"]
"""PM_1 Portfolio Margin Pro, PM_2 Portfolio Margin, PM_3 Portfolio Margin Pro SPAN."""
ALL_TYPES: frozenset[AccountType] = frozenset({"PM_1", "PM_2", "PM_3"})


class Endpoint(NamedTuple):
    """What the exchange says of one endpoint."""

    method: str
    path: str
    weights: Mapping[str, int]
    """Weight charged, by the name of the pool."""
    parameters: tuple[Parameter, ...] = ()
    """``SIGNED`` and the endpoint's own for USER_DATA, its own alone for NONE."""
    account_types: frozenset[AccountType] = ALL_TYPES

    @property
    def signed(self) -> bool:
        """Whether it needs a key and a signature (USER_DATA)."""
        return SIGNED[-1] in self.parameters

    @property
    def family(self) -> Family:
        """The words of its refusals."""
        return FAMILIES[family_name(self.path)]


# Each row with its page, under https://developers.binance.com/docs/ (read 2026-11-21).
ENDPOINTS: tuple[Endpoint, ...] = (
    # derivatives/portfolio-margin/market-data
    Endpoint("GET", "/papi/v1/ping", {"papi": 1}),
    # On no page, yet it answers; its weight is what the used-weight header rises by (seen 2026-06-11).
    Endpoint("GET", "/papi/v1/time", {"papi": 1}),
    # derivatives/portfolio-margin/account/Account-Information
    Endpoint("GET", "/papi/v1/account", {"papi": 20}, SIGNED),
    # derivatives/portfolio-margin/account/Get-UM-Account-Detail-V2
    Endpoint("GET", "/papi/v2/um/account", {"papi": 5}, SIGNED),
    # derivatives/portfolio-margin-pro/account; by the page 5 for the IP, by the official SDK 9.1.0 5 for the UID.
    Endpoint("GET", "/sapi/v1/portfolio/account", {"sapi-ip": 5, "sapi-uid": 5}, SIGNED),
    # derivatives/portfolio-margin-pro/account/Get-Classic-Portfolio-Margin-Account-Info-V2; SPAN accounts only.
    Endpoint("GET", "/sapi/v2/portfolio/account", {"sapi-ip": 5}, SIGNED, frozenset({"PM_3"})),
    # binance-spot-api-docs/rest-api/general-endpoints
    Endpoint("GET", "/api/v3/ping", {"api": 1}),
    Endpoint("GET", "/api/v3/time", {"api": 1}),
)
