"""Server authentication: a server without a valid certificate receives no byte of a request."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest

from binance_pm.transport.http import NotConnected, SendFailed
from binance_pm.transport.tls import tls_settings
from tests.support.certificates import Authority, fingerprint
from tests.support.engines import Departure, Engine, direct_engine, httpx_engine, request
from tests.support.raw_server import Behaviour, answering, http, read_request, serve_raw, silent


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the client trusts."""
    return Authority(tmp_path_factory.mktemp("certificates"))


def recording(arrived: list[bytes]) -> Behaviour:
    """Record the received bytes, and answer."""

    def behave(connection: socket.socket) -> None:
        arrived.append(read_request(connection))
        connection.sendall(http(b"{}"))

    return behave


async def test_a_trusted_server(authority: Authority, departure: Departure, engine: Engine) -> None:
    """Two requests use one connection."""

    def behave(connection: socket.socket) -> None:
        for _ in range(2):
            read_request(connection)
            connection.sendall(http(b"{}"))

    with serve_raw(behave, tls=authority.server(authority.issue())) as server:
        async with engine(tls=authority.client()) as transport:
            answers = [await transport.send(request(server.url), departure) for _ in range(2)]

    assert ([answer.body for answer in answers], len(server.connections), departure.count) == ([b"{}"] * 2, 1, 2)


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


async def test_offers_only_http_1_1(
    preferring_http2: ssl.SSLContext, authority: Authority, departure: Departure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the default settings no server can choose HTTP/2."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    agreed: list[str | None] = []
    with serve_raw(agreeing(agreed), tls=preferring_http2) as server:
        async with httpx_engine(trust_env=True) as transport:
            await transport.send(request(server.url), departure)

    assert (agreed, tls_settings().check_hostname) == (["http/1.1"], True)


async def test_does_not_change_the_callers_settings(
    preferring_http2: ssl.SSLContext, authority: Authority, departure: Departure, engine: Engine
) -> None:
    """A context that is also used elsewhere offers the same protocols before and after."""
    agreed: list[str | None] = []
    callers = authority.client()
    callers.set_alpn_protocols(["h2", "http/1.1"])

    def negotiate(url: str) -> None:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with callers.wrap_socket(socket.create_connection(address), server_hostname=address[0]) as secured:
            agreed.append(secured.selected_alpn_protocol())

    with (
        serve_raw(silent, tls=preferring_http2) as server,
        serve_raw(answering(http(b"{}")), tls=authority.server(authority.issue())) as other,
    ):
        negotiate(server.url)
        async with engine(tls=callers) as transport:
            await transport.send(request(other.url), departure)
        negotiate(server.url)

    assert agreed == ["h2", "h2"]


async def test_refuses_a_protocol_offered_only_by_the_callers_settings(
    preferring_http2: ssl.SSLContext, authority: Authority, departure: Departure, engine: Engine
) -> None:
    """A server that chooses HTTP/2 receives no request."""
    callers = authority.client()
    callers.set_alpn_protocols(["h2", "http/1.1"])
    with serve_raw(silent, tls=preferring_http2) as server:
        async with engine(tls=callers) as transport:
            with pytest.raises(NotConnected) as caught:
                await transport.send(request(server.url), departure)

    assert "h2" in caught.value.reason
    assert departure.count == 0


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ({"expired": True}, "has expired"),
        ({"self_signed": True}, "self-signed"),
        ({"name": "127.0.0.2"}, "mismatch"),
        ({"name": "localhost"}, "mismatch"),
    ],
    ids=["expired", "self-signed", "wrong address", "wrong host"],
)
async def test_an_untrusted_server(
    certificate: dict[str, Any], words: str, authority: Authority, departure: Departure, engine: Engine
) -> None:
    """Nothing is sent, and the error says why."""
    arrived: list[bytes] = []
    with serve_raw(recording(arrived), tls=authority.server(authority.issue(**certificate))) as server:
        async with engine(tls=authority.client()) as transport:
            with pytest.raises(NotConnected) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count, b"".join(arrived)) == (False, 0, b"")
    assert words in f"{caught.value} {caught.value.__cause__}"


async def test_only_known_authorities_are_trusted_by_default(
    authority: Authority, departure: Departure, engine: Engine
) -> None:
    """Without settings of the caller, a private authority is not trusted."""
    with serve_raw(answering(http(b"{}")), tls=authority.server(authority.issue())) as server:
        async with engine() as transport:
            with pytest.raises(NotConnected) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


async def test_the_environment_does_not_change_the_trusted_authorities(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, departure: Departure, engine: Engine
) -> None:
    """Otherwise a variable would be enough to read the traffic."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with serve_raw(answering(http(b"{}")), tls=authority.server(authority.issue())) as server:
        async with engine() as transport:
            with pytest.raises(NotConnected):
                await transport.send(request(server.url), departure)

    assert departure.count == 0


async def test_a_server_with_an_outdated_tls_version(
    authority: Authority, departure: Departure, engine: Engine
) -> None:
    """The settings decide which versions are accepted."""
    old, client = authority.server(authority.issue()), authority.client()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    with serve_raw(answering(http(b"{}")), tls=old) as server:
        async with engine(tls=client) as transport:
            with pytest.raises(NotConnected) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


async def test_a_client_certificate(authority: Authority, departure: Departure, engine: Engine) -> None:
    """A server may require one."""
    asking = authority.server(authority.issue(), asks_client=True)
    with serve_raw(answering(http(b"{}")), tls=asking) as server:
        async with engine(tls=authority.client(authority.issue())) as transport:
            answer = await transport.send(request(server.url), departure)

    assert answer.body == b"{}"


async def test_a_missing_client_certificate(authority: Authority, departure: Departure, engine: Engine) -> None:
    """If the handshake fails, nothing was sent."""
    asking = authority.server(authority.issue(), asks_client=True)
    asking.maximum_version = ssl.TLSVersion.TLSv1_2
    with serve_raw(answering(http(b"{}")), tls=asking) as server:
        async with engine(tls=authority.client()) as transport:
            with pytest.raises(NotConnected) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


class TestPins:
    """Certificates that are known in advance."""

    async def test_the_pinned_certificate(self, authority: Authority, departure: Departure) -> None:
        """Accepted beside other pins."""
        shown = authority.issue()
        pins = frozenset({fingerprint(shown).replace(":", "").lower(), "0" * 64})
        with serve_raw(answering(http(b"{}")), tls=authority.server(shown)) as server:
            async with direct_engine(tls=authority.client(), pins=pins) as transport:
                answer = await transport.send(request(server.url), departure)

        assert answer.body == b"{}"

    async def test_another_certificate_of_the_same_authority(self, authority: Authority, departure: Departure) -> None:
        """The server receives no byte of the request."""
        arrived: list[bytes] = []
        pins = frozenset({fingerprint(authority.issue()).replace(":", "").lower()})
        with serve_raw(recording(arrived), tls=authority.server(authority.issue())) as server:
            async with direct_engine(tls=authority.client(), pins=pins) as transport:
                with pytest.raises(NotConnected) as caught:
                    await transport.send(request(server.url), departure)

        assert (caught.value.sent, departure.count, b"".join(arrived)) == (False, 0, b"")

    async def test_no_certificate(self, departure: Departure) -> None:
        """Plain HTTP has no certificate to check."""
        with serve_raw(answering(http(b"{}"))) as server:
            async with direct_engine(pins=frozenset({"0" * 64})) as transport:
                with pytest.raises(NotConnected) as caught:
                    await transport.send(request(server.url), departure)

        assert (caught.value.sent, departure.count) == (False, 0)


async def test_surplus_closes_the_connection(authority: Authority, departure: Departure, engine: Engine) -> None:
    """Surplus bytes are found in the decrypted data."""

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(http(b"mine") + http(b"another's"))
        connection.recv(100)

    with serve_raw(behave, tls=authority.server(authority.issue())) as server:
        async with engine(tls=authority.client()) as transport:
            answers = [await transport.send(request(server.url), departure) for _ in range(2)]

    assert ([answer.body for answer in answers], len(server.connections)) == ([b"mine"] * 2, 2)


async def test_a_response_cut_off_below_tls(authority: Authority, departure: Departure) -> None:
    """Under TLS a response has to state its length, as anyone on the path could cut it short."""

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n{}")
        socket.socket.shutdown(connection, socket.SHUT_RDWR)

    with serve_raw(behave, tls=authority.server(authority.issue())) as server:
        async with direct_engine(tls=authority.client()) as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request(server.url), departure)

    assert caught.value.sent
