"""The environment variables for keys, URLs and the engine."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from binance_pm.errors import CallInfo, ConfigurationError

BASE_URL: Final = "BINANCE_PM_BASE_URL"
ENGINE: Final = "BINANCE_PM_ENGINE"
STREAM_URL: Final = "BINANCE_PM_STREAM_URL"

_ENGINES: Final = ("auto", "httpx", "direct")


def environment_keys(env: Mapping[str, str], *, given: Container[str] = ()) -> dict[str, Any]:
    """Return the parts of key and secret that were not already given, as arguments of `Client`.

    Raises:
        ConfigurationError: a variable is missing, or two exclude each other; the text names them.
    """
    keys: dict[str, Any] = {}
    call = CallInfo("Client.from_env")
    if "api_key" not in given:
        keys["api_key"] = env.get("BINANCE_PM_API_KEY")
        if not keys["api_key"]:
            raise ConfigurationError(call, "BINANCE_PM_API_KEY is not set")
    if "api_secret" not in given:
        secret, file = env.get("BINANCE_PM_API_SECRET"), env.get("BINANCE_PM_PRIVATE_KEY_FILE")
        if not secret and not file:
            raise ConfigurationError(call, "neither BINANCE_PM_API_SECRET nor BINANCE_PM_PRIVATE_KEY_FILE is set")
        if secret and file:
            raise ConfigurationError(call, "both BINANCE_PM_API_SECRET and BINANCE_PM_PRIVATE_KEY_FILE are set")
        keys["api_secret"] = secret or Path(file or "")
        keys["passphrase"] = env.get("BINANCE_PM_PRIVATE_KEY_PASSPHRASE") or None
    return keys


def environment_urls(env: Mapping[str, str]) -> dict[str, Any]:
    """Return the URLs of the exchange as arguments of `Client`; empty if the environment names none."""
    url = env.get(BASE_URL)
    return {"papi_url": url, "sapi_url": url} if url else {}


def environment_stream_url(env: Mapping[str, str]) -> dict[str, Any]:
    """Return the URL of the user data streams as an argument of `Client`; empty if the environment names none."""
    url = env.get(STREAM_URL)
    return {"stream_url": url} if url else {}


def environment_engine(env: Mapping[str, str]) -> Literal["auto", "httpx", "direct"]:
    """Return the engine that the environment asks for; "auto" if the environment names none.

    Raises:
        ValueError: the named engine does not exist.
    """
    named = env.get(ENGINE) or "auto"
    if named not in _ENGINES:
        raise ValueError(f"{ENGINE} is {named!r}: it is one of {', '.join(_ENGINES)}")
    return named
