"""A Redis or Valkey server, as its URL says: for one thread, each step is tried once.

What the URL can say
    * ``redis://user:password@host:6379/0``, ``rediss://`` over TLS and ``unix://`` for a local socket, with the options
      of redis-py behind a question mark, such as ``?ssl_ca_certs=/etc/ca.pem``;
    * ``redis+cluster://`` and ``rediss+cluster://``, where the host is any node of a cluster.

    Sentinel is not supported: give the address that leads to the primary, as managed services have one.

What is guaranteed
    One step takes effect once or not at all, and where no reply comes, nobody can say which. After that the next one
    begins with a new connection, so that it finds the primary where another took over.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.extras import installation

T = TypeVar("T")

_CLUSTER: Final = "+cluster"

Word = str | bytes | int | float


class StoreLost(Exception):
    """The store did not answer, or not with a reply: what it made of the message is not known.

    The text says what happened, never a password.
    """


class Script:
    """What the server runs in one step.

    Args:
        text: in Lua.
    """

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.sha: Final = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisServer:
    """A server, for one thread; nothing is connected before the first step.

    Args:
        url: where the server is; see the module.
        call: who wants to know, for errors.
        connect_seconds: for which a connection is waited for, unless the URL says otherwise with
            ``socket_connect_timeout``.
        reply_seconds: for which a reply is waited for, unless the URL says otherwise with ``socket_timeout``.

    Raises:
        ConfigurationError: the URL cannot be read, or redis-py is not installed.
    """

    def __init__(self, url: str, *, call: CallInfo, connect_seconds: float, reply_seconds: float) -> None:
        self._library: Final = _library(call)
        scheme, mark, rest = url.partition("://")
        self._is_cluster: Final = scheme.endswith(_CLUSTER)
        self._url: Final = scheme.removesuffix(_CLUSTER) + mark + rest
        self._seconds: Final = connect_seconds, reply_seconds
        said = self._library.read(self._url, call, is_cluster=self._is_cluster)
        self.where: Final = str(said.get("path") or f"{said.get('host', 'localhost')}:{said.get('port', 6379)}")
        """Its address, without the password."""
        self._secrets: Final = [str(said[key]) for key in ("password", "ssl_password") if said.get(key)]
        self._client: _Client | None = None

    def __repr__(self) -> str:
        return f"RedisServer({self.where!r})"

    def run(
        self, script: Script, keys: Sequence[str], *words: Word, read: Callable[[Any], T] = lambda reply: reply
    ) -> T:
        """Run a script, and read its reply.

        Raises:
            StoreLost: no reply came, or it was an error, or cannot be read.
        """

        def step(client: _Client) -> Any:
            try:
                return client.evalsha(script.sha, len(keys), *keys, *words)
            except self._library.script_missing:
                # A server that was restarted, or took over, does not have it. This loads and runs it in one step.
                return client.eval(script.text, len(keys), *keys, *words)

        return self._try(lambda client: read(step(client)))

    def command(self, *words: Word) -> Any:
        """Run one command.

        Raises:
            StoreLost: no reply came, or it was an error.
        """
        return self._try(lambda client: client.execute_command(*words))

    def close(self) -> None:
        """Close the connections; the next step would open them anew."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _try(self, step: Callable[[_Client], T]) -> T:
        try:
            if self._client is None:
                self._client = self._library.connect(self._url, *self._seconds, is_cluster=self._is_cluster)
            return step(self._client)
        except Exception as error:  # noqa: BLE001 - redis-py raises many kinds, and not all are its own
            what = self._told(error)
        self.close()
        # Outside of the handler: what went before may quote the password.
        raise StoreLost(f"{self.where}: {what}")

    def _told(self, error: Exception) -> str:
        kind = type(error).__name__
        # A server that does not know a command quotes what it was given, be it a password.
        text = str(error).partition(", with args")[0]
        return kind if not text or any(secret in text for secret in self._secrets) else f"{kind}: {text}"


class _Client(Protocol):
    def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Word) -> Any: ...
    def eval(self, script: str, numkeys: int, /, *keys_and_args: Word) -> Any: ...
    def execute_command(self, *words: Word) -> Any: ...
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

    def read(self, url: str, call: CallInfo, *, is_cluster: bool) -> Mapping[str, Any]:
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
            raise ConfigurationError(call, "the store's URL, or an option in it, is not one that redis-py knows")
        rest = url.partition("://")[2]
        if rest.count("@") > 1 or "@" in rest[len(re.split("[/?#]", rest, maxsplit=1)[0]) :]:
            # A piece of the password would be taken for the host, and shown.
            raise ConfigurationError(call, "a user, password or path in the store's URL has to be percent-encoded")
        if is_cluster and said.get("db"):
            raise ConfigurationError(call, "the store's URL names a database: a cluster has only one")
        return said

    def connect(self, url: str, connect_seconds: float, reply_seconds: float, *, is_cluster: bool) -> _Client:
        """A client; one of a cluster asks for its nodes at once."""
        return (self.clusters if is_cluster else self.clients).from_url(
            url,
            socket_connect_timeout=connect_seconds,
            socket_timeout=reply_seconds,
            retry=self.once,
            # It takes fewer steps to connect, and nothing of the newer one is needed.
            protocol=2,
        )


def _library(call: CallInfo) -> _Library:
    try:
        from redis import ConnectionPool, Redis, RedisCluster, RedisError  # noqa: PLC0415 - the extra `redis`
        from redis.backoff import NoBackoff  # noqa: PLC0415 - the extra `redis`
        from redis.exceptions import NoScriptError  # noqa: PLC0415 - the extra `redis`
        from redis.retry import Retry  # noqa: PLC0415 - the extra `redis`
    except ImportError as error:
        advice = f"Install it: {installation('redis')}"
        raise ConfigurationError(call, "it needs the extra `redis`", advice=advice) from error
    return _Library(ConnectionPool, Redis, RedisCluster, RedisError, NoScriptError, Retry(NoBackoff(), 0))
