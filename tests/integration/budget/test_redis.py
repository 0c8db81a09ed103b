"""The store of a shared budget in Redis or Valkey: failures, messages, and secrets that are never shown."""

from __future__ import annotations

import logging
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis

from binance_pm import ConfigurationError
from binance_pm.budget.shared.messages import Demand, OriginReport, PoolReply, PoolReport, StoreMessage
from binance_pm.budget.shared.redis import IDLE_SECONDS, RedisStore
from binance_pm.extras import installation
from binance_pm.limits import Priority
from binance_pm.redis_client import StoreLost
from tests.support.certificates import Authority
from tests.support.proxies import pump
from tests.support.raw_server import refusing_port, serve_raw
from tests.support.valkey import free_port, serving_port
from tests.support.waiting import wait_until

PASSWORD = "canary-4711"
_numbers = count()


def asking(peer: str = "a", *, held: int = 0, host: str = "papi", closed: float = 0.0) -> StoreMessage:
    """A message of a process that wants to send an order of weight 1."""
    hosts = (OriginReport(host, 1.8e9, 1.8e9 + 0.1, is_synchronised=True, closed=closed),)
    pool = PoolReport("papi", 0, 110, held, demands=(Demand(Priority.ORDER, 1, 1),))
    return StoreMessage(peer, next(_numbers), 60.0, 5.0, hosts, (pool,))


def state_of(store: RedisStore, peer: str = "a", *, held: int = 0) -> PoolReply:
    """Return what the store reports of the pool."""
    return store.exchange(asking(peer, held=held)).pools[0]


def lost(store: RedisStore) -> str:
    """Return the error for a lost store, with everything that a log would show."""
    with pytest.raises(StoreLost) as caught:
        state_of(store)
    return "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(store)


# A store takes longer on a busy machine.
patient = partial(RedisStore, connect_seconds=20.0, reply_seconds=20.0)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A budget name that no other test uses."""
    return request.node.originalname


@pytest.fixture
def shared(valkey: str, name: str) -> Generator[RedisStore, None, None]:
    """A store of the test's own."""
    with closing(patient(valkey, name)) as opened:
        yield opened


@pytest.fixture
def beside(valkey: str) -> Generator[Any, None, None]:
    """A connection to inspect the server."""
    with closing(redis.Redis(unix_socket_path=valkey.removeprefix("unix://"), protocol=2)) as opened:
        yield opened


def test_processes_share_the_weight(shared: RedisStore, valkey: str, name: str) -> None:
    """Weight that one process holds is not available to the other."""
    state_of(shared)

    with closing(patient(valkey, name)) as other:
        seen = state_of(other, "b")

    assert (seen.granted, seen.in_flight, seen.processes) == ((0,), 1, 2)


def test_budgets_with_other_names_are_separate(shared: RedisStore, valkey: str, name: str) -> None:
    """Two egress IPs may use one server."""
    state_of(shared)

    with closing(patient(valkey, f"{name} 2")) as other:
        assert state_of(other, "b").processes == 1


def test_time_is_the_time_of_the_server(shared: RedisStore) -> None:
    """All processes use one clock."""
    before = time.time()

    now = shared.exchange(asking()).now

    assert before - 0.001 <= now <= time.time() + 0.001


def test_a_flushed_script_is_loaded_again(shared: RedisStore, beside: Any) -> None:
    """A flushed script costs one more round trip."""
    state_of(shared)
    beside.script_flush()

    assert state_of(shared, held=1).in_flight == 1


def test_an_idle_budget_expires(shared: RedisStore, beside: Any, name: str) -> None:
    """An idle budget is kept for an hour."""
    state_of(shared)

    assert IDLE_SECONDS < beside.ttl(f"binance-pm:{{{name}}}") <= 2 * IDLE_SECONDS


def test_a_ban_outlives_an_idle_budget(shared: RedisStore, beside: Any, name: str) -> None:
    """A message without the ban does not shorten the ban."""
    shared.exchange(asking(closed=259_200.0))
    shared.exchange(asking(host="sapi"))

    assert beside.ttl(f"binance-pm:{{{name}}}") > 259_200.0


def test_reconnects_to_a_restarted_server(name: str) -> None:
    """The store is lost until then; afterwards it starts empty and accepts what the process holds."""
    port = free_port()
    with closing(patient(f"redis://127.0.0.1:{port}", name)) as opened:
        with serving_port(port):
            state_of(opened)
        text = lost(opened)
        with serving_port(port):
            seen = state_of(opened, held=20)

    assert f"127.0.0.1:{port}: ConnectionError" in text
    assert (seen.granted, seen.in_flight) == ((1,), 21)


def test_a_refused_connection_is_reported_at_once(name: str) -> None:
    """A refused connection is not retried."""
    with refusing_port() as port:
        begun = time.monotonic()
        text = lost(patient(f"redis://127.0.0.1:{port}", name))

    assert "refused" in text
    assert time.monotonic() - begun < 2


def test_a_silent_server_is_given_up(name: str) -> None:
    """A server that accepts the connection and sends nothing is dropped after a quarter of a second."""
    done = threading.Event()

    def keep_silent(_: socket.socket) -> None:
        done.wait(20)

    with serve_raw(keep_silent) as server:
        opened = RedisStore(server.url.replace("http", "redis"), name)
        begun = time.monotonic()
        text = lost(opened)
        taken = time.monotonic() - begun
        lost(opened)
        done.set()

    assert "TimeoutError" in text
    assert taken < 2
    assert len(server.connections) >= 2


def saying(answer: bytes) -> Callable[[socket.socket], None]:
    """A server that sends the same reply to every command except the greeting."""

    def behave(connection: socket.socket) -> None:
        while received := connection.recv(65536):
            connection.sendall(
                b"+OK\r\n" * received.count(b"SETINFO") + answer * bool(re.search(b"AUTH|EVALSHA", received))
            )

    return behave


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"$3\r\nabc\r\n", "ValidationError"),
        (b"-ERR unknown command 'EVALSHA', with args beginning with: 'x'\r\n", "unknown command 'EVALSHA'\n"),
        (b"-LOADING Valkey is loading the dataset in memory\r\n", "BusyLoadingError"),
    ],
)
def test_an_invalid_reply_means_a_lost_store(answer: bytes, said: str, name: str) -> None:
    """Whatever the server sends, one kind of error is raised."""
    with serve_raw(saying(answer)) as server, closing(patient(server.url.replace("http", "redis"), name)) as opened:
        assert said in lost(opened)


def test_a_key_of_another_type_is_left_alone(shared: RedisStore, beside: Any, name: str) -> None:
    """A key of another type is an error and is not changed."""
    beside.set(f"binance-pm:{{{name}}}", "theirs", ex=60)

    assert "WRONGTYPE" in lost(shared)
    assert beside.get(f"binance-pm:{{{name}}}") == b"theirs"


@pytest.fixture(scope="module")
def guarded() -> Generator[int, None, None]:
    """The port of a server with a password, and a user with only the permissions that the guide names."""
    port = free_port()
    allowed = "+select +client|setinfo +evalsha +eval +time +hget +hmget +hset +hgetall +hdel +pttl +pexpire"
    user = f"worker on >{PASSWORD} ~binance-pm:* {allowed}"
    with serving_port(port, "--requirepass", PASSWORD, "--user", *user.split()):
        yield port


@pytest.mark.parametrize("who", [f":{PASSWORD}", f"worker:{PASSWORD}"])
def test_user_and_password_come_from_the_url(guarded: int, name: str, who: str) -> None:
    """The number of the database comes from the URL, too."""
    with closing(patient(f"redis://{who}@127.0.0.1:{guarded}/3", name)) as opened:
        assert state_of(opened).processes == 1
        assert PASSWORD not in repr(opened)


@pytest.mark.parametrize("who", ["", f":not-{PASSWORD}@", f"unknown:{PASSWORD}@"])
def test_a_wrong_password_is_not_shown(guarded: int, name: str, who: str, caplog: pytest.LogCaptureFixture) -> None:
    """The error names the server and the cause."""
    caplog.set_level(logging.DEBUG)

    text = lost(patient(f"redis://{who}127.0.0.1:{guarded}", name))

    assert "AuthenticationError" in text
    assert str(guarded) in text
    assert PASSWORD not in text + caplog.text


@pytest.mark.parametrize("quoting", [", with args beginning with: '%s'", " %s"])
def test_a_password_that_the_server_quotes_is_not_shown(name: str, quoting: str) -> None:
    """A server may quote the arguments of an unknown command."""
    error = f"-ERR unknown command 'AUTH'{quoting % PASSWORD}\r\n"
    with serve_raw(saying(error.encode())) as server:
        text = lost(patient(server.url.replace("http://", f"redis://:{PASSWORD}@"), name))

    assert "ResponseError" in text
    assert PASSWORD not in text


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{PASSWORD}@127.0.0.1",
        f"redis://:{PASSWORD}/@127.0.0.1",
        f"redis://user:4711/{PASSWORD}@127.0.0.1",
        f"redis://:4711#{PASSWORD}@127.0.0.1",
        f"redis://:47@11{PASSWORD}@127.0.0.1",
        f"redis://:{PASSWORD}@127.0.0.1?colour=blue",
        f"redis://:{PASSWORD}@127.0.0.1?socket_timeout=long",
        f"redis+cluster://:{PASSWORD}@127.0.0.1/3",
        f"{PASSWORD}",
    ],
)
def test_an_invalid_url_is_not_shown(url: str) -> None:
    """The mistake is found before anything is sent."""
    with pytest.raises(ConfigurationError) as caught:
        patient(url, "x")

    assert "the store's URL" in str(caught.value)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for a missing package names the extra to install when the budget is created."""
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ConfigurationError, match=re.escape(f"Install it: {installation('redis')}")):
        patient("redis://127.0.0.1", "x")


def test_a_cluster_is_asked_at_the_right_node(tmp_path: Path, name: str) -> None:
    """The URL of any node works; until the cluster is up, the store is lost."""
    port = free_port()
    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--dir", str(tmp_path)]
    url = f"redis+cluster://127.0.0.1:{port}"
    states: list[PoolReply] = []

    def is_up() -> bool:
        with suppress(StoreLost):
            states.append(state_of(opened))
        return bool(states)

    with serving_port(port, *options), closing(patient(url, name)) as opened:
        text = lost(opened)
        node: Any = redis.Redis(port=port, protocol=2)
        with closing(node):
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        # A node takes two seconds to join the cluster.
        wait_until(is_up, seconds=15)

    assert "slots are not covered" in text
    assert states[0].processes == 1


def test_tls_is_used_if_the_url_says_so(valkey: str, tmp_path: Path, name: str) -> None:
    """Only trusted certificates are accepted."""
    authority = Authority(tmp_path)

    def relay(outside: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as inside:
            inside.connect(valkey.removeprefix("unix://"))
            pump(outside, inside)

    with serve_raw(relay, tls=authority.server(authority.issue())) as server:
        url = server.url.replace("https", "rediss")
        with closing(patient(f"{url}?ssl_ca_certs={authority.file}", name)) as opened:
            seen = state_of(opened)
        text = lost(patient(url, name))

    assert seen.processes == 1
    assert "CERTIFICATE_VERIFY_FAILED" in text
