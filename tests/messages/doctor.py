"""For the sections about what `binance-pm doctor` finds and advises."""

# Imports that this module does not use are for the sections of messages.txt.
# pyright: reportUnusedImport=false
from __future__ import annotations

import json
import socket
import ssl
from contextlib import suppress
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import binance_pm.doctor.account
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
from tests.messages.stage import KEY, SECRET, Stage
from tests.support.certificates import make_certificate
from tests.support.clocks import FakeClock
from tests.support.raw_server import Behaviour, answering, refusing_port, serve_raw, silent
from tests.support.sample import sample_of

SHORT_RSA = (
    rsa.generate_private_key(65537, 1024)  # noqa: S505 - too short on purpose
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    .decode()
)
PAPI = "https://papi.binance.com"
LOST = NoResponse(CallInfo("account", "desk"), "no answer")
CLOSED = GateClosed(CallInfo("account", "desk"), "the gate is closed", until=1_800_000_100.0, banned=False)


def target(api_key: str = KEY, secret: str = SECRET, **options: Any) -> Target:
    """Return an account."""
    return Target(label="desk", origin="here", api_key=Secret(api_key), secret=Secret(secret), **options)


def key(api_key: str = KEY, secret: str = SECRET, **options: Any) -> object:
    """Check a key."""
    return check_key(target(api_key, secret, **options))


def environment(**variables: str) -> object:
    """Check the keys of the environment."""
    return target_from_environment({f"BINANCE_PM_{name}": value for name, value in variables.items()})


def sample(name: str, **changes: object) -> Any:
    """Return the sampled response of an endpoint, with some fields changed."""
    return ENDPOINTS[name].decode(json.dumps(sample_of(name)["answer"] | changes).encode())


def refused(endpoint: str, code: int) -> Any:
    """Return a refusal by the exchange."""
    return AuthenticationError(CallInfo(endpoint, "desk"), "the exchange's own words", status=400, code=code)


def of_account(product: str | None = None, **answers: Any) -> list[object]:
    """Check the responses of an account, which reads the endpoint named first."""
    options: dict[str, Any] = {"product": product} if product else {}
    looked_at = target(**options, read=tuple(answers)[: 2 if LOST in answers.values() else 1])
    return [look(looked_at, answers) for look in (check_permissions, check_product, check_account)]


async def clock(ahead: float = 0.0, status: int = 200, slow: float = 1.0) -> object:
    """Check this machine's clock against the exchange's."""
    told = {"serverTime": 1_800_000_000_000}
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json=told))
    async with client_of(transport, FakeClock()) as desk:
        now = 1_800_000_000.0 + ahead
        return (await check_clock(desk, "host", is_papi=True, wall=lambda: now, slow=slow))[0]


async def limits(used: int, status: int = 200, **headers: str) -> object:
    """Check the budget after one call of weight 20."""
    told = {"x-mbx-used-weight-1m": str(used), "date": "Fri, 15 Jan 2027 08:00:10 GMT"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    now = FakeClock()
    made = Budget(monotonic=now, wall=now, sleep=now.sleep)
    transport = httpx.MockTransport(lambda _: httpx.Response(status, headers=told, json={}))
    async with Client(KEY, SECRET, session=Session(http=transport, budget=made), attempts=1) as desk:
        with suppress(RateLimited):
            await desk.request("GET", "/papi/v1/x", weight=20, returns=dict[str, Any])
        names = {desk.origin(ENDPOINTS["account"]): "papi.binance.com"}
    return [check_budget(made, is_heard=True), check_limits(made, names, weight=20, is_heard=True)]


async def network(
    url: str, tls: ssl.SSLContext | None = None, *, trust_env: bool = False, seconds: float = 5
) -> object:
    """Check the path to a host."""
    path = network_path(url, trust_env=trust_env)
    return list(await check_network(path, tls or ssl.create_default_context(), seconds=seconds))


async def reaching(behaviour: Behaviour = silent, scheme: str = "http", seconds: float = 5) -> object:
    """Check the path to a server of this machine."""
    with serve_raw(behaviour) as server:
        return await network(server.url.replace("http:", f"{scheme}:"), seconds=seconds)


async def unreachable(stage: Stage, host: str = "https://127.0.0.1", **environment: str) -> object:
    """Check the path to a port, or through a proxy, where nothing listens."""
    with refusing_port() as port:
        stage.env(**{name: value.format(port=port) for name, value in environment.items()})
        return await network(f"{host}:{port}", trust_env=bool(environment) and host == PAPI)


async def proxied(stage: Stage, behaviour: Behaviour, scheme: str = "http") -> object:
    """Check the path through a proxy that opens no tunnel."""
    with serve_raw(behaviour) as server:
        stage.env(https_proxy=server.url.replace("http:", f"{scheme}:"))
        return await network(PAPI, trust_env=True)


async def certified(stage: Stage, *, trusted: bool = True, **options: Any) -> object:
    """Check the path to a server that shows a certificate."""
    file = make_certificate(stage.folder, **options)
    tls = ssl.create_default_context(cafile=str(file) if trusted else None)
    with serve_raw(silent, tls=tls_server(file)) as server:
        return await network(server.url, tls)


async def examined(*targets: Target | Check, url: str = "", **options: Any) -> list[Check]:
    """Examine accounts, by default at an address where nothing listens."""
    told: list[Check] = []
    with refusing_port() as port:
        place = url or f"http://127.0.0.1:{port}"
        await examine(targets, told.append, papi_url=place, sapi_url=place, budget=Budget(), **options)
    return told


async def in_time() -> object:
    """Examine an account without any time left."""
    with serve_raw(silent) as server:
        return await examined(target(), url=server.url, seconds=0.0)


async def unexpected(stage: Stage) -> object:
    """Examine an account with an error of the package itself."""
    stage.fails(binance_pm.doctor.account, "ask", ZeroDivisionError())
    async with sandbox(accounts=1) as pm:
        said = await examined(target(), url=pm.base_url)
    return [check for check in said if check.name in {"permissions", "account"}]
