"""Who the engines speak to: a server that cannot show who it is gets no byte of a request."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest

from binance_pm.transport.http import NotConnected, SendFailed
from binance_pm.transport.tls import tls_settings
from tests.raw_server import Behaviour, answering, http, read_request, serve_raw, silent
from tests.transport.certificates import Authority, fingerprint
from tests.transport.engines import Departure, Engine, direct_engine, httpx_engine, request


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom the client trusts."""
    return Authority(tmp_path_factory.mktemp("certificates"))


def recording(arrived: list[bytes]) -> Behaviour:
    """Keep what arrives, and answer it."""

    def behave(connection: socket.socket) -> None:
        arrived.append(read_request(connection))
        connection.sendall(http(b"{}"))

    return behave


async def test_a_server_that_is_trusted(authority: Authority, departure: Departure, engine: Engine) -> None:
    """Two requests go over one connection."""

    def behave(connection: socket.socket) -> None:
        for _ in range(2):
            read_request(connection)
            connection.sendall(http(b"{}"))

    with serve_raw(behave, tls=authority.server(authority.issue())) as server:
        async with engine(tls=authority.client()) as transport:
            answers = [await transport.send(request(server.url), departure) for _ in range(2)]

    assert ([answer.body for answer in answers], len(server.connections), departure.count) == ([b"{}"] * 2, 1, 2)


def agreeing(agreed: list[str | None]) -> Behaviour:
    """Note the protocol that was negotiated, and answer."""

    def behave(connection: socket.socket) -> None:
        assert isinstance(connection, ssl.SSLSocket)
        agreed.append(connection.selected_alpn_protocol())
        answering(http(b"{}"))(connection)

    return behave


@pytest.fixture
def preferring_http2(authority: Authority) -> ssl.SSLContext:
    """Settings of a server that would rather speak HTTP/2."""
    context = authority.server(authority.issue())
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


async def test_offers_http_1_1_alone(
    preferring_http2: ssl.SSLContext, authority: Authority, departure: Departure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default settings never let a server choose HTTP/2."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    agreed: list[str | None] = []
    with serve_raw(agreeing(agreed), tls=preferring_http2) as server:
        async with httpx_engine(trust_env=True) as transport:
            await transport.send(request(server.url), departure)

    assert (agreed, tls_settings().check_hostname) == (["http/1.1"], True)


async def test_leaves_the_callers_settings_alone(
    preferring_http2: ssl.SSLContext, authority: Authority, departure: Departure, engine: Engine
) -> None:
    """A context that the caller uses elsewhere, too, offers the same protocols before and after."""
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


async def test_refuses_a_protocol_that_only_the_callers_settings_offer(
    preferring_http2: ssl.SSLContext, authority: Authority, departure: Departure, engine: Engine
) -> None:
    """A server that chose HTTP/2 is sent nothing."""
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
async def test_a_server_that_is_not_trusted(
    certificate: dict[str, Any], words: str, authority: Authority, departure: Departure, engine: Engine
) -> None:
    """The request stays here, and the error says why."""
    arrived: list[bytes] = []
    with serve_raw(recording(arrived), tls=authority.server(authority.issue(**certificate))) as server:
        async with engine(tls=authority.client()) as transport:
            with pytest.raises(NotConnected) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count, b"".join(arrived)) == (False, 0, b"")
    assert words in f"{caught.value} {caught.value.__cause__}"


async def test_nobody_is_trusted_by_default_but_the_known(
    authority: Authority, departure: Departure, engine: Engine
) -> None:
    """Without settings of the caller's, an authority of one's own is a stranger."""
    with serve_raw(answering(http(b"{}")), tls=authority.server(authority.issue())) as server:
        async with engine() as transport:
            with pytest.raises(NotConnected) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


async def test_the_environment_is_not_asked_whom_to_trust(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, departure: Departure, engine: Engine
) -> None:
    """Whoever sets a variable of the program could read along otherwise."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with serve_raw(answering(http(b"{}")), tls=authority.server(authority.issue())) as server:
        async with engine() as transport:
            with pytest.raises(NotConnected):
                await transport.send(request(server.url), departure)

    assert departure.count == 0


async def test_a_server_that_speaks_too_old_a_tls(authority: Authority, departure: Departure, engine: Engine) -> None:
    """What the settings ask for is what is spoken."""
    old, client = authority.server(authority.issue()), authority.client()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    with serve_raw(answering(http(b"{}")), tls=old) as server:
        async with engine(tls=client) as transport:
            with pytest.raises(NotConnected) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


async def test_a_certificate_of_the_clients_own(authority: Authority, departure: Departure, engine: Engine) -> None:
    """A server may ask for it."""
    asking = authority.server(authority.issue(), asks_client=True)
    with serve_raw(answering(http(b"{}")), tls=asking) as server:
        async with engine(tls=authority.client(authority.issue())) as transport:
            answer = await transport.send(request(server.url), departure)

    assert answer.body == b"{}"


async def test_a_missing_certificate_of_the_clients_own(
    authority: Authority, departure: Departure, engine: Engine
) -> None:
    """Where the handshake tells, nothing was sent."""
    asking = authority.server(authority.issue(), asks_client=True)
    asking.maximum_version = ssl.TLSVersion.TLSv1_2
    with serve_raw(answering(http(b"{}")), tls=asking) as server:
        async with engine(tls=authority.client()) as transport:
            with pytest.raises(NotConnected) as caught:
                await transport.send(request(server.url), departure)

    assert (caught.value.sent, departure.count) == (False, 0)


class TestPins:
    """Certificates that are known beforehand."""

    async def test_the_pinned_one(self, authority: Authority, departure: Departure) -> None:
        """It is accepted, whatever else is pinned."""
        shown = authority.issue()
        pins = frozenset({fingerprint(shown).replace(":", "").lower(), "0" * 64})
        with serve_raw(answering(http(b"{}")), tls=authority.server(shown)) as server:
            async with direct_engine(tls=authority.client(), pins=pins) as transport:
                answer = await transport.send(request(server.url), departure)

        assert answer.body == b"{}"

    async def test_another_of_the_same_authority(self, authority: Authority, departure: Departure) -> None:
        """It gets no byte of the request."""
        arrived: list[bytes] = []
        pins = frozenset({fingerprint(authority.issue()).replace(":", "").lower()})
        with serve_raw(recording(arrived), tls=authority.server(authority.issue())) as server:
            async with direct_engine(tls=authority.client(), pins=pins) as transport:
                with pytest.raises(NotConnected) as caught:
                    await transport.send(request(server.url), departure)

        assert (caught.value.sent, departure.count, b"".join(arrived)) == (False, 0, b"")

    async def test_no_certificate_at_all(self, departure: Departure) -> None:
        """Plain HTTP proves nothing."""
        with serve_raw(answering(http(b"{}"))) as server:
            async with direct_engine(pins=frozenset({"0" * 64})) as transport:
                with pytest.raises(NotConnected) as caught:
                    await transport.send(request(server.url), departure)

        assert (caught.value.sent, departure.count) == (False, 0)


async def test_surplus_closes_the_connection(authority: Authority, departure: Departure, engine: Engine) -> None:
    """It is looked for behind the encryption."""

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(http(b"mine") + http(b"another's"))
        connection.recv(100)

    with serve_raw(behave, tls=authority.server(authority.issue())) as server:
        async with engine(tls=authority.client()) as transport:
            answers = [await transport.send(request(server.url), departure) for _ in range(2)]

    assert ([answer.body for answer in answers], len(server.connections)) == ([b"mine"] * 2, 2)


async def test_an_answer_cut_off_below_tls(authority: Authority, departure: Departure) -> None:
    """Under TLS an answer has to say how long it is: anybody on the way could end it sooner."""

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n{}")
        socket.socket.shutdown(connection, socket.SHUT_RDWR)

    with serve_raw(behave, tls=authority.server(authority.issue())) as server:
        async with direct_engine(tls=authority.client()) as transport:
            with pytest.raises(SendFailed) as caught:
                await transport.send(request(server.url), departure)

    assert caught.value.sent
