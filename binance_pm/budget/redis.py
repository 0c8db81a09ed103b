"""The store of a shared budget in Redis or Valkey: one script, run once for each message.

What the URL can say
    * ``redis://user:password@host:6379/0``, ``rediss://`` over TLS and ``unix://`` for a local socket, with the options
      of redis-py behind a question mark, such as ``?ssl_ca_certs=/etc/ca.pem``;
    * ``redis+cluster://`` and ``rediss+cluster://``, where the host is any node of a cluster.

    Sentinel is not supported: give the address that leads to the primary, as managed services have one.

What is guaranteed
    One message is tried once: it takes effect once or not at all, and where no reply comes, nobody can say which.
    After that the next one begins with a new connection, so that it finds the primary where another took over.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import ModuleType
from typing import Any, Final, NamedTuple, Protocol, get_args

import msgspec

from binance_pm.budget import foreign, ledger, store
from binance_pm.budget.lanes import Lane
from binance_pm.budget.messages import Event, Message, Reply
from binance_pm.budget.store import StoreLost
from binance_pm.clock import DRIFT
from binance_pm.errors import Call, ConfigurationError

CONNECT_SECONDS: Final = 0.5
"""For which a connection is waited for, unless the URL says otherwise with ``socket_connect_timeout``."""
REPLY_SECONDS: Final = 0.25
"""For which a reply is waited for, unless the URL says otherwise with ``socket_timeout``."""

_CALL: Final = Call("Budget.shared")
_CLUSTER: Final = "+cluster"
_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(Reply).decode


class RedisStore:
    """The ledgers of one egress IP in a server, for one thread.

    Args:
        url: where the server is; see the module.
        name: of the budget; all processes that give the same one share it.

    Raises:
        ConfigurationError: the URL cannot be read, or redis-py is not installed.
    """

    def __init__(self, url: str, name: str) -> None:
        self._library: Final = _library()
        # The braces are a cluster's mark for what decides on the node.
        self._key: Final = f"binance-pm:{{{name}}}"
        self._text: Final = script()
        self._sha: Final = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()
        scheme, mark, rest = url.partition("://")
        self._is_cluster: Final = scheme.endswith(_CLUSTER)
        self._url: Final = scheme.removesuffix(_CLUSTER) + mark + rest
        said = self._library.read(self._url, is_cluster=self._is_cluster)
        self._where: Final = str(said.get("path") or f"{said.get('host', 'localhost')}:{said.get('port', 6379)}")
        self._secrets: Final = [str(said[key]) for key in ("password", "ssl_password") if said.get(key)]
        self._client: _Client | None = None

    def __repr__(self) -> str:
        return f"RedisStore({self._where!r}, {self._key!r})"

    def exchange(self, message: Message) -> Reply:
        """Run the script with the message; see `Store`."""
        told = _ENCODE(message)
        try:
            return _DECODE(self._run(told))
        except Exception as error:  # noqa: BLE001 - redis-py raises many kinds, and not all are its own
            what = self._told(error)
        self.close()
        # Outside of the handler: what went before may quote the password.
        raise StoreLost(f"{self._where}: {what}")

    def close(self) -> None:
        """Close the connections; see `Store`."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _run(self, message: bytes) -> bytes:
        client = self._client = self._client or self._library.connect(self._url, is_cluster=self._is_cluster)
        try:
            return client.evalsha(self._sha, 1, self._key, message)
        except self._library.script_missing:
            # A server that was restarted, or took over, does not have it. This loads and runs it in one step.
            return client.eval(self._text, 1, self._key, message)

    def _told(self, error: Exception) -> str:
        kind = type(error).__name__
        # A server that does not know a command quotes what it was given, be it a password.
        text = str(error).partition(", with args")[0]
        return kind if not text or any(secret in text for secret in self._secrets) else f"{kind}: {text}"


@cache
def script() -> str:
    """The text of ``store.lua`` with the figures of the Python modules in the place of their names."""
    text = resources.files("binance_pm.budget").joinpath("store.lua").read_text(encoding="utf-8")
    known = {"DRIFT": DRIFT, "LANE_ORDERS": int(Lane.ORDERS)}
    for module in (ledger, foreign, store):
        known |= figures(module)
    for kind in get_args(Event):
        known[f"KIND_{kind.__name__.upper()}"] = kind.__struct_config__.tag
    # Locals in front of the text would do as well, but with each message every function that uses one is made anew.
    return re.sub(r"\b[A-Z][A-Z_]+\b", lambda found: str(known.get(found[0], found[0])), text)


def figures(module: ModuleType) -> dict[str, float]:
    """The numbers that a module gives names in capitals."""
    named = {name.lstrip("_"): value for name, value in vars(module).items() if name.isupper()}
    return {name: value for name, value in named.items() if isinstance(value, (int, float))}


class _Client(Protocol):
    def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: str | bytes) -> bytes: ...
    def eval(self, script: str, numkeys: int, /, *keys_and_args: str | bytes) -> bytes: ...
    def close(self) -> None: ...


class _Clients(Protocol):
    def from_url(self, url: str, **options: Any) -> _Client: ...


class _Pool(Protocol):
    @property
    def connection_kwargs(self) -> Mapping[str, Any]: ...
    def make_connection(self) -> object: ...


class _Pools(Protocol):
    @classmethod
    def from_url(cls, url: str) -> _Pool: ...


class _Library(NamedTuple):
    """What is used of redis-py, whose own types leave much open."""

    pools: type[_Pools]
    clients: _Clients
    clusters: _Clients
    error: type[Exception]
    script_missing: type[Exception]
    once: object
    """Its way to say that nothing is tried again: that is for whoever counts the messages."""

    def read(self, url: str, *, is_cluster: bool) -> Mapping[str, Any]:
        """What the URL says."""
        said: Mapping[str, Any] | None = None
        try:
            pool = self.pools.from_url(url)
            # Opens nothing, but shows options that do not exist.
            pool.make_connection()
            said = pool.connection_kwargs
        except (self.error, ValueError, TypeError):
            pass
        # Outside of the handler: what went before may quote the password.
        if said is None:
            raise ConfigurationError(_CALL, "the store's URL, or an option in it, is not one that redis-py knows")
        rest = url.partition("://")[2]
        if rest.count("@") > 1 or "@" in rest[len(re.split("[/?#]", rest, maxsplit=1)[0]) :]:
            # A piece of the password would be taken for the host, and shown.
            raise ConfigurationError(_CALL, "a user, password or path in the store's URL has to be percent-encoded")
        if is_cluster and said.get("db"):
            raise ConfigurationError(_CALL, "the store's URL names a database: a cluster has only one")
        return said

    def connect(self, url: str, *, is_cluster: bool) -> _Client:
        """A client; one of a cluster asks for its nodes at once."""
        return (self.clusters if is_cluster else self.clients).from_url(
            url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=REPLY_SECONDS,
            retry=self.once,
            # It takes fewer steps to connect, and nothing of the newer one is needed.
            protocol=2,
        )


def _library() -> _Library:
    try:
        from redis import ConnectionPool, Redis, RedisCluster, RedisError  # noqa: PLC0415 - the extra `redis`
        from redis.backoff import NoBackoff  # noqa: PLC0415 - the extra `redis`
        from redis.exceptions import NoScriptError  # noqa: PLC0415 - the extra `redis`
        from redis.retry import Retry  # noqa: PLC0415 - the extra `redis`
    except ImportError as error:
        advice = "Install it: pip install 'binance-pm[redis]'."
        raise ConfigurationError(_CALL, "it needs the extra `redis`", advice=advice) from error
    return _Library(ConnectionPool, Redis, RedisCluster, RedisError, NoScriptError, Retry(NoBackoff(), 0))
