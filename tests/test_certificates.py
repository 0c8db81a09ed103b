"""Certificates that cannot be read are named when a session opens, or before its first request is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import certifi
import pytest

from binance_pm import Budget, Client, ConfigurationError, ConnectError, Session
from tests.conftest import refusing_port


def session_of(**options: Any) -> Session:
    """A session with a budget of its own."""
    return Session(budget=Budget(), **options)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is named but what a test names."""
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
async def test_a_file_that_holds_none_is_named(
    place: str, reason: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variable that leads to it."""
    (tmp_path / "empty.pem").touch()
    (tmp_path / "text.pem").write_text("no certificate")
    path = place.format(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", path)

    with pytest.raises(ConfigurationError) as caught:
        await session_of(trust_env=True, **options).__aenter__()

    assert f"what SSL_CERT_FILE ({path}) names cannot be read" in str(caught.value)
    assert reason in str(caught.value)


async def test_a_directory_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would be trusted."""
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))

    with pytest.raises(ConfigurationError, match="SSL_CERT_DIR"):
        await session_of(trust_env=True).__aenter__()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_the_environment_is_not_read_unasked(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `trust_env` it does not matter what it names."""
    monkeypatch.setenv(variable, "/no/such/place")

    async with session_of():
        pass


@pytest.mark.parametrize("engine", ["httpx", "direct"])
async def test_certificates_that_were_removed_are_named(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of certifi belong to the installation: nothing is sent without them."""
    monkeypatch.setattr(certifi, "where", lambda: str(tmp_path / "none.pem"))
    with refusing_port() as port:
        client = Client(session=session_of(engine=engine), papi_url=f"https://127.0.0.1:{port}", attempts=1)

        with pytest.raises((ConfigurationError, ConnectError)):
            async with client:
                await client.ping()
