"""The documented rules of the exchange, as data: endpoints, limits and errors, with their sources.

Sources, all read 2026-11-21:

* weights, security and parameters: the page named beside each endpoint in ``facts.json`` (read 2026-11-29)
* limits and signing of /papi: https://developers.binance.com/docs/derivatives/portfolio-margin/general-info
* limits and signing of /sapi: https://developers.binance.com/docs/derivatives/portfolio-margin-pro/general-info
* codes and wording: https://developers.binance.com/docs/derivatives/portfolio-margin/error-code and
  https://developers.binance.com/docs/derivatives/portfolio-margin-pro/error-code
* wording that contains the IP, and the 404 page: seen in public responses of the exchange
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class WeightCounter(NamedTuple):
    """One of the exchange's counters of weight."""

    limit: int
    """Weight per minute."""
    holder: Literal["IP", "UID"]
    """The unit by which weight is counted: a client address or an account."""
    each_path: bool
    """Whether every path has its own counter."""
    headers: tuple[str, ...]
    """The headers that contain the weight used."""


_MBX_HEADERS = ("X-MBX-USED-WEIGHT", "X-MBX-USED-WEIGHT-1M")

POOLS: Mapping[str, WeightCounter] = {
    "papi": WeightCounter(6000, "IP", each_path=False, headers=_MBX_HEADERS),
    "papi-orders": WeightCounter(1200, "UID", each_path=False, headers=("X-MBX-ORDER-COUNT-1M",)),
    "api": WeightCounter(6000, "IP", each_path=False, headers=_MBX_HEADERS),
    # https://developers.binance.com/docs/derivatives/usds-margined-futures/general-info (read 2026-11-30)
    "fapi": WeightCounter(2400, "IP", each_path=False, headers=("X-MBX-USED-WEIGHT-1M",)),
    "sapi-ip": WeightCounter(12_000, "IP", each_path=True, headers=("X-SAPI-USED-IP-WEIGHT-1M",)),
    "sapi-uid": WeightCounter(180_000, "UID", each_path=True, headers=("X-SAPI-USED-UID-WEIGHT-1M",)),
}

# How refusals escalate is not published beyond "2 minutes to 3 days, growing": the tenth refusal in one minute is this
# exchange's own, strict, reading of "continuing to send requests after receiving 429". SAPI is treated in the same way.
OFFENCES_BEFORE_BAN = 10
FIRST_BAN_MINUTES = 2
LONGEST_BAN_MINUTES = 3 * 24 * 60

DEFAULT_RECV_WINDOW = 5_000
"""Milliseconds."""
MAX_RECV_WINDOW = 60_000
"""Milliseconds."""
MAX_AHEAD = 1_000
"""Milliseconds: a timestamp that is ahead of the exchange by this or more is refused."""

API_KEY_PATTERN = "^[A-Za-z0-9]{64}$"


class Error(NamedTuple):
    """A refusal: a code and message as JSON, or a web page if there is no code."""

    code: int | None
    status: int
    text: str
    """The text, with the names of variable parts in braces."""


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
TOO_MANY_ORDERS = Error(-1015, 429, "Too many new orders; current limit is {limit} orders per MINUTE.")
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
BAD_RECV_WINDOW = Error(-1131, 400, "recvWindow must be less than 60000")

INVALID_PARAMETER = Error(-1130, 400, "Data sent for parameter '{name}' is not valid.")
# By parameter: the error for a value that is not documented, instead of -1130.
WRONG_VALUES: Mapping[str, Error] = {
    "timeInForce": Error(-1115, 400, "Invalid timeInForce."),
    "stopLimitTimeInForce": Error(-1115, 400, "Invalid timeInForce."),
    "type": Error(-1116, 400, "Invalid orderType."),
    "strategyType": Error(-1116, 400, "Invalid orderType."),
    "side": Error(-1117, 400, "Invalid side."),
    "newOrderRespType": Error(-1136, 400, "Invalid newOrderRespType."),
    "workingType": Error(-4031, 400, "Invalid parameter working type: {value}"),
    "positionSide": Error(-4060, 400, "Invalid position side."),
}
ALGO_TYPES = frozenset({"STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"})
"""The types of order that moved to endpoints of their own."""
USE_ALGO_ORDERS = Error(
    -4120, 400, "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead."
)
CLIENT_ID_LENGTH = Error(-4015, 400, "Client order id length should not be more than 36 chars.")
LONGEST_CLIENT_ID = 36
INVALID_TIME_RANGE = Error(-1023, 400, "Start time is greater than end time.")
BAD_ASSET = Error(-1108, 400, "Invalid asset.")
BAD_SYMBOL = Error(-1121, 400, "Invalid symbol.")
INVALID_LEVERAGE = Error(-4028, 400, "Leverage {leverage} is not valid")

BAD_KEY_FORMAT = Error(-2014, 401, "API-key format invalid.")
REJECTED_KEY = Error(-2015, 401, "Invalid API-key, IP, or permissions for action.")
NOT_PORTFOLIO_MARGIN = Error(-21001, 400, "Request ID is not a Portfolio Margin Account.")


class Family(NamedTuple):
    """The first part of a path; its endpoints refuse with the same messages."""

    over_limit: Error
    banned: Error
    recv_window: Error
    """For a recvWindow that is too long."""
    not_enabled: Error
    """For an account without portfolio margin, or of another type than the endpoint serves."""


FAMILIES: Mapping[str, Family] = {
    "papi": Family(TOO_MANY_REQUESTS, BANNED, INVALID_PARAMETER, REJECTED_KEY),
    "sapi": Family(TOO_MUCH_WEIGHT, BANNED_FOR_WEIGHT, BAD_RECV_WINDOW, NOT_PORTFOLIO_MARGIN),
    "api": Family(TOO_MUCH_WEIGHT, BANNED_FOR_WEIGHT, BAD_RECV_WINDOW, REJECTED_KEY),
    "fapi": Family(TOO_MANY_REQUESTS, BANNED, INVALID_PARAMETER, REJECTED_KEY),
}


def family_name(path: str) -> str:
    """Return the first part of a path, such as ``papi``; also ``papi`` if it is not a known family."""
    name = path.lstrip("/").partition("/")[0]
    return name if name in FAMILIES else "papi"


class Parameter(msgspec.Struct, frozen=True):
    """The documented rules of one parameter."""

    type: str = "STRING"
    required: bool = False
    values: tuple[str, ...] = ()
    """The values of an ENUM."""
    pattern: str = ""
    """The characters that a STRING may have, if they are documented."""

    @property
    def legal(self) -> str:
        """The pattern that the value must match; empty if any value is allowed."""
        return self.pattern or _PATTERNS.get(self.type, "")


LONG = "^[0-9]{1,20}$"
_PATTERNS = {"LONG": LONG, "INT": LONG, "DECIMAL": r"^[0-9]{1,20}(\.[0-9]{1,20})?$", "BOOLEAN": "^(true|false)$"}

# The signature has no legal range: every wrong signature is -1022.
_SIGNED_PARAMETERS = {
    "recvWindow": Parameter("LONG"),
    "timestamp": Parameter("LONG", required=True),
    "signature": Parameter(required=True),
}

AccountType = Literal["PM_1", "PM_2", "PM_3"]
"""PM_1 Portfolio Margin Pro, PM_2 Portfolio Margin, PM_3 Portfolio Margin Pro SPAN."""
_ALL_TYPES: frozenset[AccountType] = frozenset({"PM_1", "PM_2", "PM_3"})
_ACCOUNT_TYPES: Mapping[str, frozenset[AccountType]] = {"span_account": frozenset({"PM_3"})}


class Weight(msgspec.Struct, frozen=True):
    """A weight that depends on which parameters are sent."""

    weight: int
    without: dict[str, int] = {}
    """By parameter, the weight of a call without it; the highest counts."""


class EndpointFacts(msgspec.Struct, frozen=True):
    """The documented rules of one endpoint."""

    name: str
    """The method of the client that calls it, such as ``um.open_orders``."""
    method: str
    path: str
    security: str
    weights: dict[str, int | Weight]
    """Weight charged, by type of limit: IP, UID, or ORDERS."""
    parameters: dict[str, Parameter]
    """The parameters, without those of the signature."""
    source: str
    """The documentation page."""

    @property
    def is_signed(self) -> bool:
        """Whether a request needs a key and a signature."""
        return self.security in {"USER_DATA", "TRADE", "MARGIN"}

    @property
    def needs_key(self) -> bool:
        """Whether a request needs a key."""
        return self.security != "NONE"

    @property
    def all_parameters(self) -> Mapping[str, Parameter]:
        """The parameters, including those of the signature."""
        return self.parameters | _SIGNED_PARAMETERS if self.is_signed else self.parameters

    @property
    def family(self) -> Family:
        """The family of the path, which determines the messages of refusals."""
        return FAMILIES[family_name(self.path)]

    @property
    def account_types(self) -> frozenset[AccountType]:
        """The types of account that may call the endpoint."""
        return _ACCOUNT_TYPES.get(self.name, _ALL_TYPES)

    def charges(self, parameters: Mapping[str, str]) -> dict[str, int]:
        """Return the weight of a request, by the name of the pool."""
        charged: dict[str, int] = {}
        for limit_type, weight in self.weights.items():
            if isinstance(weight, Weight):
                missing = [dear for name, dear in weight.without.items() if not parameters.get(name)]
                amount = max(missing, default=weight.weight)
            else:
                amount = weight
            charged[_POOL_NAMES[family_name(self.path), limit_type]] = amount
        return charged


_POOL_NAMES = {
    ("papi", "IP"): "papi",
    ("papi", "ORDERS"): "papi-orders",
    ("sapi", "IP"): "sapi-ip",
    ("sapi", "UID"): "sapi-uid",
    ("api", "IP"): "api",
    ("fapi", "IP"): "fapi",
}

_GENERAL = "https://developers.binance.com/docs/derivatives/portfolio-margin/general-info"
_FUTURES_STREAMS = "https://developers.binance.com/docs/derivatives/usds-margined-futures/user-data-streams"
_SPOT = "https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints"

ENDPOINTS: tuple[EndpointFacts, ...] = (
    *msgspec.json.decode(Path(__file__).with_name("facts.json").read_bytes(), type=tuple[EndpointFacts, ...]),
    # Not documented, but it responds; the weight is the increase of the used-weight header (seen 2026-06-11).
    EndpointFacts("server_time", "GET", "/papi/v1/time", "NONE", {"IP": 1}, {}, _GENERAL),
    EndpointFacts("pro_server_time", "GET", "/api/v3/time", "NONE", {"IP": 1}, {}, _SPOT),
    EndpointFacts("pro_ping", "GET", "/api/v3/ping", "NONE", {"IP": 1}, {}, _SPOT),
    # USD-M futures issues the listen key of Portfolio Margin Pro (read 2026-11-30).
    *(
        EndpointFacts(f"pro.{name}", method, "/fapi/v1/listenKey", "USER_STREAM", {"IP": 1}, {}, _FUTURES_STREAMS)
        for name, method in (
            ("create_listen_key", "POST"),
            ("keepalive_listen_key", "PUT"),
            ("close_listen_key", "DELETE"),
        )
    ),
)
"""Every live endpoint of Portfolio Margin and Portfolio Margin Pro (read 2026-11-29)."""
