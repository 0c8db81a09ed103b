"""What is refused before anything is sent: arguments, keys, addresses, the environment."""

from __future__ import annotations

import asyncio
import base64
import copy
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from binance_pm import Budget, Client, Session
from binance_pm.arguments import check
from binance_pm.budget import LimitType
from binance_pm.budget.shared import SharedBudget
from binance_pm.fleet import Fleet, Member, Publisher
from binance_pm.fleet.relay.subscribe import StreamReader
from binance_pm.sandbox import Account, Exchange, Fault, serve
from binance_pm.signing import Secret
from binance_pm.testing import running_sandbox
from binance_pm.transport.http import Timeouts
from tests.messages.stage import KEY, SECRET, Scenario, Stage
from tests.support.raw_server import refusing_port

PEM = Account("account-01").ed25519.secret
_ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
_PRIVATE, _PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
ELLIPTIC = _ELLIPTIC.private_bytes(_PRIVATE, _PKCS8, serialization.NoEncryption()).decode()
LOCKED = _ELLIPTIC.private_bytes(_PRIVATE, _PKCS8, serialization.BestAvailableEncryption(b"x")).decode()
DER = base64.b64decode("".join(PEM.splitlines()[1:-1]))
HOME = "~nobody-of-this-name/file"


def client(secret: Any = SECRET, key: Any = KEY, **options: Any) -> Scenario:
    """A client that cannot be made."""
    return lambda _: Client(key, secret, **options)


def session(**options: Any) -> Scenario:
    """A session that cannot be made."""
    return lambda _: Session(**options)


def opened(environment: dict[str, str] | None = None, **options: Any) -> Scenario:
    """A session that cannot be opened."""

    async def act() -> None:
        async with Session(**options):
            pass

    def scenario(stage: Stage) -> Any:
        for name, value in (environment or {}).items():
            stage.patch.setenv(name, value)
        return act()

    return scenario


def request(
    path: Any = "/papi/v1/x", method: Any = "GET", *, options: dict[str, Any] | None = None, **more: Any
) -> Scenario:
    """A request that cannot be made."""
    given: dict[str, Any] = {"weight": 1, "returns": dict[str, Any], "security": "NONE"} | more

    async def act() -> None:
        http = httpx.MockTransport(lambda _: httpx.Response(200, json={}))
        async with Client(
            KEY, SECRET, label="desk", session=Session(http=http, budget=Budget()), **(options or {})
        ) as desk:
            await desk.request(method, path, **given)

    return lambda _: act()


def environment(**variables: str) -> Scenario:
    """A client from the environment."""
    return lambda _: Client.from_env({f"BINANCE_PM_{name}": value for name, value in variables.items()})


def proxy(url: str) -> Scenario:
    """A session with a proxy that cannot be used."""
    return lambda _: Session(proxy=url)


def file_of(content: str | bytes, mode: int = 0o600, **options: Any) -> Scenario:
    """A client with a private key in a file."""
    return lambda stage: Client(KEY, stage.file(content, mode=mode), **options)


def made(make: Callable[[], object]) -> Scenario:
    """Something that cannot be made."""
    return lambda _: make()


def without(module: str, make: Callable[[], object]) -> Scenario:
    """Something that cannot be made without an extra."""

    def scenario(stage: Stage) -> object:
        stage.without(module)
        return make()

    return scenario


def members(*given: Any, **options: Any) -> Scenario:
    """A fleet that cannot be made."""
    return lambda _: Fleet([Member(Client(KEY, SECRET, label=label), **more) for label, more in given], **options)


def entered(labels: list[str]) -> Scenario:
    """A fleet that cannot be opened."""

    async def act() -> None:
        async with Fleet(
            [Member(Client(KEY, SECRET, label=label, session=Session(budget=Budget()))) for label in labels]
        ):
            pass

    return lambda _: act()


def occupied(_: Stage) -> None:
    """A sandbox on a port that is in use."""
    with refusing_port() as port, serve(Exchange(accounts=1), port=port):
        pass


def slow(_: Stage) -> object:
    """A signature that takes too long."""

    async def never(_: bytes) -> str:
        await asyncio.sleep(math.inf)
        return ""

    async def act() -> None:
        http = httpx.MockTransport(lambda _: httpx.Response(200, json={}))
        async with (
            Session(http=http, budget=Budget(), timeouts=Timeouts(total=0.01)) as one,
            Client(KEY, never, label="desk", session=one, attempts=1) as desk,
        ):
            await desk.span_account()

    return act()


CLIENT: dict[str, Scenario] = {
    "client.label": client(label=1),
    "client.passphrase alone": client(None, passphrase="x"),
    "client.passphrase of no key": client(passphrase="x"),
    "client.secret of another type": client(7),
    "client.secret a class": client(str),
    "client.secret a folder": lambda stage: Client(KEY, stage.folder),
    "client.key empty": client(key=" "),
    "client.key a PEM": client(key=PEM),
    "client.key quoted": client(key=f'"{KEY}"'),
    "client.key a placeholder": client(key="<your-key>"),
    "client.key spaced": client(key=f"{KEY[:20]} {KEY[20:]}"),
    "client.secret in DER": client(DER),
    "client.secret in base64": client(base64.b64encode(PEM.encode()).decode()),
    "client.secret twice in base64": client(base64.b64encode(base64.b64encode(PEM.encode())).decode()),
    "client.secret without lines": client("".join(PEM.splitlines()[1:-1])),
    "client.secret without BEGIN": client("\n".join(PEM.splitlines()[1:])),
    "client.secret a path": client("/keys/desk.pem"),
    "client.private key elliptic": client(ELLIPTIC),
    "client.private key locked": client(LOCKED),
    "client.private key of another passphrase": client(LOCKED, passphrase="y"),
    "client.private key not locked": client(PEM, passphrase="x"),
    "client.private key of OpenSSH": client(
        "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"
    ),
    "client.private key unreadable": client("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
    "client.private key twice": client(f"{PEM}\n{PEM}"),
    "client.private key public": client("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
    "client.private key without an extra": without("cryptography.hazmat.primitives", lambda: Client(KEY, PEM)),
    "client.file empty": file_of(""),
    "client.file in DER": file_of(DER),
    "client.file for everybody": file_of(PEM, 0o644),
    "client.file for everybody, read-only": file_of(PEM, 0o444),
    "client.file for its group": file_of(PEM, 0o640),
    "client.file too large": file_of("x" * 70_000),
    "client.file missing": lambda stage: Client(KEY, stage.folder / "nothing"),
    "client.file with a null character": client(Path("a\0b")),
    "client.file of no home": client(Path(HOME)),
    "client.prefix": client(client_order_id_prefix="desk 1"),
    "client.prefix of the exchange": client(client_order_id_prefix="web_1"),
    "client.recv_window": client(recv_window=60_001),
    "client.max_wait": client(max_wait=-1.0),
    "client.papi_url with a user": client(papi_url="https://me:secret@papi.binance.com"),
    "client.papi_url no URL": client(papi_url="papi"),
    "client.papi_url with a path": client(papi_url="https://papi.binance.com/papi"),
    "client.papi_url in the clear": client(papi_url="http://papi.binance.com"),
    "client.sapi_url of another host": client(sapi_url="https://example.com"),
    "client.copied": lambda _: copy.copy(Client()),
    "secret.copied": lambda _: copy.copy(Secret("x")),
    "secret.state": lambda _: Secret("x").__getstate__(),
    "environment.nothing": environment(),
    "environment.no secret": environment(API_KEY=KEY),
    "environment.two secrets": environment(API_KEY=KEY, API_SECRET=SECRET, PRIVATE_KEY_FILE="key.pem"),
    "environment.engine": lambda stage: (stage.patch.setenv("BINANCE_PM_ENGINE", "fast"), Session()),
    "package.name": lambda _: __import__("binance_pm").nothing,
    "budget.module name": lambda _: __import__("binance_pm.budget").budget.nothing,
    "session.module name": lambda _: __import__("binance_pm.session").session.nothing,
}

REQUEST: dict[str, Scenario] = {
    "request.method": request(method="HEAD"),
    "request.security": request(security="ANY"),
    "request.priority": request(priority=7),
    "request.weight": request(weight=0),
    "request.repeat": request(repeat="often"),
    "request.path of no family": request("/api"),
    "request.path with a character": request("/papi/v1/x?y"),
    "request.path with dots": request("/papi/../x"),
    "request.weight of another family": request(weight={LimitType.UID: 5}),
    "request.weight none": request(weight={}),
    "request.weight of no limit": request(weight={"REQUESTS": 5}),
    "request.returns": request(returns=Timeouts | Fault),
    "request.params no mapping": request(params=["x"]),
    "request.params name": request(params={1: "x"}),
    "request.params added": request(params={"timestamp": 1, "signature": "x"}),
    "request.params float": request(params={"quantity": 1.5}),
    "request.params of another type": request(params={"quantity": ["1"]}),
    "request.params without time zone": request(params={"startTime": datetime(2026, 11, 1)}),  # noqa: DTZ001
    "request.params not finite": request(params={"quantity": Decimal("NaN")}),
    "request.params too many digits": request(params={"quantity": Decimal("1E+2000")}),
    "request.params not Unicode": request(params={"symbol": "\ud800"}),
    "request.params too long": request(params={"symbol": "x" * 60_001}),
    "request.params recvWindow": request(params={"recvWindow": 0}),
}

SESSION: dict[str, Scenario] = {
    "session.engine": session(engine="fast"),
    "session.http and proxy": session(http=httpx.MockTransport(lambda _: httpx.Response(200)), trust_env=True),
    "session.http and local_address": session(
        http=httpx.MockTransport(lambda _: httpx.Response(200)), local_address="::"
    ),
    "session.max_body": session(max_body=0),
    "session.pins": session(pins=["aa"]),
    "session.local_address": session(local_address="here"),
    "session.timeouts": session(timeouts=Timeouts(read=0)),
    "session.timeouts of another type": session(timeouts=Timeouts(read="1")),  # type: ignore[arg-type]
    "session.proxy": session(proxy=7),
    "session.engine with http": opened(engine="direct", http=httpx.MockTransport(lambda _: httpx.Response(200))),
    "session.engine with proxy": opened(engine="direct", proxy="http://proxy:1"),
    "session.engine of the environment": opened({"BINANCE_PM_ENGINE": "direct"}, trust_env=True),
    "session.engine not installed": lambda stage: (stage.without("httptools"), opened(engine="direct")(stage))[1],
    "session.pins with proxy": opened(pins=["aa" * 32], proxy="http://proxy:1"),
    "session.pins with httpx": opened(pins=["aa" * 32], engine="httpx"),
    "session.certificates": opened({"SSL_CERT_FILE": "/nothing"}, trust_env=True),
    "proxy.empty": proxy(""),
    "proxy.space": proxy("http://a b"),
    "proxy.no scheme": proxy("proxy:1"),
    "proxy.scheme": proxy("ftp://proxy"),
    "proxy.user": proxy("http://me:p@ss@proxy:1"),
    "proxy.path": proxy("http://proxy:1/x"),
    "proxy.no host": proxy("http://:1"),
    "proxy.brackets": proxy("http://[1.2.3.4]:1"),
    "proxy.host": proxy("http://a!b:1"),
    "proxy.hosts": proxy("http://a:b:c"),
    "proxy.port": proxy("http://proxy:0"),
    "proxy.socks": without("socksio", lambda: Session(proxy="socks5://proxy")),
    "proxy.of the environment": opened({"https_proxy": "http://proxy:0"}, trust_env=True),
    "proxy.exemption scheme": opened({"https_proxy": "http://proxy:1", "no_proxy": "ftp://x"}, trust_env=True),
    "proxy.exemption name": opened({"https_proxy": "http://proxy:1", "no_proxy": "a:b:c"}, trust_env=True),
    "proxy.exemption with a user": opened({"https_proxy": "http://proxy:1", "no_proxy": "a@b"}, trust_env=True),
}

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
"""Values, and the types that they are not of."""


def types(_: Stage) -> object:
    """Values of a wrong type."""
    said: list[object] = []
    for value, hint in TYPES:
        try:
            check("it", value, hint)
        except ValueError as error:
            said.append(str(error))
    return said


OTHERS: dict[str, Scenario] = {
    "argument.types": types,
    "budget.limit": made(lambda: Budget(limits={("papi", LimitType.UID): 1})),
    "budget.minute": made(lambda: Budget(minute=0.0)),
    "budget.instances": made(lambda: Budget(instances=0)),
    "budget.small limit": made(lambda: Budget(limits={("papi", LimitType.IP): 10}, instances=4)),
    "budget.bans": made(lambda: Budget(bans=Path(HOME))),
    "budget.plan": made(lambda: Budget().plan(0, 1.0, [])),
    "budget.shared": made(lambda: SharedBudget("redis://localhost", name="")),
    "budget.shared without an extra": without("redis", lambda: SharedBudget("redis://localhost")),
    "store.URL": made(lambda: SharedBudget("redis://localhost?nothing=1")),
    "store.password": made(lambda: SharedBudget("redis://me:p@ss@localhost")),
    "store.database of a cluster": made(lambda: SharedBudget("redis+cluster://localhost/1")),
    "publisher.length": made(lambda: Publisher("redis://localhost", length=0)),
    "publisher.shard": made(lambda: Publisher("redis://localhost", shard=(3, 2))),
    "publisher.stream": made(lambda: Publisher("redis://localhost", stream="a b")),
    "subscriber.group": made(lambda: StreamReader("redis://localhost", group="")),
    "fleet.pace": members(floor=5.0, ceiling=1.0),
    "fleet.members": made(lambda: Fleet([1])),  # type: ignore[list-item]
    "fleet.member of a generator": made(lambda: Fleet(one for one in [1])),  # type: ignore[misc]
    "fleet.label twice": members(("desk", {}), ("desk", {})),
    "fleet.member.read": members(("desk", {"read": ("ping",)})),
    "fleet.member.read twice": members(("desk", {"read": ("account", "account")})),
    "fleet.member.read without a headline": members(("desk", {"read": ("um_account",)})),
    "fleet.member.product": members(("desk", {"product": "spot"})),
    "fleet.member.warn": members(("desk", {"warn": "0"})),
    "fleet.member.warn no number": members(("desk", {"warn": "much"})),
    "fleet.member.warn of another type": members(("desk", {"warn": 1.5})),
    "fleet.member.alarm above warn": members(("desk", {"warn": "1.2", "alarm": "1.5"})),
    "fleet.no accounts": entered([]),
    "fleet.several budgets": entered(["one", "two"]),
    "fleet.home of no file": made(lambda: Fleet.from_toml(HOME)),
    "sandbox.fault of two kinds": made(lambda: Fault(skew=1.0, status=500)),
    "sandbox.fault times": made(lambda: Fault(times=0)),
    "sandbox.pool": made(lambda: Exchange(limits={"spot": 1})),
    "sandbox.public HMAC key": made(lambda: Account("account-01").hmac.public_pem),
    "sandbox.host": made(lambda: serve(Exchange(accounts=1), host="0.0.0.0").__enter__()),  # noqa: S104
    "sandbox.port": occupied,
    "sandbox.minute": made(lambda: running_sandbox(minute=0.0).__enter__()),
    "sandbox.limits": made(lambda: running_sandbox(limits={"spot": 1}).__enter__()),
    "signing.slow": slow,
}
SCENARIOS = CLIENT | REQUEST | SESSION | OTHERS
