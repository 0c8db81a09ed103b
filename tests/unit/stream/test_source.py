"""Where streams go, and what a session must be able to do."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from binance_pm import Budget, Client, ConfigurationError, Session
from binance_pm.errors import CallInfo
from binance_pm.hosts import check_stream_url
from binance_pm.limits import Priority
from binance_pm.stream.policy import StreamSettings
from binance_pm.stream.shared import session_streams
from binance_pm.stream.source import _address, source_of

KEYS: dict[str, Any] = {"api_key": "k" * 64, "api_secret": "s" * 64}


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "wss://fstream.binance.com"),
        ({"papi_url": "https://papi.binance.com"}, "wss://fstream.binance.com"),
        ({"papi_url": "http://127.0.0.1:8080"}, "ws://127.0.0.1:8080"),
        ({"papi_url": "https://localhost"}, "wss://localhost"),
        ({"papi_url": "https://example.com", "allow_custom_host": True}, "wss://example.com"),
        ({"stream_url": "ws://127.0.0.1:9"}, "ws://127.0.0.1:9"),
        ({"stream_url": "wss://FSTREAM.binance.com:443/"}, "wss://fstream.binance.com"),
        ({"stream_url": "wss://example.com:8443", "allow_custom_host": True}, "wss://example.com:8443"),
    ],
)
def test_streams_go_to_the_exchange_or_to_the_host_of_the_requests(options: dict[str, Any], url: str) -> None:
    """Keys of the local exchange are sent to no other place."""
    assert Client(**KEYS, **options).stream_url == url


@pytest.mark.parametrize(
    "url",
    [
        "ws://fstream.binance.com",
        "https://fstream.binance.com",
        "wss://papi.binance.com",
        "wss://example.com",
        "wss://fstream.binance.com:8443",
        "wss://fstream.binance.com.example.com",
        "wss://user:password@fstream.binance.com",
        "wss://fstream.binance.com/pm/ws",
        "wss://fstream.binance.com?x=1",
        "fstream.binance.com",
        "",
    ],
)
def test_other_stream_urls_are_refused(url: str) -> None:
    """By the rules of the other URLs, without showing a password."""
    with pytest.raises(ConfigurationError) as caught:
        Client(**KEYS, stream_url=url)
    assert "stream_url" in caught.value.reason
    assert "password" not in str(caught.value)


def test_any_host_is_allowed_only_over_tls() -> None:
    """Another host needs permission, and wss in any case."""
    assert check_stream_url("wss://example.com", allow_custom_host=True) == "wss://example.com"
    with pytest.raises(ValueError, match="not wss"):
        check_stream_url("ws://example.com", allow_custom_host=True)


def test_the_environment_names_another_server() -> None:
    """`BINANCE_PM_STREAM_URL` outweighs the host of `BINANCE_PM_BASE_URL`, and an argument outweighs both."""
    environment = {
        "BINANCE_PM_API_KEY": "k" * 64,
        "BINANCE_PM_API_SECRET": "s" * 64,
        "BINANCE_PM_BASE_URL": "http://127.0.0.1:1",
    }
    named = environment | {"BINANCE_PM_STREAM_URL": "ws://127.0.0.1:2"}

    assert Client.from_env(environment).stream_url == "ws://127.0.0.1:1"
    assert Client.from_env(named).stream_url == "ws://127.0.0.1:2"
    assert Client.from_env(named, stream_url="ws://127.0.0.1:3").stream_url == "ws://127.0.0.1:3"


class OpenClient:
    """A client that makes no calls."""

    label = "desk"
    key_id = "desk"

    def __init__(self, session: Session, stream_url: str = "wss://fstream.binance.com") -> None:
        self.session = session
        self.stream_url = stream_url
        self.asked: dict[str, Any] = {}

    def origin(self, endpoint: Any) -> str:
        """Return the origin of the endpoint."""
        return f"https://{endpoint.family}.binance.com"

    def options(self, *, priority: Priority | None = None, attempts: int | None = None) -> OpenClient:
        """Record the options."""
        self.asked = {"priority": priority, "attempts": attempts}
        return self

    async def call(self, endpoint: Any, parameters: dict[str, Any]) -> Any:
        """Refuse to call."""
        raise NotImplementedError

    async def until_closed(self, call: Any) -> NoReturn:
        """Refuse to wait."""
        raise NotImplementedError


def connecting_proxy(session: Session, url: str = "wss://fstream.binance.com") -> str | None:
    """Return the proxy of the streams of a session."""
    shared = session_streams(session, StreamSettings())
    address = _address(CallInfo("stream", "desk"), url, session, shared)
    return None if address.proxy is None else address.proxy.url


async def test_the_proxy_of_the_session_or_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment only with `trust_env`, and none for this machine."""
    monkeypatch.setenv("HTTPS_PROXY", "http://environment.example:3128")
    given = Session(proxy="http://given.example:3128", budget=Budget())

    assert connecting_proxy(given) == "http://given.example:3128"
    assert connecting_proxy(given, "ws://127.0.0.1:1") is None
    assert connecting_proxy(Session(budget=Budget())) is None
    assert connecting_proxy(Session(trust_env=True, budget=Budget())) == "http://environment.example:3128"


async def test_an_unusable_proxy_of_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text names the variable and shows no password."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://user:password@environment.example")

    with pytest.raises(ConfigurationError) as caught:
        connecting_proxy(Session(trust_env=True, budget=Budget()))
    assert "HTTPS_PROXY" in caught.value.reason
    assert "password" not in str(caught.value)


async def test_listen_keys_are_asked_for_as_polls_without_retries() -> None:
    """The stream has its own pauses; orders come first."""
    session = Session(budget=Budget())
    client = OpenClient(session)
    source = source_of(client, "pro", session_streams(session, StreamSettings()), lambda: 0.0)

    assert client.asked == {"priority": Priority.POLL, "attempts": 1}
    assert source.weight_per_minute == 2_400


async def test_streams_of_a_session_share_their_pace() -> None:
    """And those of another session do not."""
    one, other = Session(budget=Budget()), Session(budget=Budget(instances=3))

    assert session_streams(one, StreamSettings()) is session_streams(one, StreamSettings())
    shared = session_streams(other, StreamSettings())
    shared.open_streams["pm"] = 60
    assert shared.confirm_interval("pm", 60.0, 6_000) == pytest.approx(180.0)
