"""Reading a published stream: at least once, with few repetitions, and missing entries are reported."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, aclosing, closing
from itertools import count

import anyio
import pytest
import redis
import trio

from binance_pm import ConfigurationError, ConnectError
from binance_pm.fleet import Fresh, Missed, Publisher, Started, StreamEntry, read_stream
from binance_pm.fleet.relay import server
from binance_pm.fleet.relay.subscribe import StreamReader
from tests.support.raw_server import refusing_port
from tests.support.relay_streams import beside, fresh, key_of, losing_replies
from tests.support.valkey import free_port, serving_port
from tests.support.waiting import wait_until

PASSWORD = "canary-4711"
ALLOWED = (
    "+select +client|setinfo +evalsha +eval +time +hget +hset +hgetall +xadd +xread +xreadgroup +xack +xgroup +xinfo"
)

Open = Callable[..., StreamReader]


@pytest.fixture
def opened(valkey: str, name: str) -> Generator[Open, None, None]:
    """Opens readers of the test's stream."""
    with ExitStack() as stack:

        def make(*, group: str = "g", from_start: bool = True, url: str = valkey) -> StreamReader:
            reader = stack.enter_context(closing(StreamReader(url, group=group, stream=name, from_start=from_start)))
            reader.open()
            return reader

        yield make


def publish(url: str, stream: str, *numbers: int, shard: tuple[int, int] = (1, 1)) -> None:
    """Publish one run; its entries are there afterwards."""
    with Publisher(url, stream=stream, shard=shard) as publisher:
        for number in numbers:
            publisher.receive(fresh(number))


def summary(entry: StreamEntry) -> object:
    """Return the number of an entry's event, or the kind of another event."""
    match entry.event:
        case Fresh() as event:
            return int(event.age)
        case Missed() as event:
            return f"Missed {event.entries}"
        case event:
            return type(event).__name__


def read(reader: StreamReader, entries: int) -> list[object]:
    """Read so many entries, and their gaps."""
    found: list[object] = []
    wait_until(lambda: len(found) >= entries or bool(found.extend(map(summary, reader.read()))))
    return found


def rest(reader: StreamReader) -> list[object]:
    """Read until nothing arrives."""
    return [summary(entry) for _ in range(4) for entry in reader.read()]


class TestResuming:
    """The entries with which a reader starts."""

    def test_a_group_resumes_after_its_last_entry(self, opened: Open, valkey: str, name: str) -> None:
        """Acknowledged entries are not returned again."""
        publish(valkey, name, 1, 2)
        first = opened()
        assert rest(first) == ["Started", 1, 2]
        first.close()
        publish(valkey, name, 3)

        assert rest(opened()) == ["Started", 3]

    def test_unacknowledged_entries_are_returned_first(self, opened: Open, valkey: str, name: str) -> None:
        """A reader that crashed may not have printed them."""
        publish(valkey, name, 1, 2)
        assert read(opened(), 3) == ["Started", 1, 2]
        publish(valkey, name, 3)

        assert rest(opened()) == ["Started", 1, 2, "Started", 3]

    def test_a_new_group_starts_with_new_entries(self, opened: Open, valkey: str, name: str) -> None:
        """Earlier entries are not returned, and losses from then on are reported."""
        with Publisher(valkey, stream=name) as publisher:
            publisher.receive(fresh(1))
            wait_until(lambda: not publisher.waiting)
            reader = opened(from_start=False)
            publisher.receive(fresh(2))
            assert rest(reader) == [2]
            other = opened(group="other", from_start=False)
            for number in (3, 4, 5):
                publisher.receive(fresh(number))
            wait_until(lambda: not publisher.waiting)
            trim(valkey, name, 1)

        assert rest(other) == ["Missed 2", 5]

    def test_a_group_reads_a_recreated_stream_from_the_start(self, opened: Open, valkey: str, name: str) -> None:
        """The group has read no entry of the new stream."""
        publish(valkey, name, 1)
        before = opened(from_start=True)
        assert rest(before) == ["Started", 1]
        before.close()
        with beside(valkey) as client:
            client.delete(key_of(name))
        publish(valkey, name, 2)

        assert rest(opened(from_start=False)) == ["Started", 2]

    def test_more_entries_than_one_fetch(self, opened: Open, valkey: str, name: str) -> None:
        """All of them in order, even after a crash in the middle."""
        publish(valkey, name, *range(250))
        crashed = opened()
        assert len(read(crashed, 101)) == 200

        assert rest(opened()) == list(range(99, 250))

    def test_a_new_reader_replaces_the_old_one(self, opened: Open, valkey: str, name: str) -> None:
        """The old reader fails at its next step, and has taken no entries."""
        before = opened()
        after = opened()
        publish(valkey, name, 1)

        with pytest.raises(ConfigurationError, match="took over"):
            before.read()
        assert rest(after) == ["Started", 1]


def trim(url: str, name: str, length: int) -> None:
    """Trim a stream as a bounded length does."""
    with beside(url) as client:
        client.xtrim(key_of(name), maxlen=length, approximate=False)


class TestGaps:
    """Missing entries, and those that only seem to be missing."""

    def test_trimmed_entries_are_reported_before_the_next(self, opened: Open, valkey: str, name: str) -> None:
        """With their number."""
        with Publisher(valkey, stream=name) as publisher:
            reader = opened()
            publisher.receive(fresh(1))
            assert read(reader, 2) == ["Started", 1]
            for number in range(2, 12):
                publisher.receive(fresh(number))
            wait_until(lambda: not publisher.waiting)
            trim(valkey, name, 3)

            assert rest(reader) == ["Missed 7", 9, 10, 11]

    def test_trimmed_entries_of_an_earlier_run_are_reported(self, opened: Open, valkey: str, name: str) -> None:
        """The next run states the last number of the run before."""
        publish(valkey, name, 1)
        reader = opened()
        assert rest(reader) == ["Started", 1]
        publish(valkey, name, 2, 3, 4)
        publish(valkey, name, 5)
        trim(valkey, name, 2)

        assert rest(reader) == ["Missed 4", "Started", 5]

    def test_entries_trimmed_before_they_were_acknowledged(self, opened: Open, valkey: str, name: str) -> None:
        """They are not returned again after a crash, and the next reader reports them."""
        publish(valkey, name, 1, 2, 3)
        read(opened(), 4)
        trim(valkey, name, 1)

        assert rest(opened()) == ["Missed 3", 3]

    def test_a_repeated_entry_is_returned_once(self, opened: Open, valkey: str, name: str) -> None:
        """Two processes of one shard may repeat an entry."""
        publish(valkey, name, 1, 2)
        with beside(valkey) as client:
            key = key_of(name)
            for _, words in client.xrange(key):
                client.xadd(key, words)
        publish(valkey, name, 3)

        assert rest(opened()) == ["Started", 1, 2, "Started", 3]

    def test_shards_are_counted_apart(self, opened: Open, valkey: str, name: str) -> None:
        """Two processes of one shard are counted separately, too."""
        with (
            Publisher(valkey, stream=name, shard=(1, 2)) as one,
            Publisher(valkey, stream=name, shard=(2, 2)) as two,
            Publisher(valkey, stream=name, shard=(2, 2)) as twin,
        ):
            for number in range(10):
                for publisher in (one, two, twin):
                    publisher.receive(fresh(number))
                    wait_until(lambda publisher=publisher: not publisher.waiting)

        assert sum(isinstance(one, str) and one.startswith("Missed") for one in rest(opened())) == 0

    def test_entries_of_other_programs_are_skipped(
        self, opened: Open, valkey: str, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With a warning; an entry of a newer version is returned without an event."""
        publish(valkey, name, 1)
        with beside(valkey) as client:
            key = key_of(name)
            client.xadd(key, {"colour": b"\xff"})
            client.xadd(key, {"shard": "1/1", "run": "r", "number": "1", "event": '{"type":"Tomorrow"}'})

        assert rest(opened()) == ["Started", 1, "NoneType"]
        assert "was not written by a publisher" in caplog.text


class TestTrouble:
    """Failures of the server."""

    def test_a_server_that_comes_back_empty(self, name: str, caplog: pytest.LogCaptureFixture) -> None:
        """The group starts with all present entries, and the loss and the return are logged once each."""
        port = free_port()
        url = f"redis://127.0.0.1:{port}"
        with ExitStack() as stack:
            with serving_port(port):
                reader = stack.enter_context(closing(StreamReader(url, group="g", stream=name)))
                reader.open()
                publisher = stack.enter_context(Publisher(url, stream=name))
                publisher.receive(fresh(1))
                assert read(reader, 2) == ["Started", 1]
            assert rest(reader) == []
            with serving_port(port):
                publisher.receive(fresh(2))
                assert read(reader, 2) == ["Gap", 2]
                assert rest(reader) == []

        # The publisher logs in a thread of its own.
        ours = [one for one in caplog.records if one.name == server.__name__ and one.threadName == "MainThread"]
        assert [record.getMessage().partition(":")[0] for record in ours] == [
            "The stream is unavailable",
            "The stream is available again",
        ]

    @pytest.mark.parametrize("every", [3, 4, 5, 7])
    def test_a_lost_reply_repeats_and_drops_nothing(self, opened: Open, valkey: str, name: str, every: int) -> None:
        """To a read or an acknowledgement."""
        calls = count(1)

        def is_lost(sent: bytes) -> bool:
            # The very first reply opens the group.
            number = next(calls) if b"EVAL" in sent else 0
            return number > 2 and number % every == 0

        with losing_replies(valkey, is_lost) as url:
            reader = opened(url=url)
            found: list[object] = []
            for number in range(10):
                publish(valkey, name, number)
                found += read(reader, 2)
            found += rest(reader)
            reader.close()

        assert next(calls) > every
        assert [one for one in found if one != "Started"] == list(range(10))

    def test_a_refused_connection_is_reported_at_once(self, name: str) -> None:
        """A reader that was connected before would wait."""
        with refusing_port() as port:
            reader = StreamReader(f"redis://:{PASSWORD}@127.0.0.1:{port}", group="g", stream=name)
            with pytest.raises(ConnectError, match="refused") as caught:
                reader.open()

        assert PASSWORD not in str(caught.value) + repr(reader)

    def test_a_user_needs_the_permissions_of_the_guide(self, name: str) -> None:
        """Both to publish and to read."""
        port = free_port()
        user = f"worker on >{PASSWORD} ~binance-pm:* {ALLOWED}"
        url = f"redis://worker:{PASSWORD}@127.0.0.1:{port}"
        with (
            serving_port(port, "--user", *user.split()),
            closing(StreamReader(url, group="g", stream=name, from_start=True)) as reader,
        ):
            publish(url, name, 1)
            reader.open()
            assert rest(reader) == ["Started", 1]
            assert rest(reader) == []

    def test_a_cluster_keeps_a_stream_on_one_node(self, name: str, tmp_path: object) -> None:
        """All keys of a stream belong together."""
        port = free_port()
        options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--dir", str(tmp_path)]
        url = f"redis+cluster://127.0.0.1:{port}"
        with serving_port(port, *options):
            with closing(redis.Redis(port=port, protocol=2)) as node:
                node.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")  # pyright: ignore[reportUnknownMemberType] - redis-py declares no type
            with closing(StreamReader(url, group="g", stream=name, from_start=True)) as reader:
                wait_until(lambda: is_open(reader))
                publish(url, name, 1)
                assert read(reader, 2) == ["Started", 1]
                assert rest(reader) == []


def is_open(reader: StreamReader) -> bool:
    """Whether the cluster is up: a node takes two seconds to join."""
    try:
        reader.open()
    except ConnectError:
        return False
    return True


class TestReadStream:
    """The asynchronous generator."""

    async def test_entries_arrive_as_they_are_published(self, valkey: str, name: str) -> None:
        """Typed, until the caller stops."""
        found: list[object] = []
        with Publisher(valkey, stream=name, shard=(2, 3)) as publisher:
            publisher.receive(fresh(1))
            async with aclosing(read_stream(valkey, group="g", stream=name, from_start=True)) as entries:
                async for entry in entries:
                    assert entry.shard == "2/3"
                    found.append(entry.event)
                    if len(found) == 4:
                        break
                    publisher.receive(fresh(len(found) + 1))

        assert isinstance(found[0], Started)
        assert found[1:] == [fresh(1), fresh(2), fresh(3)]

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_cancelling_ends_it_at_once(self, valkey: str, name: str, backend: str) -> None:
        """Although its thread waits for the server."""

        async def main() -> float:
            with anyio.move_on_after(0.3):
                async for _ in read_stream(valkey, group="g", stream=name):
                    pass
            return time.monotonic()

        begun = time.monotonic()
        ended = asyncio.run(main()) if backend == "asyncio" else trio.run(main)

        assert 0.3 <= ended - begun < 1.3


def test_an_unreadable_record_of_a_group_is_reported(opened: Open, valkey: str, name: str) -> None:
    """Opening the group fails as if the server did not respond."""
    with beside(valkey) as client:
        client.hset(key_of(name, "group:g"), "read", "nonsense")

    with pytest.raises(ConnectError):
        opened()
