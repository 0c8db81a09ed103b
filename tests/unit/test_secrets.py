"""Nothing that can be printed, logged, raised, pickled or copied shows a secret."""

from __future__ import annotations

import base64
import copy
import inspect
import logging
import pickle
import traceback
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import serialization

from binance_pm import CallInfo, Client, ConfigurationError, NoResponse, PortfolioMarginError, Session
from binance_pm.api.account import Account
from binance_pm.budget import Budget
from binance_pm.testing import Fault, Sandbox
from binance_pm.transport.http import Headers, HttpRequest
from tests.support.paths import TESTS
from tests.support.raw_server import answering, http, read_request, refusing_port, serve_raw

PASSPHRASE = "canary-passphrase-7391"
PROXY_PASSWORD = "canary-proxy-5520"
LOGGERS = ["", "httpx", "httpcore", "binance_pm", "asyncio"]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Return everything that is logged at DEBUG, including the transport's loggers."""
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, name)
    return caplog


class Canary:
    """The secrets of one account, and the texts to look for."""

    def __init__(self, key: str, secret: str, **options: Any) -> None:
        self.key = key
        self.secret = secret
        self.options = options
        lines = [line for line in secret.splitlines() if line and not line.startswith("-----")]
        self.secrets = [key, PASSPHRASE, PROXY_PASSWORD, base64.b64encode(f"u:{PROXY_PASSWORD}".encode()).decode()]
        self.secrets += lines

    def client(self, session: Session, url: str = "https://papi.binance.com") -> Client:
        """Return a client with these secrets."""
        options: dict[str, Any] = {"papi_url": url, "sapi_url": url, "attempts": 1, **self.options}
        return Client(self.key, self.secret, session=session, **options)

    def look(self, texts: Iterable[str], *more: str) -> None:
        """Fail if one of the texts shows a secret."""
        for text in texts:
            for secret in (*self.secrets, *more):
                assert secret not in text, f"{secret[:8]}… is shown"


@pytest.fixture(params=["hmac", "ed25519", "encrypted"])
def canary(request: pytest.FixtureRequest, pm_sandbox: Sandbox) -> Canary:
    """Each type of credential."""
    account = pm_sandbox.accounts[0]
    if request.param == "hmac":
        return Canary(account.api_key, account.api_secret)
    pem = account.ed25519.secret
    if request.param == "ed25519":
        return Canary(account.ed25519.api_key, pem)
    key = serialization.load_pem_private_key(pem.encode(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSPHRASE.encode()),
    )
    return Canary(account.ed25519.api_key, encrypted.decode(), passphrase=PASSPHRASE)


@pytest_asyncio.fixture
async def client(canary: Canary, pm_sandbox: Sandbox) -> AsyncGenerator[Client, None]:
    """A client with those secrets."""
    async with canary.client(pm_sandbox.session(), pm_sandbox.base_url) as opened:
        yield opened


def texts_of(thing: object) -> list[str]:
    """Return the text of an object and of everything reachable by attributes."""
    seen: set[int] = set()
    waiting = [thing]
    texts: list[str] = []
    while waiting:
        current = waiting.pop()
        if id(current) in seen or isinstance(current, type) or (callable(current) and not hasattr(current, "__dict__")):
            continue
        seen.add(id(current))
        texts += [repr(current), str(current), f"{current}"]
        slots = [
            name
            for kind in inspect.getmro(cast("type[object]", type(current)))
            for name in getattr(kind, "__slots__", ())
        ]
        waiting += [getattr(current, name, None) for name in slots]
        waiting += getattr(current, "__dict__", {}).values()
        if isinstance(current, dict | list | tuple | set | frozenset):
            waiting += [*current.keys(), *current.values()] if isinstance(current, dict) else current
    return texts


def texts_of_error(error: BaseException) -> list[str]:
    """What one sees of an error, its causes, and the traceback as it is printed, with all local variables.

    The frames of the tests themselves are left out: they have the keys.
    """
    texts = traceback.format_exception(error)
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    waiting = [report]
    while waiting:
        one = waiting.pop()
        waiting += filter(None, [one.__cause__, one.__context__, *(one.exceptions or ())])
        texts += [str(frame.locals) for frame in one.stack if not frame.filename.startswith(str(TESTS))]
    link: BaseException | None = error
    while link is not None:
        texts += [repr(link), str(link), repr(vars(link)), *map(repr, link.args)]
        link = link.__cause__ or link.__context__
    return texts


FAULTS = [
    None,
    Fault(status=400, code=-1022, msg="Signature for this request is not valid."),
    Fault(status=500, body=b"<html>"),
    Fault(body=b"null"),
    Fault(drop=True),
    Fault(cut=3),
    Fault(status=429, code=-1003, msg="Too many requests."),
]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@pytest.mark.pm_sandbox(accounts=1)
async def test_calls_and_failures_show_no_secret(
    each_engine: str,
    client: Client,
    canary: Canary,
    pm_sandbox: Sandbox,
    logged: pytest.LogCaptureFixture,
    fault: Fault | None,
) -> None:
    """Logs, errors with their causes, and the client itself, however the call ends."""
    if fault is not None:
        pm_sandbox.inject(fault)
    error: PortfolioMarginError | None = None
    try:
        await client.um_account()
    except PortfolioMarginError as caught:
        error = caught

    assert (error is None) is (fault is None)
    assert client.session.engine == each_engine
    # The direct engine itself logs nothing.
    assert logged.records or each_engine == "direct"
    canary.look([logged.text, *(repr(vars(record)) for record in logged.records)], "signature=")
    canary.look([*texts_of(client), *texts_of(client.session.transport(CallInfo("x")))], "signature=")
    if error is not None:
        canary.look(texts_of_error(error), "signature=")
        canary.look([repr(pickle.loads(pickle.dumps(error)))], "signature=")


@pytest.mark.pm_sandbox(accounts=1)
async def test_an_exchange_that_echoes_secrets(canary: Canary, logged: pytest.LogCaptureFixture) -> None:
    """Text that quotes the request, in the body or in a redirect, is masked."""
    for status, location in (("302 Found", "Location: https://evil.example%s\r\n"), ("400 Bad Request", "")):

        def echo(connection: Any, status: str = status, location: str = location) -> None:
            target = read_request(connection).decode().split(" ")[1]
            body = b'{"code":-1100,"msg":"%s %s"}' % (target.encode(), canary.key.encode())
            connection.sendall(http(body, status=status, headers=location % target if location else ""))

        with serve_raw(echo) as server:
            async with canary.client(Session(budget=Budget()), server.url) as told:
                with pytest.raises(PortfolioMarginError) as caught:
                    await told.um_account()
        signature = caught.value.reason.partition("signature=")[2].strip("… ")
        assert len(signature) < 40
        canary.look(texts_of_error(caught.value))
    canary.look([logged.text])
    assert "signature=" not in logged.text.replace("signature=…", "")


@pytest.mark.pm_sandbox(accounts=1)
async def test_a_client_of_the_caller(canary: Canary, pm_sandbox: Sandbox, logged: pytest.LogCaptureFixture) -> None:
    """A client of httpx logs the URL of every request: the signature is removed."""
    async with httpx.AsyncClient() as http_client:
        session = Session(http=http_client, budget=Budget())
        async with canary.client(session, pm_sandbox.base_url) as client:
            await client.um_account()
            pm_sandbox.inject(Fault(drop=True))
            with pytest.raises(PortfolioMarginError) as caught:
                await client.um_account()

    assert "signature=…" in logged.text
    assert "signature=" not in logged.text.replace("signature=…", "")
    canary.look([logged.text])
    canary.look(texts_of_error(caught.value), "signature=")


@pytest.mark.pm_sandbox(accounts=1)
async def test_a_proxy_password_is_not_shown(canary: Canary, logged: pytest.LogCaptureFixture) -> None:
    """In no error, log or repr of a session."""
    with serve_raw(answering(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")) as proxy:
        url = proxy.url.replace("http://", f"http://u:{PROXY_PASSWORD}@")
        session = Session(proxy=url, budget=Budget())
        async with canary.client(session) as client:
            with pytest.raises(PortfolioMarginError) as caught:
                await client.um_account()
            canary.look(texts_of(session))

    canary.look([logged.text])
    canary.look(texts_of_error(caught.value))


@pytest.mark.pm_sandbox(accounts=1)
async def test_a_client_is_neither_pickled_nor_copied(client: Client) -> None:
    """Secrets cannot be sent elsewhere by accident."""
    for spread in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            spread(client)


async def test_a_key_file_is_named_but_not_shown(tmp_path: Path) -> None:
    """The error for an unreadable key file contains only the path."""
    file = tmp_path / "key.pem"
    file.write_text(f"-----BEGIN PRIVATE KEY-----\n{PASSPHRASE}\n-----END PRIVATE KEY-----\n")
    file.chmod(0o600)

    with pytest.raises(PortfolioMarginError) as caught:
        Client("k" * 64, file)

    assert PASSPHRASE not in "".join(texts_of_error(caught.value))


@pytest.mark.parametrize("fault", [Fault(delay=30), *FAULTS[1:], None], ids=repr)
@pytest.mark.pm_sandbox(accounts=1)
async def test_local_variables_show_no_secret(
    each_engine: str, client: Client, canary: Canary, pm_sandbox: Sandbox, fault: Fault | None
) -> None:
    """An error reporter records those of every frame: of this package, httpx, and httpcore."""
    await client.um_account()
    if fault is not None:
        pm_sandbox.inject(fault)
    # A request that is too long is not sent.
    params = {} if fault else {"symbol": "x" * 2**17}

    with pytest.raises((PortfolioMarginError, TimeoutError)) as caught, anyio.fail_after(1):
        await client.request("GET", "/papi/v1/account", weight=1, returns=Account, params=params)

    assert client.session.engine == each_engine
    canary.look(texts_of_error(caught.value), "signature=")
    canary.look([*texts_of(client), *texts_of(client.session)], "signature=")


@pytest.mark.pm_sandbox(accounts=1)
async def test_a_refused_connection_shows_no_secret(each_engine: str, canary: Canary) -> None:
    """Nothing was sent, but the request was complete."""
    with refusing_port() as port:
        session = Session(budget=Budget(), engine="httpx" if each_engine == "httpx" else "direct")
        async with canary.client(session, f"http://127.0.0.1:{port}") as client:
            with pytest.raises(PortfolioMarginError) as caught:
                await client.um_account()
            canary.look(texts_of_error(caught.value), "signature=")
            canary.look([*texts_of(client), *texts_of(session)], "signature=")


@pytest.mark.pm_sandbox(accounts=1)
async def test_a_failing_signer_shows_no_secret(pm_sandbox: Sandbox) -> None:
    """Its local variables are its secrets."""
    account = pm_sandbox.accounts[0]
    canary = Canary(account.api_key, account.api_secret)
    namespace: dict[str, Any] = {}
    # Compiled elsewhere, so that its frame is not left out.
    exec(compile("def sign(payload):\n    held = SECRET\n    return [held.encode()]", "signer.py", "exec"), namespace)  # noqa: S102 - our own source
    namespace["SECRET"] = account.api_secret
    async with Client(
        account.api_key, namespace["sign"], session=pm_sandbox.session(), papi_url=pm_sandbox.base_url
    ) as client:
        with pytest.raises(ConfigurationError, match="TypeError") as caught:
            await client.um_account()

    canary.look(texts_of_error(caught.value))


@pytest.mark.pm_sandbox(accounts=1)
async def test_a_failing_transport_shows_no_secret(canary: Canary, pm_sandbox: Sandbox) -> None:
    """Its local variables contain the request."""
    namespace: dict[str, Any] = {"httpx": httpx}
    source = """
class Broken(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request):
        held = str(request.url), dict(request.headers)
        raise httpx.WriteError("broken")
"""
    # Compiled elsewhere, so that its frame is not left out.
    exec(compile(source, "transport.py", "exec"), namespace)  # noqa: S102 - our own source
    session = Session(budget=Budget(), http=namespace["Broken"]())
    async with canary.client(session, pm_sandbox.base_url) as client:
        with pytest.raises(NoResponse) as caught:
            await client.um_account()

    canary.look(texts_of_error(caught.value), "signature=")


def test_the_parts_of_a_request_are_not_shown() -> None:
    """In any way in which tools inspect a value."""
    headers = Headers({"x-mbx-apikey": "canary-key"})
    request = HttpRequest("GET", "https://papi.binance.com", "/papi/v1/account?signature=canary-signature", headers)
    for thing in (headers, request, request.head("papi.binance.com")):
        seen = [repr(thing), str(thing), *texts_of(thing), repr(inspect.getmembers(thing))]
        assert not any("canary" in text for text in seen)
    assert b"canary-key" in request.head("papi.binance.com").reveal()
