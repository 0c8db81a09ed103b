"""Connection errors: place and cause, in the same words on both engines."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from binance_pm import Budget, Client, ConnectError, Session
from binance_pm.fleet import Fleet
from binance_pm.transport.connect import Resolver
from binance_pm.transport.http import NotConnected, Timeouts
from binance_pm.transport.reason import CONNECTING, HANDSHAKE, Progress
from binance_pm.transport.tls import tls_settings
from tests.support.certificates import Authority, make_certificate
from tests.support.engines import (
    SHORT,
    Engine,
    OpenTransport,
    direct_engine,
    failure_of,
    httpx_engine,
    only_failure,
    request,
    send,
    send_at_once,
)
from tests.support.raw_server import Behaviour, answering, http, read_request, refusing_port, reset, serve_raw, silent

KEY = "k" * 64
PAPI = "https://papi.binance.com"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the client trusts."""
    return Authority(tmp_path_factory.mktemp("certificates"))


def reason_of(url: str, **options: Any) -> str:
    """Return why a request could not be sent, which is the same on each engine, and on trio."""

    async def reason(opening: OpenTransport) -> str:
        failure = await only_failure(opening, request(url))
        assert isinstance(failure, NotConnected)
        return failure.reason

    async def reasons() -> set[str]:
        return {await reason(engine(**options)) for engine in (httpx_engine, direct_engine)}

    async def on_trio() -> str:
        return await reason(httpx_engine(**options))

    (told,) = {trio.run(on_trio), *asyncio.run(reasons())}
    return told


def failing(error: Exception) -> Resolver:
    """Return a resolver that fails."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return Resolver(fail)


def finding(*addresses: str, port: int) -> Resolver:
    """Return a resolver that finds these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]
    return Resolver(lambda *_, **__: found)


@pytest.mark.parametrize(
    ("resolver", "words"),
    [
        (failing(socket.gaierror(socket.EAI_NONAME, "Name or service not known")), "name not resolved"),
        (failing(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")), "name not resolved"),
        (failing(UnicodeError("label empty or too long")), "not a host name"),
        (failing(OSError(errno.EMFILE, "Too many open files")), "too many open files"),
        (finding(port=443), "the name has no address"),
    ],
)
def test_a_name_that_is_not_resolved(resolver: Resolver, words: str) -> None:
    """The error names the host."""
    assert reason_of(PAPI, resolver=resolver) == f"papi.binance.com: {words}"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", ["127.0.0.1", "many.example"])
def test_a_refused_connection(scheme: str, host: str) -> None:
    """The port is named unless it is the default one; each address of a name is tried."""
    with refusing_port() as port:
        told = reason_of(f"{scheme}://{host}:{port}", resolver=finding("127.0.0.1", "127.0.0.2", port=port))

    assert told == f"{host}:{port}: connection refused"


@pytest.mark.parametrize(
    ("certificate", "host", "words"),
    [
        ({"expired": True}, "127.0.0.1", "certificate has expired"),
        ({"issuer": "itself"}, "127.0.0.1", "self-signed certificate"),
        ({"name": "127.0.0.2"}, "127.0.0.1", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ({"name": "localhost"}, "127.0.0.1", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        # The error names the requested host, not the one in the certificate.
        ({"name": "other.example"}, "papi.example", "Hostname mismatch, certificate is not valid for 'papi.example'"),
        ({}, "127.0.0.1", "unable to get local issuer certificate"),
    ],
    ids=["expired", "self-signed", "wrong address", "wrong host", "another host", "unknown authority"],
)
def test_an_untrusted_certificate(
    certificate: dict[str, Any], host: str, words: str, authority: Authority, tmp_path: Path
) -> None:
    """In the words of the TLS library; no byte of a request arrives."""
    arrived: list[bytes] = []
    tls = authority.client() if certificate else None
    make = partial(make_certificate, tmp_path) if "issuer" in certificate else authority.issue
    with serve_raw(
        lambda connection: arrived.append(read_request(connection)), tls=authority.server(make(**certificate))
    ) as server:
        resolver = finding("127.0.0.1", port=server.port)
        told = reason_of(f"https://{host}:{server.port}", tls=tls, resolver=resolver)

    assert (told, b"".join(arrived)) == (f"{host}:{server.port}: {words}", b"")


def test_tls_versions_without_overlap(authority: Authority) -> None:
    """The server does not support the versions that the settings allow."""
    old, client = authority.server(authority.issue()), authority.client()
    old.maximum_version, client.minimum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    with serve_raw(answering(), tls=old) as server:
        told = reason_of(server.url, tls=client)

    assert told == f"{server.place}: no common version of TLS"


def hasty(connection: socket.socket) -> None:
    """Close after the first bytes."""
    connection.recv(100)


def plain(connection: socket.socket) -> None:
    """Answer without TLS."""
    connection.recv(100)
    connection.sendall(b"HTTP/1.1 400 canary\r\n\r\n")


def breaking(connection: socket.socket) -> None:
    """Break the connection after the first bytes."""
    connection.recv(100)
    reset(connection)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (plain, "the server does not speak TLS"),
        (hasty, "the connection was closed during the TLS handshake"),
        (breaking, "the connection was closed during the TLS handshake"),
        (silent, "TLS handshake not finished within 0.3 s"),
    ],
    ids=["plain", "closed", "reset", "silent"],
)
def test_a_failed_handshake(behaviour: Behaviour, words: str) -> None:
    """Received bytes are not quoted."""
    with serve_raw(behaviour) as server:
        assert reason_of(f"https://{server.place}", timeouts=SHORT) == f"{server.place}: {words}"


@pytest.fixture
def few_files() -> Generator[None, None, None]:
    """Use up all file descriptors but a few."""
    resource: Any = __import__("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as open_files:
        free = open_files.enter_context(socket.socket())
        resource.setrlimit(resource.RLIMIT_NOFILE, (free.fileno() + 1, before[1]))
        try:
            while True:
                open_files.enter_context(socket.socket())
        except OSError:
            pass
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


make_request = request


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_too_many_open_files(host: str, engine: Engine, request: pytest.FixtureRequest) -> None:
    """The error is reported as one of this machine."""
    with refusing_port() as port:
        async with engine(tls=tls_settings()) as transport:
            # Event loops and name servers need some file descriptors of their own.
            request.getfixturevalue("few_files")
            failure = await failure_of(transport, make_request(f"https://{host}:{port}"))

    assert failure.reason == f"{host}:{port}: too many open files"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENETUNREACH, "network unreachable"),
        (errno.EHOSTUNREACH, "host unreachable"),
        (errno.ETIMEDOUT, "no answer"),
        (errno.ECONNREFUSED, "connection refused"),
        (errno.ECONNRESET, "the connection was reset"),
        (errno.EMFILE, "too many open files"),
        (errno.ENFILE, "too many open files"),
        (errno.EACCES, "not permitted by this machine"),
        (errno.EPERM, "not permitted by this machine"),
        (errno.ENOBUFS, "no buffer space available"),
    ],
)
def test_system_errors_are_recognised_by_number(number: int, words: str) -> None:
    """However deeply they are wrapped, and whatever their text."""
    error = OSError(number, "canary")
    outer = OSError("All connection attempts failed")
    outer.__cause__ = ExceptionGroup("canary", [error])
    without_cause = RuntimeError("canary")
    without_cause.__context__ = outer

    for each in (error, outer, without_cause):
        assert Progress(1, CONNECTING).cause(each) == words


def test_an_unknown_error_is_reported_by_class() -> None:
    """Its text may contain anything."""
    assert Progress(1, HANDSHAKE).cause(ValueError("canary")) == "the connection failed (ValueError)"


class TestBaseUrl:
    """A forgotten variable is named in the error."""

    HINT = "connection refused (BINANCE_PM_BASE_URL is set). Nothing was sent."

    @pytest.mark.usefixtures("each_engine")
    @pytest.mark.parametrize("is_chosen", [True, False])
    async def test_is_named_if_it_chose_the_place(self, *, is_chosen: bool) -> None:
        """For both products, and not if an argument chose the place."""
        with refusing_port() as port:
            url = f"http://127.0.0.1:{port}"
            options: dict[str, Any] = {"api_key": KEY, "api_secret": "s", "attempts": 1}
            if not is_chosen:
                options |= {"papi_url": url, "sapi_url": url}
            client = Client.from_env({"BINANCE_PM_BASE_URL": url}, session=Session(budget=Budget()), **options)
            async with client:
                for ask in (client.ping, client.account, client.pro_account):
                    with pytest.raises(ConnectError) as caught:
                        await ask()
                    assert (f"127.0.0.1:{port}: {self.HINT}" in str(caught.value)) is is_chosen

    async def test_is_named_for_a_fleet(self, tmp_path: Path) -> None:
        """The accounts file names no URL."""
        path = tmp_path / "accounts.toml"
        path.write_text(
            '[[accounts]]\nlabel = "one"\nproduct = "pm"\napi_key = { env = "K" }\napi_secret = { env = "S" }\n'
        )
        with refusing_port() as port:
            environment = {"BINANCE_PM_BASE_URL": f"http://127.0.0.1:{port}", "K": KEY, "S": "s"}
            session = Session(budget=Budget(), timeouts=SHORT)
            async with Fleet.from_toml(path, environment=environment, session=session) as fleet:
                with pytest.raises(ConnectError) as caught:
                    await fleet.members[0].client.ping()

        assert self.HINT in str(caught.value)


class Hanging:
    """A resolver that hangs until the test ends."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.asked = 0
        self.resolver = Resolver(self)

    def __call__(self, *_: Any, **__: Any) -> list[Any]:
        """Hang."""
        self.asked += 1
        self.done.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "late")


@pytest.fixture
def hanging() -> Generator[Hanging, None, None]:
    """A resolver that hangs until the test ends."""
    made = Hanging()
    yield made
    made.done.set()


class TestResolving:
    """Names are looked up in threads of the package."""

    def test_a_resolver_that_hangs(self, hanging: Hanging) -> None:
        """The wait is bounded, and closing the event loop does not wait for the resolver."""
        began = time.monotonic()
        told = reason_of(PAPI, resolver=hanging.resolver, timeouts=SHORT)

        assert told == "papi.binance.com: name not resolved within 0.3 s"
        assert time.monotonic() - began < 10
        # A daemon thread: the end of the process does not wait for it, either.
        assert {one.daemon for one in threading.enumerate() if one.name == "binance-pm resolver"} == {True}
        # The third call found the thread of the first.
        assert hanging.asked == 1

    async def test_a_name_is_looked_up_once_at_a_time(self, hanging: Hanging, engine: Engine) -> None:
        """Fifty concurrent calls need one thread."""
        async with engine(resolver=hanging.resolver, timeouts=SHORT) as transport:
            failures = await send_at_once(transport, *[request(PAPI)] * 50)

        assert (hanging.asked, {type(failure) for failure in failures}) == (1, {NotConnected})

    async def test_a_busy_default_executor(self, engine: Engine) -> None:
        """The default executor may be busy with other work."""
        loop, done = asyncio.get_running_loop(), threading.Event()
        loop.set_default_executor(ThreadPoolExecutor(1))
        working = loop.run_in_executor(None, done.wait, 30)
        try:
            with serve_raw(answering(http(b"{}"))) as server:
                async with engine(timeouts=Timeouts(connect=5)) as transport:
                    await send(transport, request(f"http://localhost:{server.port}"))
        finally:
            done.set()
            await working

    @pytest.mark.parametrize(
        ("host", "local_address"),
        [("127.0.0.1", None), ("127.0.0.1", "0.0.0.0"), ("[::1]", None), ("[::1]", "::")],
    )
    async def test_an_address_is_not_looked_up(
        self, host: str, local_address: str | None, hanging: Hanging, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not by any other part of the engine either."""

        def fail(*_: object, **__: object) -> Any:
            raise AssertionError("it was looked up")

        def serve_once() -> None:
            with listener.accept()[0] as connection:
                answering(http(b"{}"))(connection)

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host.strip("[]"), 0), family=family) as listener:
            serving = threading.Thread(target=serve_once)
            serving.start()
            async with engine(resolver=hanging.resolver, local_address=local_address) as transport:
                await send(transport, request(f"http://{host}:{listener.getsockname()[1]}"))
            serving.join()

        assert hanging.asked == 0

    @pytest.mark.parametrize(
        ("host", "local_address", "name"),
        [("127.0.0.1", "::", "IPv6"), ("127.0.0.1", "::1", "IPv6"), ("[::1]", "0.0.0.0", "IPv4")],
    )
    def test_an_address_of_another_family(self, host: str, local_address: str, name: str) -> None:
        """No connection is possible."""
        told = reason_of(f"http://{host}:1", local_address=local_address)

        assert told == f"{host}:1: not an {name} address, and only {name} may be used"

    @pytest.mark.parametrize(("local_address", "family"), [("0.0.0.0", socket.AF_INET), ("::", socket.AF_INET6)])
    async def test_only_addresses_of_the_chosen_family_are_looked_up(
        self, local_address: str, family: socket.AddressFamily, engine: Engine
    ) -> None:
        """Only IPv4, or only IPv6."""
        asked: list[Any] = []

        def look_up(*_: Any, **options: Any) -> list[Any]:
            asked.append(options["family"])
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]

        with serve_raw(answering(http(b"{}"))) as server:
            async with engine(resolver=Resolver(look_up), local_address=local_address) as transport:
                await send(transport, request(f"http://papi.example:{server.port}"))

        assert asked == [family]

    async def test_a_thread_that_cannot_be_started(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """The failure is reported, and the next call tries again."""

        def fail(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        resolver = failing(OSError(errno.EMFILE, "again"))
        async with engine(resolver=resolver) as transport:
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", fail)
                first = await failure_of(transport, request("https://papi.example"))
            second = await failure_of(transport, request("https://papi.example"))

        assert [first.reason, second.reason] == ["papi.example: too many threads", "papi.example: too many open files"]
