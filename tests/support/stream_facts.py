"""Made-up observations of a stream."""

from __future__ import annotations

import json
from typing import Any

from binance_pm.doctor.stream_facts import ConnectionFacts, ReceivedMessage, StreamFacts, received
from binance_pm.endpoint import ENDPOINTS
from binance_pm.signing import Secret
from tests.support.sample import sample_of
from tests.support.streams import order_event, sample

PUSHED = 1_800_000_000_000
"""The E of the events, in milliseconds."""
POSITION_TIME = 1_795_909_301_111
"""The updateTime of the sampled position in BTCUSDT."""
OPEN: dict[str, Any] = {"opened_at": 1.0, "round_trips": [0.01, 0.02, 0.03]}


def arrival(message: dict[str, Any] | bytes, *, at: float = 5.0, late: float = 0.1) -> ReceivedMessage:
    """Return the arrival of a message that was pushed some seconds before, by a clock known to within 20 ms."""
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    now = PUSHED / 1000 + late
    return received(at, (now - 0.01, now + 0.01), raw)


def order(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Return an event about an order."""
    return order_event(number) | {"E": PUSHED} | changes


def moved(*, at: int = POSITION_TIME) -> dict[str, Any]:
    """Return an event about the sampled position in BTCUSDT, with a T."""
    event = sample("ACCOUNT_UPDATE")
    position = event["a"]["P"][0] | {"ps": "BOTH"}
    return event | {"E": PUSHED, "T": at, "a": event["a"] | {"P": [position]}}


def connection(*arrivals: ReceivedMessage, **changes: Any) -> ConnectionFacts:
    """Return a connection that was open during the watch."""
    options: dict[str, Any] = OPEN | {"arrivals": list(arrivals)} | changes
    return ConnectionFacts(**options)


def never_open(why: str = "stream.example: connection refused") -> ConnectionFacts:
    """Return a connection that was never open."""
    return ConnectionFacts(failure=why)


def facts(*both: ReceivedMessage, **changes: Any) -> StreamFacts:
    """Return observations of a stream for 20 s; the messages arrived on both connections."""
    usual: dict[str, Any] = {
        "product": "pm",
        "seconds": 20.0,
        "pong_seconds": 5.0,
        "first": Secret("canary"),
        "second": Secret("canary"),
        "last": Secret("canary"),
        "older": connection(*both),
        "newer": connection(*both),
        "answers": {name: answer(name) for name in ("balance", "um_account")},
    }
    return StreamFacts(**(usual | changes))


def answer(name: str) -> Any:
    """Return the sampled response of an endpoint."""
    return ENDPOINTS[name].decode(json.dumps(sample_of(name)["answer"]).encode())
