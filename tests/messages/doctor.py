"""What `binance-pm doctor` finds, and what it advises."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from binance_pm import Budget, Client, GateClosed, NoResponse, Session
from binance_pm.doctor import Check, Target, examine, target_from_environment, targets_from_file
from binance_pm.doctor.account import check_account, check_permissions, check_product
from binance_pm.doctor.clock import check_clock
from binance_pm.doctor.key import check_key
from binance_pm.doctor.limits import check_budget, check_limits
from binance_pm.doctor.network import check_network, network_path
from binance_pm.endpoint import ENDPOINTS
from binance_pm.errors import AuthenticationError, CallInfo, RateLimited
from binance_pm.signing import Secret
from binance_pm.testing import sandbox
from tests.messages.arguments import ELLIPTIC, LOCKED, PEM
from tests.messages.fleet import ACCOUNT, ENV
from tests.messages.responses import client_of, in_the_clear, tls_server
from tests.messages.stage import KEY, SECRET, Scenario, Stage
from tests.support.clocks import FakeClock
from tests.support.paths import SAMPLES
from tests.support.raw_server import answering, refusing_port, serve_raw, silent
from tests.support.tls_server import make_certificate

SHORT_RSA = (
    rsa.generate_private_key(65537, 1024)  # noqa: S505 - too short on purpose
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    .decode()
)


def target(api_key: str = KEY, secret: str = SECRET, **options: Any) -> Target:
    """An account."""
    return Target(label="desk", origin="here", api_key=Secret(api_key), secret=Secret(secret), **options)


def key(api_key: str = KEY, secret: str = SECRET, **options: Any) -> Scenario:
    """What is seen of a key."""
    return lambda _: check_key(target(api_key, secret, **options))


def environment(**variables: str) -> Scenario:
    """What is wrong with the keys of the environment."""
    return lambda _: target_from_environment({f"BINANCE_PM_{name}": value for name, value in variables.items()})


def sample(name: str, **changes: object) -> Any:
    """A response of an endpoint, as its sample has it, with some fields changed."""
    body = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))["answer"] | changes
    return ENDPOINTS[name].decode(json.dumps(body).encode())


def error(endpoint: str, code: int, kind: Any = AuthenticationError) -> Any:
    """A refusal by the exchange."""
    return kind(CallInfo(endpoint, "desk"), "the exchange's own words", status=400, code=code)


LOST = NoResponse(CallInfo("account", "desk"), "no answer")
CLOSED = GateClosed(CallInfo("account", "desk"), "the gate is closed", until=1_800_000_100.0, banned=False)
PRODUCTS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "works": ({"account": sample("account"), "span_account": error("span_account", -21001)}, {}),
    "no Portfolio Margin": ({"account": error("account", -21001)}, {"read": ("account",)}),
    "key refused": ({"account": error("account", -2015)}, {"read": ("account",)}),
    "other refusal": ({"account": error("account", -1022)}, {"read": ("account",)}),
    "waiting": ({"account": CLOSED}, {"read": ("account",)}),
    "another product": ({"pro_account": sample("pro_account")}, {"product": "pm", "read": ("pro_account",)}),
    "another product refused": (
        {"account": error("account", -21001), "span_account": sample("span_account")},
        {"product": "pm", "read": ("account",)},
    ),
    "a part lost": (
        {"account": sample("account"), "um_account": LOST},
        {"product": "pm", "read": ("account", "um_account")},
    ),
    "margin call": ({"account": sample("account", accountStatus="MARGIN_CALL", uniMMR="1.3")}, {"read": ("account",)}),
}


def of_account(answers: dict[str, Any], options: dict[str, Any]) -> Scenario:
    """What the responses of an account tell."""
    looked_at = target(**options)
    return lambda _: [look(looked_at, answers) for look in (check_permissions, check_product, check_account)]


async def clock(ahead: float, *, status: int = 200, slow: float = 1.0) -> object:
    """This machine's clock beside the exchange's."""
    respond = partial(httpx.Response, status, json={"serverTime": 1_800_000_000_000})
    async with client_of(httpx.MockTransport(lambda _: respond()), FakeClock()) as desk:
        now = 1_800_000_000.0 + ahead
        return (await check_clock(desk, "host", is_papi=True, wall=lambda: now, slow=slow))[0]


async def limits(used: int, status: int = 200, **headers: str) -> object:
    """What is told of the budget after one call of the weight 20."""
    told = {"x-mbx-used-weight-1m": str(used), "date": "Fri, 15 Jan 2027 08:00:10 GMT"} | headers
    now = FakeClock()
    made = Budget(monotonic=now, wall=now, sleep=now.sleep)
    transport = httpx.MockTransport(lambda _: httpx.Response(status, headers=told, json={}))
    async with Client(KEY, SECRET, session=Session(http=transport, budget=made), attempts=1) as desk:
        with suppress(RateLimited):
            await desk.request("GET", "/papi/v1/x", weight=20, returns=dict[str, Any])
        origin = desk.origin(ENDPOINTS["account"])
    return [
        check_budget(made, is_heard=True),
        check_limits(made, {origin: "papi.binance.com"}, weight=20, is_heard=True),
    ]


def unheard(_: Stage) -> object:
    """A budget that was told nothing."""
    return [check_budget(Budget(), is_heard=False), check_limits(Budget(), {}, weight=0, is_heard=False)]


async def network(
    url: str, tls: ssl.SSLContext | None = None, *, trust_env: bool = False, seconds: float = 5
) -> object:
    """The path to a host."""
    route = network_path(url, trust_env=trust_env)
    return list(await check_network(route, tls or ssl.create_default_context(), seconds=seconds))


async def without_handshake() -> object:
    """A server that never answers a greeting of TLS."""
    with serve_raw(silent) as server:
        return await network(server.url.replace("http:", "https:"), seconds=0.2)


def reaching(stage: Stage, scheme: str = "http", **environment: str) -> object:
    """A server of this machine that closes what is opened."""
    for name, value in environment.items():
        stage.patch.setenv(name, value)

    async def act() -> object:
        with serve_raw(silent if scheme == "http" else in_the_clear) as server:
            return await network(server.url.replace("http:", f"{scheme}:"))

    return act()


def unreachable(stage: Stage, host: str = "https://127.0.0.1", **environment: str) -> object:
    """A port where nothing listens, or a proxy there."""

    async def act() -> object:
        with refusing_port() as port:
            for name, value in environment.items():
                stage.patch.setenv(name, value.format(port=port))
            return await network(f"{host}:{port}", trust_env=bool(environment) and host != "https://127.0.0.1")

    return act()


def proxied(stage: Stage, answer: bytes) -> object:
    """A proxy that opens no tunnel."""

    async def act() -> object:
        with serve_raw(answering(answer)) as server:
            stage.patch.setenv("https_proxy", server.url)
            return await network("https://papi.binance.com", trust_env=True)

    return act()


def certified(stage: Stage, *, trusted: bool = True, **options: Any) -> object:
    """A server that shows a certificate."""
    file = make_certificate(stage.folder, **options)
    tls = ssl.create_default_context(cafile=str(file) if trusted else None)

    async def act() -> object:
        with serve_raw(silent, tls=tls_server(file)) as server:
            return await network(server.url, tls)

    return act()


async def examined(*targets: Target | Check, url: str = "", **options: Any) -> list[Check]:
    """A whole examination of an address where nothing listens."""
    told: list[Check] = []
    with refusing_port() as port:
        place = url or f"http://127.0.0.1:{port}"
        await examine(targets, told.append, papi_url=place, sapi_url=place, budget=Budget(), **options)
    return told


async def in_time() -> object:
    """An examination that has no time left."""
    with serve_raw(silent) as server:
        return await examined(target(), url=server.url, seconds=0.0)


def proxy_of_environment(stage: Stage) -> object:
    """A proxy that cannot be used."""
    stage.patch.setenv("https_proxy", "http://proxy:0")
    return examined(target(), url="https://papi.binance.com", trust_env=True)


def certificates_of_environment(stage: Stage) -> object:
    """Certificates that cannot be read."""
    stage.patch.setenv("SSL_CERT_FILE", "/nothing")
    return examined(target(), trust_env=True)


def unresolved(stage: Stage) -> object:
    """A name that does not exist."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(-2, "x")

    stage.patch.setattr(socket, "getaddrinfo", fail)
    return network("https://papi.example")


def over_tls(stage: Stage) -> object:
    """A proxy that speaks TLS itself."""

    async def act() -> object:
        with serve_raw(silent) as server:
            stage.patch.setenv("https_proxy", server.url.replace("http:", "https:"))
            return await network("https://papi.binance.com", trust_env=True)

    return act()


def unexpected(stage: Stage) -> object:
    """An account at which something fails that should not."""

    async def fail(*_: object) -> NoReturn:
        raise ZeroDivisionError

    stage.patch.setattr("binance_pm.doctor.account.ask", fail)

    async def act() -> object:
        async with sandbox(accounts=1) as pm:
            said = await examined(target(), url=pm.base_url)
        return [check for check in said if check.name in {"permissions", "account"}]

    return act()


KEYS: dict[str, Scenario] = {
    "HMAC": key(),
    "Ed25519": key(secret=PEM),
    "short secret": key(secret="s" * 63),
    "short RSA": key(secret=SHORT_RSA),
    "API key a PEM": key(PEM),
    "API key quoted": key(f"'{KEY}'"),
    "API key with a line end": key(f"{KEY}\n"),
    "API key not ASCII": key("ü" * 64),
    "API key with a sign": key("-" * 64),
    "API key short": key("k" * 63),
    "secret inside a PEM": key(secret="MC4CAQAwBQYDK2VwBCIE"),
    "secret a path": key(secret="/keys/desk"),
    "secret the API key": key(secret=KEY),
    "private key public": key(secret="-----BEGIN PUBLIC KEY-----", is_private_key=True),
    "private key no PEM": key(secret="x", is_private_key=True),
    "private key elliptic": key(secret=ELLIPTIC),
    "private key locked": key(secret=LOCKED),
}
SCENARIOS: dict[str, Scenario] = {
    **{f"doctor.key {name}": scenario for name, scenario in KEYS.items()},
    "doctor.environment empty": environment(),
    "doctor.environment twice": environment(API_KEY=KEY, API_SECRET=SECRET, PRIVATE_KEY_FILE="x"),
    "doctor.environment file": environment(API_KEY=KEY, PRIVATE_KEY_FILE="/nothing"),
    "doctor.file": lambda stage: targets_from_file(stage.file(f"{ACCOUNT}x = 1"), ENV),
    "doctor.file key": lambda stage: targets_from_file(stage.file(ACCOUNT), {}),
    **{f"doctor.account {name}": of_account(*given) for name, given in PRODUCTS.items()},
    "doctor.clock right": lambda _: clock(0.0),
    "doctor.clock slow": lambda _: clock(0.0, slow=-1.0),
    "doctor.clock ahead": lambda _: clock(3.0),
    "doctor.clock behind": lambda _: clock(-9.0),
    "doctor.clock unheard": lambda _: clock(0.0, status=500),
    "doctor.limits no external usage": lambda _: limits(20),
    "doctor.limits external usage": lambda _: limits(1000),
    "doctor.limits much external usage": lambda _: limits(4000),
    "doctor.limits refused": lambda _: limits(20, 429, **{"retry-after": "30"}),
    "doctor.limits banned": lambda _: limits(20, 418, **{"retry-after": "120"}),
    "doctor.limits unheard": unheard,
    "doctor.network plain": reaching,
    "doctor.network no TLS": lambda stage: reaching(stage, "https"),
    "doctor.network no handshake": lambda _: without_handshake(),
    "doctor.network proxy not used": lambda stage: reaching(stage, https_proxy="http://proxy:1"),
    "doctor.network refused": unreachable,
    "doctor.network refused beside a proxy": lambda stage: unreachable(stage, https_proxy="http://proxy:1"),
    "doctor.network refused by a proxy": lambda stage: unreachable(
        stage, "https://papi.binance.com", https_proxy="http://127.0.0.1:{port}"
    ),
    "doctor.network unresolved": unresolved,
    "doctor.network proxy with TLS": over_tls,
    "doctor.network tunnel refused": lambda stage: proxied(stage, b"HTTP/1.1 407 No\r\n\r\n"),
    "doctor.network tunnel odd": lambda stage: proxied(stage, b"hello\r\n\r\n"),
    "doctor.network tunnel closed": lambda stage: proxied(stage, b""),
    "doctor.certificate": certified,
    "doctor.certificate about to end": lambda stage: certified(stage, days=3),
    "doctor.certificate ended": lambda stage: certified(stage, days=-1),
    "doctor.certificate of another host": lambda stage: certified(stage, host="example.com"),
    "doctor.certificate not trusted": lambda stage: certified(stage, trusted=False),
    "doctor.examination unreached": lambda _: examined(target()),
    "doctor.examination without a key": lambda _: examined(Check("configuration", "", "failed", "no key")),
    "doctor.examination of a bad key": lambda _: examined(target("x")),
    "doctor.examination unexpected": unexpected,
    "doctor.examination out of time": lambda _: in_time(),
    "doctor.examination proxy": proxy_of_environment,
    "doctor.examination certificates": certificates_of_environment,
}
