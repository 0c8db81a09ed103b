"""For the sections about what is refused before anything is sent: arguments, keys, addresses, the environment."""

# Imports that this module does not use are for the sections of messages.txt.
# pyright: reportUnusedImport=false
from __future__ import annotations

import asyncio
import base64
import copy
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import binance_pm
from binance_pm import Budget, Client, Session
from binance_pm.api import checks
from binance_pm.arguments import check
from binance_pm.budget import LimitType
from binance_pm.budget.shared import SharedBudget
from binance_pm.fleet import Fleet, Member, Publisher
from binance_pm.fleet.relay.subscribe import StreamReader
from binance_pm.sandbox import Exchange, Fault, SimulatedAccount, StreamFault, serve
from binance_pm.signing import Secret
from binance_pm.testing import running_sandbox
from binance_pm.transport.http import Timeouts
from tests.messages.stage import KEY, SECRET
from tests.support.raw_server import refusing_port

PEM = SimulatedAccount("account-01").ed25519.secret
_ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
_PRIVATE, _PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
ELLIPTIC = _ELLIPTIC.private_bytes(_PRIVATE, _PKCS8, serialization.NoEncryption()).decode()
LOCKED = _ELLIPTIC.private_bytes(_PRIVATE, _PKCS8, serialization.BestAvailableEncryption(b"x")).decode()
DER = base64.b64decode("".join(PEM.splitlines()[1:-1]))
HOME = "~nobody-of-this-name/file"
HTTP = httpx.MockTransport(lambda _: httpx.Response(200, json={}))
TYPES: list[tuple[object, Any]] = [
    (5, str),
    ("1", float),
    (True, int),
    (10**5000, int),
    (0, bool),
    (5, str | None),
    ("c", Literal["a", "b"]),
    (True, Literal[1]),
    ("green", LimitType),
    ("x", Callable[[], None]),
    (5, Callable[..., None] | None),
    ((1, 2, 3), tuple[int, int]),
    ("ab", Iterable[str]),
    (["a", 5], Iterable[str]),
    ((1, None), tuple[int, ...] | None),
    ({1: "a"}, Mapping[str, str]),
    ({"a": ["b", 2**70]}, Mapping[str, list[int]] | None),
    ([str], Iterable[str]),
    (iter([5]), list[str]),
    ("a", Secret),
    (str, Secret),
]
"""Values, and types that the values do not have."""


def base64_of(text: str) -> str:
    """Return the text in base64."""
    return base64.b64encode(text.encode()).decode()


def client(secret: Any = SECRET, key: Any = KEY, **options: Any) -> Client:
    """Make a client."""
    return Client(key, secret, **options)


def environment(**variables: str) -> Client:
    """Make a client from the environment."""
    return Client.from_env({f"BINANCE_PM_{name}": value for name, value in variables.items()})


async def opened(**options: Any) -> None:
    """Open a session."""
    async with Session(**options):
        pass


async def request(path: Any = "/papi/v1/x", method: Any = "GET", **more: Any) -> None:
    """Make a request."""
    given: dict[str, Any] = {"weight": 1, "returns": dict[str, Any], "security": "NONE"} | more
    async with client(label="desk", session=Session(http=HTTP, budget=Budget())) as desk:
        await desk.request(method, path, **given)


def fleet(**member: Any) -> Fleet:
    """Make a fleet of one member."""
    return Fleet([Member(client(label="desk"), **member)])


async def entered(*labels: str) -> None:
    """Open a fleet whose members have a budget each."""
    async with Fleet([Member(client(label=label, session=Session(budget=Budget()))) for label in labels]):
        pass


def occupied() -> None:
    """Start a sandbox on a port that is in use."""
    with refusing_port() as port, serve(Exchange(accounts=1), port=port):
        pass


async def slow() -> None:
    """Sign for too long."""

    async def never(_: bytes) -> str:
        await asyncio.sleep(math.inf)
        return ""

    session = Session(http=HTTP, budget=Budget(), timeouts=Timeouts(total=0.01))
    async with session, client(never, label="desk", session=session, attempts=1) as desk:
        await desk.span_account()


def types() -> list[str]:
    """Check values of a wrong type."""
    said: list[str] = []
    for value, hint in TYPES:
        try:
            check("it", value, hint)
        except ValueError as error:
            said.append(str(error))
    return said
