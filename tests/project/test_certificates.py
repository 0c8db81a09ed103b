"""Unreadable certificates are named when a session opens, or before its first request is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import certifi
import pytest

from binance_pm import Budget, Client, ConfigurationError, ConnectError, Session
from tests.support.raw_server import refusing_port


def session_of(**options: Any) -> Session:
    """Return a session with its own budget."""
    return Session(budget=Budget(), **options)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove certificate variables that a test does not set."""
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("{}/none.pem", "no such file or directory"),
        ("{}", "is a directory"),
        ("{}/empty.pem", "no certificate or crl found"),
        ("{}/text.pem", "no certificate or crl found"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"proxy": "http://127.0.0.1:1"}], ids=["direct", "proxy"])
async def test_a_file_without_certificates_is_named(
    place: str, reason: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variable that names it."""
    (tmp_path / "empty.pem").touch()
    (tmp_path / "text.pem").write_text("no certificate")
    path = place.format(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", path)

    with pytest.raises(ConfigurationError) as caught:
        await session_of(trust_env=True, **options).__aenter__()

    assert f"what SSL_CERT_FILE ({path}) names cannot be read" in str(caught.value)
    assert reason in str(caught.value)


async def test_a_missing_directory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server would be trusted."""
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))

    with pytest.raises(ConfigurationError, match="SSL_CERT_DIR"):
        await session_of(trust_env=True).__aenter__()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_the_environment_is_ignored_by_default(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `trust_env` its certificates do not matter."""
    monkeypatch.setenv(variable, "/no/such/place")

    async with session_of():
        pass


@pytest.mark.parametrize("engine", ["httpx", "direct"])
async def test_missing_certificates_of_certifi_are_named(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They belong to the installation: nothing is sent without them."""
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "none.pem"))
    with refusing_port() as port:
        client = Client(session=session_of(engine=engine), papi_url=f"https://127.0.0.1:{port}", attempts=1)

        with pytest.raises((ConfigurationError, ConnectError)):
            async with client:
                await client.ping()
