"""Fixtures of tests of a published stream."""

from __future__ import annotations

import hashlib

import pytest

from binance_pm.fleet.relay import publish, server, subscribe


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A stream name that no other test uses."""
    return hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is not an unavailable server, and no test waits long for a retry."""
    monkeypatch.setattr(server, "CONNECT_SECONDS", 20.0)
    monkeypatch.setattr(server, "REPLY_SECONDS", 20.0)
    monkeypatch.setattr(server, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(publish, "_CLOSE_SECONDS", 20.0)
    monkeypatch.setattr(subscribe, "_WAIT_SECONDS", 0.05)
