"""Server authentication: a server without a valid certificate receives no byte of a request."""

from __future__ import annotations

import socket
import ssl
from contextlib import nullcontext
from pathlib import Path

import pytest

from binance_pm.transport.http import NotConnected
from binance_pm.transport.tls import tls_settings
from tests.support.certificates import Authority, fingerprint
from tests.support.engines import Engine, direct_engine, httpx_engine, only_failure, request, send
from tests.support.raw_server import Behaviour, answering, echoing, http, read_request, serve_raw, silent


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the client trusts."""
    return Authority(tmp_path_factory.mktemp("certificates"))


async def test_a_trusted_server(authority: Authority, engine: Engine) -> None:
    """Two requests use one connection."""
    with serve_raw(echoing, tls=authority.server(authority.issue())) as server:
        async with engine(tls=authority.client()) as transport:
            await send(transport, *[request(server.url)] * 2)

    assert len(server.connections) == 1


def agreeing(agreed: list[str | None]) -> Behaviour:
    """Record the negotiated protocol, and answer."""

    def behave(connection: socket.socket) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        agreed.append(connection.selected_alpn_protocol())
        answering(http(b"{}"))(connection)

    return behave


@pytest.fixture
def preferring_http2(authority: Authority) -> ssl.SSLContext:
    """Settings of a server that prefers HTTP/2."""
    context = authority.server(authority.issue())
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.fixture
def offering_http2(authority: Authority) -> ssl.SSLContext:
    """Settings of a caller that offer HTTP/2."""
    context = authority.client()
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def test_offers_only_http_1_1(
    preferring_http2: ssl.SSLContext, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the default settings no server can choose HTTP/2."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    agreed: list[str | None] = []
    with serve_raw(agreeing(agreed), tls=preferring_http2) as server:
        async with httpx_engine(trust_env=True) as transport:
            await send(transport, request(server.url))

    assert (agreed, tls_settings().check_hostname) == (["http/1.1"], True)


async def test_does_not_change_the_callers_settings(
    preferring_http2: ssl.SSLContext, offering_http2: ssl.SSLContext, authority: Authority, engine: Engine
) -> None:
    """A context that is also used elsewhere offers the same protocols before and after."""
    agreed: list[str | None] = []

    def negotiate(port: int) -> None:
        address = ("127.0.0.1", port)
        with offering_http2.wrap_socket(socket.create_connection(address), server_hostname=address[0]) as secured:
            agreed.append(secured.selected_alpn_protocol())

    with (
        serve_raw(silent, tls=preferring_http2) as server,
        serve_raw(echoing, tls=authority.server(authority.issue())) as other,
    ):
        negotiate(server.port)
        async with engine(tls=offering_http2) as transport:
            await send(transport, request(other.url))
        negotiate(server.port)

    assert agreed == ["h2", "h2"]


async def test_refuses_a_protocol_offered_only_by_the_callers_settings(
    preferring_http2: ssl.SSLContext, offering_http2: ssl.SSLContext, engine: Engine
) -> None:
    """A server that chooses HTTP/2 receives no request."""
    with serve_raw(silent, tls=preferring_http2) as server:
        failure = await only_failure(engine(tls=offering_http2), request(server.url))

    assert isinstance(failure, NotConnected)
    assert "h2" in failure.reason


async def test_the_environment_does_not_change_the_trusted_authorities(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    """Otherwise a variable would be enough to read the traffic."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with serve_raw(echoing, tls=authority.server(authority.issue())) as server:
        failure = await only_failure(engine(), request(server.url))

    assert isinstance(failure, NotConnected)


@pytest.mark.parametrize("is_given", [True, False])
async def test_a_client_certificate(authority: Authority, engine: Engine, *, is_given: bool) -> None:
    """A server may require one; without it nothing is sent."""
    asking = authority.server(authority.issue(), asks_client=True)
    asking.maximum_version = ssl.TLSVersion.TLSv1_2
    tls = authority.client(authority.issue() if is_given else None)
    with serve_raw(echoing, tls=asking) as server:
        async with engine(tls=tls) as transport:
            with nullcontext() if is_given else pytest.raises(NotConnected):
                await send(transport, request(server.url))


@pytest.mark.parametrize("shown", ["pinned", "another", "none"])
async def test_a_pinned_certificate(shown: str, authority: Authority) -> None:
    """A server with another certificate of the same authority, or without one, receives no byte of the request."""
    arrived: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        arrived.append(read_request(connection))
        connection.sendall(http(b"{}"))

    pinned = authority.issue()
    pins = frozenset({fingerprint(pinned).replace(":", "").lower(), "0" * 64})
    tls = {"pinned": authority.server(pinned), "another": authority.server(authority.issue()), "none": None}[shown]
    with serve_raw(behave, tls=tls) as server:
        async with direct_engine(tls=authority.client(), pins=pins) as transport:
            with nullcontext() if shown == "pinned" else pytest.raises(NotConnected):
                await send(transport, request(server.url))

    assert bool(b"".join(arrived)) is (shown == "pinned")


async def test_surplus_closes_the_connection(authority: Authority, engine: Engine) -> None:
    """Surplus bytes are found in the decrypted data."""

    def behave(connection: socket.socket) -> None:
        answering(http(b"mine") + http(b"another's"))(connection)
        connection.recv(100)

    with serve_raw(behave, tls=authority.server(authority.issue())) as server:
        async with engine(tls=authority.client()) as transport:
            answers = await send(transport, *[request(server.url)] * 2)

    assert ([answer.body for answer in answers], len(server.connections)) == ([b"mine"] * 2, 2)


async def test_a_response_cut_off_below_tls(authority: Authority) -> None:
    """Under TLS a response has to state its length, as anyone on the path could cut it short."""

    def behave(connection: socket.socket) -> None:
        answering(b"HTTP/1.1 200 OK\r\n\r\n{}")(connection)
        socket.socket.shutdown(connection, socket.SHUT_RDWR)

    with serve_raw(behave, tls=authority.server(authority.issue())) as server:
        failure = await only_failure(direct_engine(tls=authority.client()), request(server.url))

    assert failure.sent


class TestKeysOfConnections:
    """``SSLKEYLOGFILE`` names a file with which traffic can be decrypted."""

    async def test_are_written_only_if_the_environment_is_trusted(
        self, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine
    ) -> None:
        """The environment asks for the file."""
        file = tmp_path / "keys"
        monkeypatch.setenv("SSLKEYLOGFILE", str(file))
        with serve_raw(answering(), tls=authority.server(authority.issue())) as server:
            await only_failure(engine(), request(server.url))

        assert tls_settings().keylog_filename is None
        assert not file.exists()
        assert tls_settings(trust_env=True).keylog_filename == str(file)

    def test_the_other_settings_are_those_of_python(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Except for the settings of the environment."""
        for name in ("SSLKEYLOGFILE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(name, raising=False)
        ours, usual = tls_settings(), tls_settings(trust_env=True)

        names = ("check_hostname", "verify_mode", "verify_flags", "minimum_version", "maximum_version", "options")
        assert [getattr(ours, name) for name in names] == [getattr(usual, name) for name in names]
        assert ours.cert_store_stats() == usual.cert_store_stats()
