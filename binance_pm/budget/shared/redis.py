"""The store of a shared budget in Redis or Valkey: one script, run once for each message.

`binance_pm.redis_client` documents the URL, and what is guaranteed of one message.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib import resources
from types import ModuleType
from typing import Final, get_args

import msgspec

from binance_pm.budget import external, ledger, pacing
from binance_pm.budget.gate import LONGEST_BAN
from binance_pm.budget.shared.messages import Event, StoreMessage, StoreReply
from binance_pm.clock import DRIFT, MOST_UNSURE
from binance_pm.errors import CallInfo
from binance_pm.limits import Priority
from binance_pm.redis_client import RedisServer, Script

CONNECT_SECONDS: Final = 0.5
"""The timeout of a connection, unless the URL sets ``socket_connect_timeout``."""
REPLY_SECONDS: Final = 0.25
"""The timeout of a reply, unless the URL sets ``socket_timeout``."""

PLACE_SECONDS: Final = 1.0
"""Seconds for which a demand keeps its place after the time at which it should be repeated."""
TURN: Final = 0.02
"""Seconds after which a process that came before its turn asks again."""
STEP_SECONDS: Final = 60.0
"""A lease that ends more seconds ahead was made before the store's clock stepped back."""
UNUSED_SECONDS: Final = 600.0
"""Seconds after which an unused pool or origin is forgotten when a new one comes; a closed gate is not."""
IDLE_SECONDS: Final = 3600.0
"""Seconds after which an unused budget expires, but not before its gates have opened."""

SOURCES: Final = (ledger, external, pacing, sys.modules[__name__])
"""The modules whose constants the script uses."""
_CALL: Final = CallInfo("SharedBudget")
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(StoreReply).decode


class RedisStore:
    """The ledgers of one egress IP in a server, for one thread.

    Args:
        url: the server; see `binance_pm.redis_client`.
        name: the name of the budget; all processes with the same name share it.
        connect_seconds: the timeout of a connection.
        reply_seconds: the timeout of a reply.

    Raises:
        ConfigurationError: the URL cannot be read, or redis-py is not installed.
    """

    def __init__(
        self, url: str, name: str, *, connect_seconds: float = CONNECT_SECONDS, reply_seconds: float = REPLY_SECONDS
    ) -> None:
        self._server: Final = RedisServer(url, call=_CALL, connect_seconds=connect_seconds, reply_seconds=reply_seconds)
        # On a cluster, the text in braces decides on the node.
        self._key: Final = f"binance-pm:{{{name}}}"
        self._script: Final = Script(script())

    def __repr__(self) -> str:
        return f"RedisStore({self._server.where!r}, {self._key!r})"

    def exchange(self, message: StoreMessage) -> StoreReply:
        """Run the script with the message; see `Store`."""
        return self._server.run(self._script, [self._key], _ENCODE(message), read=_DECODE)

    def close(self) -> None:
        """Close the connections; see `Store`."""
        self._server.close()


@cache
def script() -> str:
    """Return ``store.lua`` with the constants of the Python modules in place of their names."""
    text = resources.files("binance_pm.budget.shared").joinpath("store.lua").read_text(encoding="utf-8")
    known = {"DRIFT": DRIFT, "MOST_UNSURE": MOST_UNSURE, "LONGEST_BAN": LONGEST_BAN}
    known["PRIORITY_ORDER"] = int(Priority.ORDER)
    for module in SOURCES:
        known |= figures(module)
    for kind in get_args(Event):
        known[f"KIND_{kind.__name__.upper()}"] = kind.__struct_config__.tag
    # Local variables would do as well, but each message would then create every function again that uses one.
    return re.sub(r"\b[A-Z][A-Z_]+\b", lambda found: str(known.get(found[0], found[0])), text)


def figures(module: ModuleType) -> dict[str, float]:
    """Return the numeric constants of a module."""
    named = {name.lstrip("_"): value for name, value in vars(module).items() if name.isupper()}
    return {name: value for name, value in named.items() if isinstance(value, (int, float))}
