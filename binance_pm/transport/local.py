"""A switch for tests that blocks requests to other machines."""

from __future__ import annotations

from urllib.parse import urlsplit

from binance_pm.hosts import is_loopback
from binance_pm.transport.http import SendFailed

IS_ENFORCED: bool = False
"""Set by the pytest fixture ``pm_offline``."""


def check_is_local(origin: str) -> None:
    """Refuse an origin on another machine.

    Raises:
        SendFailed: the origin is on another machine; nothing was sent.
    """
    if not is_loopback(origin):
        host = urlsplit(origin).hostname
        raise SendFailed(f"{host} is not this machine, and the fixture pm_offline lets nothing leave it", sent=False)
