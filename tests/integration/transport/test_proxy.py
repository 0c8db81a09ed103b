"""Calls through a proxy, which learns the host and port and nothing else."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import trio

from binance_pm import Budget, Client, ConfigurationError, ConnectError, NoResponse, Session, Timeouts
from binance_pm.transport.proxy import environment_proxies, read_proxy
from tests.support.certificates import Authority
from tests.support.proxies import Seen, connect_proxy, socks_proxy
from tests.support.raw_server import Behaviour, RawServer, answering, http, read_request, reset, serve_raw, silent

KEY, SECRET = "k" * 64, "s" * 64
# Any character of a password that must not appear unescaped in a URL.
PASSWORD = "p@ss/w#rd?:%"
VARIABLES = [f"{name}_proxy" for name in ("http", "https", "all", "no")]

Proxying = Callable[..., Behaviour]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the client trusts."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the proxies of the developer's own environment."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Exchange:
    """What arrived at the server that plays the exchange."""

    def __init__(self, server: RawServer, requests: list[bytes]) -> None:
        self.place = server.place
        self.requests = requests
        self.places = {"papi.binance.com:443": self.place, self.place: self.place}


@contextmanager
def exchange(authority: Authority) -> Generator[Exchange, None, None]:
    """Serve as papi.binance.com, and as 127.0.0.1."""
    requests: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        while head := read_request(connection):
            requests.append(head)
            connection.sendall(http(b"{}"))

    context = authority.server(authority.issue("papi.binance.com"))
    other = authority.server(authority.issue())

    def choose(connection: object, name: str | None, _: object) -> None:
        if name is None:
            vars(type(connection))["context"].__set__(connection, other)

    context.sni_callback = choose
    with serve_raw(behave, tls=context) as server:
        yield Exchange(server, requests)


async def call(session: Session, url: str = "https://papi.binance.com") -> None:
    """Make one signed call."""
    async with session, Client(KEY, SECRET, session=session, papi_url=url, attempts=1) as client:
        await client.request("GET", "/papi/v1/account", weight=20, returns=dict)


def assert_nothing_shown(seen: Seen) -> None:
    """Assert that the proxy saw neither key, signature, query nor path."""
    for head in seen.heads:
        for secret in (KEY, "signature", "timestamp", "/papi", "X-MBX", "x-mbx"):
            assert secret.encode() not in head


KINDS: Mapping[str, Proxying] = {"http": connect_proxy, "socks5": socks_proxy, "socks5h": socks_proxy}


@pytest.mark.parametrize("url", ["https://papi.binance.com", "https://127.0.0.1"])
@pytest.mark.parametrize("user", [None, f"user:{PASSWORD}"])
@pytest.mark.parametrize("kind", [*KINDS, "https"])
async def test_a_proxy_learns_only_the_host(kind: str, user: str | None, url: str, authority: Authority) -> None:
    """The request passes through the tunnel, encrypted for the exchange."""
    seen = Seen()
    secure = authority.server(authority.issue()) if kind == "https" else None
    with exchange(authority) as there:
        behave = KINDS.get(kind, connect_proxy)(seen, there.places, user=user)
        with serve_raw(behave, tls=secure) as proxy:
            place = proxy.place
            login = "" if user is None else f"user:{quote(PASSWORD, safe='')}@"
            session = Session(proxy=f"{kind}://{login}{place}", tls=authority.client(), budget=Budget())
            asked = url if "binance" in url else f"https://{there.place}"
            await call(session, asked)

    wanted = "papi.binance.com:443" if "binance" in url else there.place
    assert seen.places == [wanted]
    assert_nothing_shown(seen)
    assert [head.split(b"?")[0] for head in there.requests] == [b"GET /papi/v1/account"]
    assert KEY.encode() in there.requests[0]
    assert b"proxy-authorization" not in there.requests[0].lower()


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("user", [None, "user:word"])
@pytest.mark.parametrize("scheme", ["http://", "socks5://", ""])
async def test_the_environment_names_the_proxy(
    scheme: str, user: str | None, variable: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the environment is trusted; its URL may have no scheme."""
    seen = Seen()
    with exchange(authority) as there:
        behave = (socks_proxy if scheme == "socks5://" else connect_proxy)(seen, there.places, user=user)
        with serve_raw(behave) as proxy:
            login = "" if user is None else f"{user}@"
            monkeypatch.setenv(variable, f"{scheme}{login}{proxy.place}")
            await call(Session(trust_env=True, tls=authority.client(), budget=Budget()))

    assert (seen.places, len(there.requests)) == (["papi.binance.com:443"], 1)
    assert_nothing_shown(seen)


async def test_several_requests_use_one_tunnel(authority: Authority) -> None:
    """The connection and its tunnel are kept."""
    seen = Seen()
    with exchange(authority) as there, serve_raw(connect_proxy(seen, there.places)) as proxy:
        session = Session(proxy=proxy.url, tls=authority.client(), budget=Budget())
        async with session, Client(KEY, SECRET, session=session) as client:
            for _ in range(3):
                await client.request("GET", "/papi/v1/account", weight=20, returns=dict)

    assert (len(there.requests), seen.places) == (3, ["papi.binance.com:443"])


def test_a_proxy_on_trio(authority: Authority) -> None:
    """The other event loop."""
    seen = Seen()
    with exchange(authority) as there, serve_raw(connect_proxy(seen, there.places)) as proxy:

        async def main() -> None:
            await call(Session(proxy=proxy.url, tls=authority.client(), budget=Budget()))

        trio.run(main)

    assert (seen.places, len(there.requests)) == (["papi.binance.com:443"], 1)
    assert_nothing_shown(seen)


def resetting(connection: socket.socket) -> None:
    """Break the connection after the first request."""
    read_request(connection)
    reset(connection)


def refusing(status: str) -> Behaviour:
    """Answer like a proxy that opens no tunnel."""
    return answering(f"HTTP/1.1 {status} canary-of-proxy\r\nContent-Length: 0\r\n\r\n".encode())


def saying(data: bytes) -> Behaviour:
    """Read the first bytes, send a reply, and close."""

    def behave(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(data)

    return behave


def dripping(connection: socket.socket) -> None:
    """Answer byte by byte, each in time."""
    read_request(connection)
    while True:
        connection.sendall(b"H")
        threading.Event().wait(0.05)


INVALID = ": closed the connection, or sent no valid proxy response"
LATE = ": no tunnel opened within 0.3 s"


@pytest.mark.parametrize(
    ("scheme", "behaviour", "words"),
    [
        ("http", refusing("407"), ": answered 407 Proxy Authentication Required to CONNECT"),
        ("http", refusing("403"), ": answered 403 Forbidden to CONNECT"),
        ("http", refusing("599"), ": answered 599 to CONNECT"),
        ("http", refusing("302"), ": answered 302 Found to CONNECT"),
        ("http", connect_proxy(Seen(), {}, user="user:canary"), ": answered 502 Bad Gateway to CONNECT"),
        ("http", answering(b"SSH-2.0-canary-of-proxy\r\n\r\n"), INVALID),
        ("http", answering(b"HTTP/1.1 200 " + b"x" * 200_000), INVALID),
        ("http", answering(), INVALID),
        ("http", resetting, INVALID),
        ("http", silent, LATE),
        ("http", dripping, "it could not be sent within 0.5 s through the proxy "),
        ("socks5", saying(b"SSH-2.0-canary-of-proxy\r\n"), INVALID),
        ("socks5", saying(b"\x05\xff"), ": refused (Requested "),
        ("socks5", socks_proxy(Seen(), {}, user="user:canary"), ": refused (Proxy Server could not connect"),
        ("socks5", saying(b""), INVALID),
        ("socks5", silent, "it could not be sent within 0.5 s through the proxy "),
    ],
    ids=["407", "403", "599", "302", "unknown host", "garbage", "endless", "closed", "reset", "slow", "dripping",
         "socks garbage", "socks asks for more", "socks unknown host", "socks closed", "socks slow"],
)  # fmt: skip
async def test_a_tunnel_that_does_not_open(scheme: str, behaviour: Behaviour, words: str) -> None:
    """Nothing of the request was sent; the error names the proxy and the status, without quoting the body."""
    with serve_raw(behaviour) as proxy:
        url = f"{scheme}://user:canary@{proxy.place}"
        session = Session(proxy=url, timeouts=Timeouts(connect=0.3, read=0.3, total=0.5), budget=Budget())
        with pytest.raises(ConnectError) as caught:
            await call(session)

    place = f"the proxy {proxy.place}"
    assert (f"{words}{proxy.place}" if words.endswith("proxy ") else f"{place}{words}") in str(caught.value)
    assert not caught.value.sent
    error: BaseException | None = caught.value
    while error is not None:
        assert "canary" not in f"{error!r} {error}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(("host", "words"), [("127.0.0.1", "connection refused"), ("x.invalid", "name not resolved")])
async def test_an_unreachable_proxy(host: str, words: str) -> None:
    """The error names the proxy, not the exchange."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(ConnectError, match=f": the proxy {host}:{port}: {words}"):
            await call(Session(proxy=f"http://u:canary@{host}:{port}", budget=Budget()))


@pytest.mark.parametrize("is_proxy", [False, True], ids=["exchange", "proxy"])
async def test_an_untrusted_certificate(authority: Authority, *, is_proxy: bool) -> None:
    """The error names the exchange behind the proxy, or an https proxy."""
    secure = authority.server(authority.issue()) if is_proxy else None
    with (
        exchange(authority) as there,
        serve_raw(connect_proxy(Seen(), there.places), tls=secure) as proxy,
        pytest.raises(ConnectError) as caught,
    ):
        await call(Session(proxy=proxy.url, budget=Budget()))

    place = f"the proxy {proxy.place}" if is_proxy else "papi.binance.com"
    assert f": {place}: unable to get local issuer certificate" in str(caught.value)
    assert there.requests == []


async def test_a_host_that_closes_behind_the_proxy(authority: Authority) -> None:
    """A failure after the request was written is reported as sent."""
    with serve_raw(answering(), tls=authority.server(authority.issue("papi.binance.com"))) as server:
        places = {"papi.binance.com:443": server.place}
        with serve_raw(connect_proxy(Seen(), places)) as proxy, pytest.raises(NoResponse):
            await call(Session(proxy=proxy.url, tls=authority.client(), budget=Budget()))


@pytest.mark.parametrize("user", ["user:word@", ""])
async def test_the_proxy_of_the_callers_client(user: str, authority: Authority) -> None:
    """The proxy learns only the host, and its refusal is reported as not sent."""
    seen = Seen()
    with exchange(authority) as there, serve_raw(connect_proxy(seen, there.places, user="user:word")) as proxy:
        url = proxy.url.replace("//", f"//{user}")
        async with httpx.AsyncClient(proxy=url, verify=authority.client(), trust_env=False) as http_client:
            session = Session(http=http_client, budget=Budget())
            if user:
                await call(session)
            else:
                with pytest.raises(ConnectError, match="by a proxy: answered 407 Proxy Authentication Required"):
                    await call(session)

    assert len(there.requests) == (1 if user else 0)
    assert_nothing_shown(seen)


class TestPlainHttp:
    """A proxy would see the key and the signature."""

    @pytest.mark.parametrize("kind", ["http", "socks5"])
    async def test_is_not_sent_through_a_proxy(self, kind: str) -> None:
        """The error says what would be visible to the proxy."""
        with serve_raw(silent) as proxy:
            url = proxy.url.replace("http", kind)
            with pytest.raises(ConnectError, match=r"127\.0\.0\.1:1: plain http would show key and signature"):
                await call(Session(proxy=url, budget=Budget()), "http://127.0.0.1:1")

            assert proxy.connections == []

    async def test_bypasses_the_proxies_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Plain HTTP is for this machine only."""
        with serve_raw(silent) as proxy, serve_raw(answering(http(b"{}"))) as server:
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url)
            await call(Session(trust_env=True, budget=Budget()), server.url)

            assert proxy.connections == []


UNUSABLE = {
    "127.0.0.1:8080": "no scheme: put http:// in front",
    "proxy.example": "no scheme",
    "user:canary@proxy:3128": "no scheme",
    "": "is empty",
    "http://": "no host",
    "http://:3128": "no host",
    "http://user:canary@": "no host",
    "ftp://user:canary@proxy:1": "a scheme other than http, https, socks5, socks5h",
    "socks4://proxy:1": "a scheme other than",
    "http://proxy:0": "a port that is not a number from 1 to 65535",
    "http://proxy:65536": "a port that is not a number",
    "http://proxy:": "a port that is not a number",
    "http://proxy:port": "a port that is not a number",
    "http://proxy:-1": "a port that is not a number",
    "http://proxy:٣": "a port that is not a number",
    "http://user:can#ary@proxy:3128": "write them as %40 %2F %3F %23",
    "http://user:can@ary@proxy:3128": "write them as",
    "http://user:can/ary@proxy:3128": "write them as",
    "http://user:can?ary@proxy:3128": "write them as",
    "http://us#er:canary@proxy:3128": "write them as",
    "http://user:#canary@proxy:3128": "write them as",
    "http://user:can ary@proxy:3128": "a space or a control character",
    "http://user:canary@proxy:3128\n": "a space or a control character",
    "http://proxy:3128/path": "something after host and port",
    "http://proxy:3128?query": "something after host and port",
    "http://proxy:3128#part": "something after host and port",
    "http://[::1": "no host that is a name",
    "http://::1:3128": "no host that is a name",
    "http://[nope]:3128": "no IPv6 address in its brackets",
    "http://pro xy:3128": "a space or a control character",
    "http://pröxy:3128": "no host that is a name",
    "http://-_!:3128": "no host that is a name",
}


class TestUnusable:
    """An invalid proxy is refused before anything is sent; no password is shown."""

    @pytest.mark.parametrize("variable", [None, "http_proxy", "ALL_PROXY"])
    @pytest.mark.parametrize("url", UNUSABLE)
    async def test_is_named(self, url: str, variable: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        """The argument, or the variable, which is ignored without trust_env and needs no scheme."""
        if variable is not None:
            if "://" not in url:
                return
            monkeypatch.setenv(variable, url)
            async with Session(budget=Budget()):
                pass
        with pytest.raises(ConfigurationError) as caught:
            async with Session(proxy=None if variable else url, trust_env=variable is not None, budget=Budget()):
                pass

        assert f"{variable or 'the proxy'} " in str(caught.value)
        assert UNUSABLE[url] in str(caught.value)
        assert not {"can", "ary"} & set(str(caught.value).replace("'", " ").split())
        assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r}"

    @pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
    @pytest.mark.parametrize("url", ["socks://127.0.0.1:1080/", "socks5://127.0.0.1:1080", "http://us#er@proxy"])
    def test_an_unused_variable(self, url: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Desktops set all of them, and https has its own proxy."""
        monkeypatch.setitem(sys.modules, "socksio", None)
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
        monkeypatch.setenv(variable, url)

        found = environment_proxies()("https://papi.binance.com")

        assert found is not None
        assert found.url == "http://proxy:3128"

    @pytest.mark.parametrize("trust_env", [False, True])
    async def test_socks_without_its_library(self, monkeypatch: pytest.MonkeyPatch, *, trust_env: bool) -> None:
        """The error says what to install."""
        monkeypatch.setitem(sys.modules, "socksio", None)
        monkeypatch.setenv("ALL_PROXY", "socks5://user:canary@127.0.0.1:1080")
        options: dict[str, Any] = {"trust_env": True} if trust_env else {"proxy": "socks5://u:canary@127.0.0.1:1"}
        with pytest.raises(ConfigurationError, match=r"pip install 'httpx\[socks\]'") as caught:
            async with Session(budget=Budget(), **options):
                pass

        assert "canary" not in str(caught.value)

    def test_valid_proxy_urls(self) -> None:
        """Any URL that can be read in only one way."""
        usable = {
            "http://proxy": ("http", "proxy:80"),
            "HTTP://proxy.example:3128/": ("http", "proxy.example:3128"),
            "https://10.0.0.1": ("https", "10.0.0.1:443"),
            "http://[::1]:3128": ("http", "[::1]:3128"),
            "socks5://under_score.example": ("socks5", "under_score.example:1080"),
            "socks5h://proxy:9050": ("socks5h", "proxy:9050"),
        }
        assert {url: ((found := read_proxy(url)).scheme, found.place) for url in usable} == usable
        logins = ["", "@", "user@", "user:@", ":word@", "us%40er:p%23%2f:x@", "ü:ö^[]{}|@"]
        assert [read_proxy(f"http://{login}proxy").auth for login in logins] == [
            None, None, ("user", ""), ("user", ""), ("", "word"), ("us@er", "p#/:x"), ("ü", "ö^[]{}|")
        ]  # fmt: skip


class TestNoProxy:
    """Hosts that the environment exempts."""

    NAMES = (
        "*|papi.binance.com|PAPI.Binance.com|binance.com|.binance.com|*.binance.com|papi.*|all://binance.com|"
        "https://papi.binance.com|papi.binance.com:443|example.com, papi.binance.com|example.com papi.binance.com ,"
    )
    OTHERS = (
        "|,|api.binance.com|nance.com|papi.binance.com:8443|http://papi.binance.com|http://*|"
        "10.0.0.0/8,::1,[::1],fe80::/10,localhost"
    )

    @pytest.mark.parametrize(
        ("host", "exempting", "others"),
        [
            ("papi.binance.com", NAMES, OTHERS),
            ("127.0.0.1", "127.0.0.1|127.0.0.0/8", "10.0.0.0/8"),
            ("127.0.0.1:8443", "127.0.0.1:8443", "127.0.0.1:443"),
            ("10.1.2.3", "10.*", "11.*"),
            ("[::1]", "::1|[::1]", "127.0.0.1"),
            ("[::1]:8443", "[::1]:8443", "[::1]:443"),
        ],
    )
    def test_by_name_domain_address_network_or_port(
        self, host: str, exempting: str, others: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Addresses are compared as addresses."""
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
        for is_exempt, entries in ((True, exempting), (False, others)):
            for entry in entries.split("|"):
                monkeypatch.setenv("NO_PROXY", entry)

                assert (environment_proxies()(f"https://{host}") is None) is is_exempt, entry

    @pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
    @pytest.mark.parametrize(
        "entry",
        ["[::1", "::1]", "[nope]", "host:port", "host:0", "ftp://x", "a/b", "10.0.0.0/33", "http://[", "ex!mple", "://x"],
    )  # fmt: skip
    async def test_an_invalid_entry(self, entry: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The entry is named if there is a proxy, and ignored otherwise."""
        monkeypatch.setenv(variable, f"localhost,{entry}")
        async with Session(trust_env=True, budget=Budget()):
            pass
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
        async with Session(budget=Budget()):
            pass
        with pytest.raises(ConfigurationError) as caught:
            async with Session(trust_env=True, budget=Budget()):
                pass

        assert f"{variable} has the entry {entry!r}" in str(caught.value)

    async def test_an_exempt_host_is_called_directly(
        self, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Other hosts of the same session use the proxy."""
        seen = Seen()
        with exchange(authority) as there, serve_raw(connect_proxy(seen, there.places)) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            session = Session(trust_env=True, tls=authority.client(), budget=Budget())
            async with session:
                for url in ("https://papi.binance.com", f"https://{there.place}"):
                    async with Client(KEY, SECRET, session=session, papi_url=url) as client:
                        await client.request("GET", "/papi/v1/account", weight=20, returns=dict)

        assert (seen.places, len(there.requests)) == (["papi.binance.com:443"], 2)
