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
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from binance_pm import Budget, Client, ConnectError, Session
from binance_pm.fleet import Fleet
from binance_pm.transport.connect import Resolver
from binance_pm.transport.http import NotConnected, Timeouts, Transport
from binance_pm.transport.reason import CONNECTING, HANDSHAKE, Progress
from binance_pm.transport.tls import tls_settings
from tests.support.certificates import Authority
from tests.support.engines import SHORT, Departure, Engine, direct_engine, httpx_engine, request
from tests.support.raw_server import Behaviour, answering, http, refusing_port, reset, serve_raw, silent

KEY = "k" * 64


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the client trusts."""
    return Authority(tmp_path_factory.mktemp("certificates"))


async def reason_of(transport: AbstractAsyncContextManager[Transport], url: str) -> str:
    """Return why a request could not be sent."""
    departure = Departure()
    async with transport as opened:
        with pytest.raises(NotConnected) as caught:
            await opened.send(request(url), departure)
    assert (caught.value.sent, departure.count) == (False, 0)
    return caught.value.reason


def reasons_of(url: str, **options: Any) -> set[str]:
    """Return the reasons on each engine, and on trio."""

    async def both() -> set[str]:
        return {await reason_of(engine(**options), url) for engine in (httpx_engine, direct_engine)}

    async def on_trio() -> str:
        return await reason_of(httpx_engine(**options), url)

    return {trio.run(on_trio), *asyncio.run(both())}


def failing(error: Exception) -> Resolver:
    """Return a resolver that fails."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return Resolver(fail)


def finding(*addresses: str, port: int) -> Resolver:
    """Return a resolver that finds these addresses."""
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
        if ":" in address
        else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
        for address in addresses
    ]
    return Resolver(lambda *_, **__: found)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name not resolved"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "name not resolved"),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), "name not resolved"),
        (UnicodeError("label empty or too long"), "not a host name"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
    ],
)
def test_a_name_that_is_not_resolved(error: Exception, words: str) -> None:
    """The error names the host."""
    url = "https://papi.binance.com"
    assert reasons_of(url, resolver=failing(error)) == {f"papi.binance.com: {words}"}


def test_a_name_without_addresses() -> None:
    """A resolver may return no address."""
    told = reasons_of("https://papi.binance.com", resolver=Resolver(lambda *_, **__: []))

    assert told == {"papi.binance.com: the name has no address"}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_refused_connection(scheme: str) -> None:
    """The port is named unless it is the default one."""
    with refusing_port() as port:
        told = reasons_of(f"{scheme}://127.0.0.1:{port}")

    assert told == {f"127.0.0.1:{port}: connection refused"}


def test_a_name_all_of_whose_addresses_refuse() -> None:
    """The error is that of the last address."""
    with refusing_port() as port:
        resolver = finding("127.0.0.1", "127.0.0.2", port=port)
        told = reasons_of(f"https://many.example:{port}", resolver=resolver)

    assert told == {f"many.example:{port}: connection refused"}


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({"expired": True}, "certificate has expired"),
        ({"self_signed": True}, "self-signed certificate"),
        ({"name": "127.0.0.2"}, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ({"name": "localhost"}, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
    ],
    ids=["expired", "self-signed", "wrong address", "wrong host"],
)
def test_an_untrusted_certificate(certificate: dict[str, Any], words: str, authority: Authority) -> None:
    """In the words of the TLS library."""
    with serve_raw(answering(), tls=authority.server(authority.issue(**certificate))) as server:
        told = reasons_of(server.url, tls=authority.client())

    assert told == {f"{server.url.partition('//')[2]}: {words}"}


def test_a_certificate_of_another_host(authority: Authority) -> None:
    """The error names the requested host, not the one in the certificate."""
    with serve_raw(answering(), tls=authority.server(authority.issue("other.example"))) as server:
        port = int(server.url.rpartition(":")[2])
        resolver = finding("127.0.0.1", port=port)
        told = reasons_of(f"https://papi.example:{port}", tls=authority.client(), resolver=resolver)

    words = "Hostname mismatch, certificate is not valid for 'papi.example'"
    assert told == {f"papi.example:{port}: {words}"}


def test_an_unknown_authority(authority: Authority) -> None:
    """Seen in networks that intercept TLS connections."""
    with serve_raw(answering(), tls=authority.server(authority.issue())) as server:
        told = reasons_of(server.url)

    words = "unable to get local issuer certificate"
    assert told == {f"{server.url.partition('//')[2]}: {words}"}


def test_tls_versions_without_overlap(authority: Authority) -> None:
    """The server does not support the versions that the settings allow."""
    old, client = authority.server(authority.issue()), authority.client()
    old.maximum_version, client.minimum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    with serve_raw(answering(), tls=old) as server:
        told = reasons_of(server.url, tls=client)

    words = "no common version of TLS"
    assert told == {f"{server.url.partition('//')[2]}: {words}"}


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
        place = server.url.partition("//")[2]
        told = reasons_of(f"https://{place}", timeouts=SHORT)

    assert told == {f"{place}: {words}"}


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


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_too_many_open_files(host: str, engine: Engine, request: pytest.FixtureRequest) -> None:
    """The error is reported as one of this machine."""
    with refusing_port() as port:
        opened = engine(tls=tls_settings())
        async with opened as transport:
            # Event loops and name servers need some file descriptors of their own.
            request.getfixturevalue("few_files")
            with pytest.raises(NotConnected) as caught:
                await transport.send(make_request(f"https://{host}:{port}"), Departure())

    assert caught.value.reason == f"{host}:{port}: too many open files"


make_request = request


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

    @pytest.mark.usefixtures("each_engine")
    async def test_is_named_if_it_chose_the_place(self) -> None:
        """For both products."""
        with refusing_port() as port:
            environment = {"BINANCE_PM_BASE_URL": f"http://127.0.0.1:{port}"}
            options: dict[str, Any] = {"api_key": KEY, "api_secret": "s", "attempts": 1}
            client = Client.from_env(environment, session=Session(budget=Budget()), **options)
            async with client:
                for ask in (client.ping, client.account, client.pro_account):
                    with pytest.raises(ConnectError) as caught:
                        await ask()
                    words = f"127.0.0.1:{port}: connection refused (BINANCE_PM_BASE_URL is set). Nothing was sent."
                    assert words in str(caught.value)

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
                with pytest.raises(ConnectError, match=r"connection refused \(BINANCE_PM_BASE_URL is set\)"):
                    await fleet.members[0].client.ping()

    async def test_is_not_named_if_an_argument_chose_the_place(self) -> None:
        """The variable is not the cause, although it may be set."""
        with refusing_port() as port:
            url = f"http://127.0.0.1:{port}"
            environment = {"BINANCE_PM_BASE_URL": url}
            options: dict[str, Any] = {"api_key": KEY, "api_secret": "s", "attempts": 1}
            clients = [
                Client.from_env(environment, papi_url=url, session=Session(budget=Budget()), **options),
                Client(session=Session(budget=Budget()), papi_url=url, **options),
            ]
            for client in clients:
                async with client:
                    with pytest.raises(ConnectError) as caught:
                        await client.account()
                assert "BINANCE_PM_BASE_URL" not in str(caught.value)


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
        told = reasons_of("https://papi.binance.com", resolver=hanging.resolver, timeouts=SHORT)

        assert told == {"papi.binance.com: name not resolved within 0.3 s"}
        assert time.monotonic() - began < 10
        # A daemon thread: the end of the process does not wait for it, either.
        assert {one.daemon for one in threading.enumerate() if one.name == "binance-pm resolver"} == {True}
        # The third call found the thread of the first.
        assert hanging.asked == 1

    async def test_a_name_is_looked_up_once_at_a_time(self, hanging: Hanging, engine: Engine) -> None:
        """Fifty concurrent calls need one thread."""
        async with engine(resolver=hanging.resolver, timeouts=SHORT) as transport:
            calls = (transport.send(request("https://papi.binance.com"), Departure()) for _ in range(50))
            failures = await asyncio.gather(*calls, return_exceptions=True)

        assert (hanging.asked, {type(failure) for failure in failures}) == (1, {NotConnected})

    async def test_a_busy_default_executor(self, engine: Engine) -> None:
        """The default executor may be busy with other work."""
        loop, done = asyncio.get_running_loop(), threading.Event()
        executor = ThreadPoolExecutor(1)
        loop.set_default_executor(executor)
        working = loop.run_in_executor(None, done.wait, 30)
        try:
            with serve_raw(answering(http(b"{}"))) as server:
                url = server.url.replace("127.0.0.1", "localhost")
                async with engine(timeouts=Timeouts(connect=5)) as transport:
                    answer = await transport.send(request(url), Departure())
        finally:
            done.set()
            await working

        assert answer.body == b"{}"

    @pytest.mark.parametrize(
        ("host", "local_address"),
        [("127.0.0.1", None), ("127.0.0.1", "0.0.0.0"), ("[::1]", None), ("[::1]", "::")],  # noqa: S104
    )
    async def test_an_address_is_not_looked_up(
        self, host: str, local_address: str | None, hanging: Hanging, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not by any other part of the engine either."""

        def fail(*_: object, **__: object) -> Any:
            raise AssertionError("it was looked up")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host.strip("[]"), 0), family=family) as listener:
            serving = threading.Thread(target=serve_once, args=(listener,))
            serving.start()
            url = f"http://{host}:{listener.getsockname()[1]}"
            async with engine(resolver=hanging.resolver, local_address=local_address) as transport:
                answer = await transport.send(request(url), Departure())
            serving.join()

        assert (answer.body, hanging.asked) == (b"{}", 0)

    @pytest.mark.parametrize(
        ("host", "local_address", "name"),
        [("127.0.0.1", "::", "IPv6"), ("127.0.0.1", "::1", "IPv6"), ("[::1]", "0.0.0.0", "IPv4")],  # noqa: S104
    )
    def test_an_address_of_another_family(self, host: str, local_address: str, name: str) -> None:
        """No connection is possible."""
        words = f"not an {name} address, and only {name} may be used"
        told = reasons_of(f"http://{host}:1", local_address=local_address)

        assert told == {f"{host}:1: {words}"}

    async def test_a_thread_that_cannot_be_started(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        """The failure is reported as a NotConnected error."""

        def fail(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        resolver = Resolver()
        async with engine(resolver=resolver) as transport:
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", fail)
                with pytest.raises(NotConnected, match=r"papi\.example: too many threads"):
                    await transport.send(request("https://papi.example"), Departure())
        assert vars(resolver)["_under_way"] == {}


def serve_once(listener: socket.socket) -> None:
    """Answer one request."""
    connection, _ = listener.accept()
    with connection:
        answering(http(b"{}"))(connection)


class TestFamily:
    """Only IPv4, or only IPv6."""

    @pytest.mark.parametrize(("local_address", "family"), [("0.0.0.0", socket.AF_INET), ("::", socket.AF_INET6)])  # noqa: S104
    async def test_is_chosen(self, local_address: str, family: socket.AddressFamily, engine: Engine) -> None:
        """Only addresses of that family are looked up."""
        asked: list[Any] = []

        def look_up(*_: Any, **options: Any) -> list[Any]:
            asked.append(options["family"])
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        with serve_raw(answering(http(b"{}"))) as server:
            port = int(server.url.rpartition(":")[2])
            url = f"http://papi.example:{port}"
            async with engine(resolver=Resolver(look_up), local_address=local_address) as transport:
                await transport.send(request(url), Departure())

        assert asked == [family]


class TestKeysOfConnections:
    """``SSLKEYLOGFILE`` names a file with which traffic can be decrypted."""

    async def test_are_not_written(
        self, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine
    ) -> None:
        """Unless the environment is trusted."""
        file = tmp_path / "keys"
        monkeypatch.setenv("SSLKEYLOGFILE", str(file))
        with serve_raw(answering(), tls=authority.server(authority.issue())) as server:
            async with engine() as transport:
                with pytest.raises(NotConnected):
                    await transport.send(request(server.url), Departure())

        assert tls_settings().keylog_filename is None
        assert not file.exists()

    async def test_are_written_if_the_environment_is_trusted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The environment asks for the file."""
        file = tmp_path / "keys"
        monkeypatch.setenv("SSLKEYLOGFILE", str(file))

        assert tls_settings(trust_env=True).keylog_filename == str(file)

    def test_the_settings_are_those_of_python(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Except for the settings of the environment."""
        for name in ("SSLKEYLOGFILE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(name, raising=False)
        ours, usual = tls_settings(), tls_settings(trust_env=True)

        names = ("check_hostname", "verify_mode", "verify_flags", "minimum_version", "maximum_version", "options")
        assert [getattr(ours, name) for name in names] == [getattr(usual, name) for name in names]
        assert ours.cert_store_stats() == usual.cert_store_stats()
