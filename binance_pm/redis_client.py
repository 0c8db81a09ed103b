"""A client of one Redis or Valkey server, for one thread. Each step is tried once.

What the URL can contain
    * ``redis://user:password@host:6379/0``, ``rediss://`` over TLS and ``unix://`` for a local socket, with the options
      of redis-py after a question mark, such as ``?ssl_ca_certs=/etc/ca.pem``;
    * ``redis+cluster://`` and ``rediss+cluster://``, with any node of a cluster as the host.

    Sentinel is not supported: give an address that leads to the primary, as managed services provide.

What is guaranteed
    A step takes effect once or not at all; if no reply arrives, the outcome is unknown. The next step then opens a new
    connection, so that after a failover it reaches the new primary.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.extras import installation

T = TypeVar("T")

_CLUSTER: Final = "+cluster"

Word = str | bytes | int | float


class StoreLost(Exception):
    """The store did not respond, or not with a valid reply: the effect of the message is unknown.

    The text says what happened, never a password.
    """


class Script:
    """A script in Lua, which the server runs in one step."""

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.sha: Final = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisServer:
    """A server, for one thread. No connection is opened before the first step.

    Args:
        url: the URL of the server; see the module docstring.
        call: the caller, for errors.
        connect_seconds: how long to wait for a connection, unless the URL sets ``socket_connect_timeout``.
        reply_seconds: how long to wait for a reply, unless the URL sets ``socket_timeout``.

    Raises:
        ConfigurationError: the URL cannot be read, or redis-py is not installed.
    """

    def __init__(self, url: str, *, call: CallInfo, connect_seconds: float, reply_seconds: float) -> None:
        self._library: Final = _library(call)
        scheme, mark, rest = url.partition("://")
        self._is_cluster: Final = scheme.endswith(_CLUSTER)
        self._url: Final = scheme.removesuffix(_CLUSTER) + mark + rest
        self._seconds: Final = connect_seconds, reply_seconds
        options = self._library.read(self._url, call, is_cluster=self._is_cluster)
        self.where: Final = str(
            options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        )
        """The server's address, without the password."""
        self._secrets: Final = [str(options[key]) for key in ("password", "ssl_password") if options.get(key)]
        self._client: _Client | None = None

    def __repr__(self) -> str:
        return f"RedisServer({self.where!r})"

    def run(
        self, script: Script, keys: Sequence[str], *words: Word, read: Callable[[Any], T] = lambda reply: reply
    ) -> T:
        """Run a script, and return its reply as converted by `read`.

        Raises:
            StoreLost: no reply arrived, or the reply was an error or cannot be read.
        """

        def step(client: _Client) -> Any:
            try:
                return client.evalsha(script.sha, len(keys), *keys, *words)
            except self._library.script_missing:
                # A restarted server or a new primary lacks the script. This call loads and runs the script in one step.
                return client.eval(script.text, len(keys), *keys, *words)

        return self._try(lambda client: read(step(client)))

    def command(self, *words: Word) -> Any:
        """Run one command.

        Raises:
            StoreLost: no reply arrived, or the reply was an error.
        """
        return self._try(lambda client: client.execute_command(*words))

    def close(self) -> None:
        """Close the connections; the next step would open new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _try(self, step: Callable[[_Client], T]) -> T:
        try:
            if self._client is None:
                self._client = self._library.connect(self._url, *self._seconds, is_cluster=self._is_cluster)
            return step(self._client)
        except Exception as error:  # noqa: BLE001 - redis-py raises many kinds, and not all are its own
            what = self._text_of(error)
        self.close()
        # Not in the handler, because the original error may quote the password.
        raise StoreLost(f"{self.where}: {what}")

    def _text_of(self, error: Exception) -> str:
        kind = type(error).__name__
        # A server that does not know a command quotes its arguments, which may include a password.
        text = str(error).partition(", with args")[0]
        return kind if not text or any(secret in text for secret in self._secrets) else f"{kind}: {text}"


class _Client(Protocol):
    def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Word) -> Any: ...
    def eval(self, script: str, numkeys: int, /, *keys_and_args: Word) -> Any: ...
    def execute_command(self, *words: Word) -> Any: ...
    def close(self) -> None: ...


class _Library(NamedTuple):
    """The used parts of redis-py, whose own types leave much unspecified."""

    pools: Any
    clients: Any
    clusters: Any
    error: type[Exception]
    script_missing: type[Exception]
    once: object
    """The setting that disables the retries of redis-py, because callers count the messages."""

    def read(self, url: str, call: CallInfo, *, is_cluster: bool) -> Mapping[str, Any]:
        """Return the options in the URL."""
        options: Mapping[str, Any] | None = None
        with suppress(self.error, ValueError, TypeError):
            pool = self.pools.from_url(url)
            # Opens no connection, but rejects unknown options.
            pool.make_connection()
            options = pool.connection_kwargs
        # Not in a handler, because the original error may quote the password.
        if options is None:
            raise ConfigurationError(call, "the store's URL, or an option in it, is not one that redis-py knows")
        rest = url.partition("://")[2]
        if rest.count("@") > 1 or "@" in rest[len(re.split("[/?#]", rest, maxsplit=1)[0]) :]:
            # Part of the password would be taken for the host, and shown.
            raise ConfigurationError(call, "a user, password or path in the store's URL has to be percent-encoded")
        if is_cluster and options.get("db"):
            raise ConfigurationError(call, "the store's URL names a database: a cluster has only one")
        return options

    def connect(self, url: str, connect_seconds: float, reply_seconds: float, *, is_cluster: bool) -> _Client:
        """Create a client; a client of a cluster requests its nodes at once."""
        return (self.clusters if is_cluster else self.clients).from_url(
            url,
            socket_connect_timeout=connect_seconds,
            socket_timeout=reply_seconds,
            retry=self.once,
            # Connecting takes fewer steps with protocol 2, and no feature of the newer one is needed.
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
