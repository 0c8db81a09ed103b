"""For the sections about findings and advice of `binance-pm doctor --stream`."""

# Imports that this module does not use are for the sections of messages.txt.
# pyright: reportUnusedImport=false
from __future__ import annotations

import ssl
from typing import Any

from binance_pm.doctor import Check, StreamOptions
from binance_pm.doctor.network import check_network, network_path
from binance_pm.doctor.stream_checks import (
    STREAM_CHECKS,
    check_connections,
    check_keepalive,
    check_key_sharing,
    check_listen_key,
    check_pings,
    check_server_pings,
    check_unanswered,
    check_unknown_key,
)
from binance_pm.doctor.stream_events import check_event_time, check_events, check_update_time
from binance_pm.doctor.stream_facts import StreamFacts, UnknownKeyFacts
from binance_pm.errors import CallInfo, ConnectError, GateClosed, RequestRejected
from binance_pm.signing import Secret
from tests.messages.doctor import examined, target
from tests.messages.responses import tls_server
from tests.messages.stage import Stage
from tests.support.certificates import make_certificate
from tests.support.raw_server import refusing_port, serve_raw, silent
from tests.support.stream_facts import POSITION_TIME, PUSHED, arrival, connection, facts, moved, never_open, order
from tests.support.streams import sample

LOST = ConnectError(CallInfo("create_listen_key", "desk"), "papi.binance.com: connection refused")
CLOSED = GateClosed(CallInfo("create_listen_key", "desk"), "the gate is closed", until=1_800_000_100.0, banned=False)
GONE = RequestRejected(
    CallInfo("keepalive_listen_key", "desk"), "This listenKey does not exist.", status=400, code=-1125
)
OTHER = Secret("another canary")
EXPIRED = {"e": "listenKeyExpired", "E": PUSHED, "listenKey": "canary"}
UPDATE = sample("PM_PRO_ACCOUNT_UPDATE") | {"E": PUSHED}
BROKEN = connection(ended_at=4.0, why_ended="the connection broke")
NONE = {"older": never_open(), "newer": never_open()}


def of_key(key: str, **changes: Any) -> StreamFacts:
    """Return the observed facts of a stream with a listen key."""
    return facts(first=Secret(key), second=Secret(key), last=Secret(key), **changes)


def checks_of(observed: StreamFacts) -> list[Check]:
    """Return the checks of the observed facts of a stream."""
    return [check("desk", observed) for check in STREAM_CHECKS.values()]


def unanswered(**watched: StreamFacts) -> Check:
    """Return which questions are open."""
    return check_unanswered(watched, check_key_sharing(watched))


async def streams(*targets: Any, **options: Any) -> list[Check]:
    """Examine accounts with their streams, at an address where nothing listens."""
    chosen: dict[str, Any] = {"seconds": 1.0} | options
    checks = await examined(*targets, streams=StreamOptions(**chosen))
    return [check for check in checks if check.name not in {"configuration", "clock", "key", "permissions", "product"}]


async def no_stream() -> list[Check]:
    """Examine an account with a stream at another address, where nothing listens."""
    with refusing_port() as port:
        return await streams(target(), url=f"ws://127.0.0.1:{port}")


async def not_pinned(stage: Stage) -> object:
    """Check the path to a server whose certificate is not pinned."""
    file = make_certificate(stage.folder)
    with serve_raw(silent, tls=tls_server(file)) as server:
        tls = ssl.create_default_context(cafile=str(file))
        return list(await check_network(network_path(server.url, trust_env=False), tls, pins={"0" * 64}))
