"""Publishing: every event once and in order, whatever the server does; missing events are marked."""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import ExitStack
from itertools import count

import msgspec
import pytest

from binance_pm.fleet import Gap, Publisher, Started
from binance_pm.fleet.relay import publish as module
from binance_pm.fleet.relay.publish import Outbox
from tests.support.raw_server import serve_raw
from tests.support.relay_streams import START, Seen, beside, fresh, key_of, losing_replies, reading, seen_in
from tests.support.valkey import free_port, serving_port
from tests.support.waiting import wait_until

PASSWORD = "canary-4711"


def numbered(seen: list[Seen]) -> list[int]:
    """Return the numbers of the entries."""
    return [one.number for one in seen]


class TestEntries:
    """The entries that are appended."""

    def test_every_event_is_appended_in_order_after_the_start(self, valkey: str, name: str) -> None:
        """Numbered from 1, with the shard and one run."""
        before = time.time()
        with Publisher(valkey, stream=name, shard=(1, 2)) as publisher:
            for number in range(250):
                publisher.receive(fresh(number))

        seen = seen_in(valkey, name)
        start = seen[0].event
        assert numbered(seen) == list(range(1, 252))
        assert {(one.shard, one.run) for one in seen} == {("1/2", seen[0].run)}
        assert isinstance(start, Started)
        assert (start.shard, start.since, start.previous_run, start.previous_number) == ("1/2", None, None, 0)
        assert before - 1 <= start.at <= time.time() + 1
        assert [one.event for one in seen[1:]] == [fresh(number) for number in range(250)]

    def test_the_next_run_says_since_when_nothing_was_published(self, valkey: str, name: str) -> None:
        """The mark has the last number of the run before; other shards are not read."""
        for shard in ((1, 2), (2, 2), (1, 2)):
            with Publisher(valkey, stream=name, shard=shard) as publisher:
                publisher.receive(fresh(0))
            ended = time.time()
            wait_until(lambda ended=ended: time.time() > ended + 0.05)

        first, _, other, _, second, _ = seen_in(valkey, name)
        assert isinstance(other.event, Started)
        assert isinstance(second.event, Started)
        assert other.event.since is None
        assert (second.event.previous_run, second.event.previous_number) == (first.run, 2)
        assert second.event.since is not None
        assert isinstance(first.event, Started)
        assert first.event.at < second.event.since < second.event.at

    def test_the_stream_is_bounded(self, valkey: str, name: str) -> None:
        """The server keeps at most a block of entries more than requested."""
        with Publisher(valkey, stream=name, length=100) as publisher:
            for number in range(2_000):
                publisher.receive(fresh(number))

        seen = seen_in(valkey, name)
        assert 100 <= len(seen) <= 300
        assert numbered(seen)[-1] == 2_001

    def test_two_processes_of_one_shard_lose_nothing(self, valkey: str, name: str) -> None:
        """A process suspended while its successor started goes on beside it, with its own run."""
        with Publisher(valkey, stream=name) as asleep:
            wait_until(lambda: len(seen_in(valkey, name)) == 1)
            with Publisher(valkey, stream=name) as successor:
                for number in range(20):
                    asleep.receive(fresh(number))
                    successor.receive(fresh(number))

        runs: dict[str, list[int]] = {}
        for one in seen_in(valkey, name):
            runs.setdefault(one.run, []).append(one.number)
        assert list(runs.values()) == [list(range(1, 22))] * 2


class TestTrouble:
    """Failures of the server."""

    @pytest.mark.parametrize("every", [2, 3, 5])
    def test_a_lost_reply_neither_repeats_nor_drops_entries(self, valkey: str, name: str, every: int) -> None:
        """An append that took effect is not repeated."""
        calls = count(1)

        def is_lost(sent: bytes) -> bool:
            return b"EVAL" in sent and next(calls) % every == 0

        with losing_replies(valkey, is_lost) as url, Publisher(url, stream=name) as publisher:
            for number in range(100):
                publisher.receive(fresh(number))
                wait_until(lambda: publisher.waiting < 3)
            wait_until(lambda: not publisher.waiting)

        seen = seen_in(valkey, name)
        assert next(calls) > every
        assert numbered(seen) == list(range(1, 102))
        assert [one.event for one in seen[1:]] == [fresh(number) for number in range(100)]

    def test_a_server_without_its_memory_gets_a_mark_of_the_loss(
        self, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Numbers go on; the loss and the return are logged once each, however long the outage."""
        port = free_port()
        url = f"redis://127.0.0.1:{port}"
        with ExitStack() as stack:
            with serving_port(port):
                publisher = stack.enter_context(Publisher(url, stream=name))
                publisher.receive(fresh(1))
                wait_until(lambda: len(seen_in(url, name)) == 2)
            publisher.receive(fresh(2))
            wait_until(lambda: publisher.is_store_lost)
            time.sleep(0.3)
            with serving_port(port):
                wait_until(lambda: not publisher.waiting)
                seen = seen_in(url, name)

        assert numbered(seen) == [3, 4]
        gap = seen[0].event
        assert isinstance(gap, Gap)
        assert (gap.vanished, gap.readings, gap.events, gap.until) == (2, 0, 0, START + 1)
        assert seen[1].event == fresh(2)
        assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
            "The stream is unavailable",
            "The stream is available again",
        ]

    def test_a_server_with_an_older_memory_gets_a_mark_of_the_loss(self, valkey: str, name: str) -> None:
        """A replica that took over may lack the last entries."""
        with Publisher(valkey, stream=name) as publisher:
            for number in range(5):
                publisher.receive(fresh(number))
            wait_until(lambda: not publisher.waiting and len(seen_in(valkey, name)) == 6)
            with beside(valkey) as client:
                events, writers = key_of(name), key_of(name, "writers")
                for place, _ in client.xrevrange(events, count=2):
                    client.xdel(events, place)
                record = msgspec.json.decode(client.hget(writers, "1/1"))
                client.hset(writers, "1/1", msgspec.json.encode(record | {"number": 4}))
            publisher.receive(fresh(5))
            wait_until(lambda: not publisher.waiting)

        seen = seen_in(valkey, name)
        gap = seen[4].event
        assert numbered(seen) == [1, 2, 3, 4, 7, 8]
        assert isinstance(gap, Gap)
        assert gap.vanished == 2

    def test_a_silent_server_delays_no_caller(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """Memory is bounded, adding an event takes no time, and leaving takes less than a second."""
        monkeypatch.setattr(module, "_CLOSE_SECONDS", 0.6)
        done = threading.Event()

        def keep_silent(_: socket.socket) -> None:
            done.wait(20)

        with serve_raw(keep_silent) as raw:
            publisher = Publisher(raw.url.replace("http", "redis"), stream=name, memory=100_000)
            publisher.start()
            begun = time.process_time()
            for number in range(20_000):
                publisher.receive(fresh(number))
            taken = time.process_time() - begun
            left = time.monotonic()
            publisher.close()
            leaving = time.monotonic() - left
            done.set()

        assert taken < 2
        assert leaving < 1
        assert 0 < publisher.waiting < 500

    def test_events_before_the_first_connection_follow_the_start(self, name: str) -> None:
        """The run starts with the process, not with the connection."""
        port = free_port()
        url = f"redis://127.0.0.1:{port}"
        with Publisher(url, stream=name) as publisher:
            begun = time.time()
            publisher.receive(fresh(1))
            wait_until(lambda: publisher.is_store_lost and time.time() > begun + 0.5)
            with serving_port(port):
                wait_until(lambda: not publisher.waiting)
                start, event = (one.event for one in seen_in(url, name))

        assert isinstance(start, Started)
        assert start.at < begun + 0.1
        assert event == fresh(1)

    def test_an_internal_error_does_not_end_publishing(
        self, valkey: str, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The error counts as a lost server, and the publisher tries again."""
        take, calls = Outbox.take, count()

        def fail_once(outbox: Outbox) -> list[bytes]:
            if not next(calls):
                raise IndexError
            return take(outbox)

        monkeypatch.setattr(Outbox, "take", fail_once)
        with Publisher(valkey, stream=name) as publisher:
            publisher.receive(fresh(1))
            wait_until(lambda: len(seen_in(valkey, name)) == 2)

        assert caplog.messages[0].endswith(": IndexError")

    def test_no_password_is_shown(self, name: str, caplog: pytest.LogCaptureFixture) -> None:
        """Not in the error for a wrong password, nor anywhere else."""
        caplog.set_level(logging.DEBUG)
        port = free_port()
        with serving_port(port, "--requirepass", "another"):
            publisher = Publisher(f"redis://:{PASSWORD}@127.0.0.1:{port}", stream=name)
            publisher.start()
            wait_until(lambda: publisher.is_store_lost)
            publisher.close()

        assert "AuthenticationError" in caplog.text
        assert PASSWORD not in caplog.text + repr(publisher)


class TestOutbox:
    """Waiting events, and which of them are dropped."""

    def put(self, outbox: Outbox, kinds: str) -> None:
        """Add events: r for a reading, s for a state event, with times counted from 1."""
        for at, kind in enumerate(kinds, 1):
            outbox.put(f"{kind}{at}".encode(), float(at), is_reading=kind == "r")

    def taken(self, outbox: Outbox) -> list[object]:
        """Return the events; of a gap, its counts and times."""
        return [
            text.decode() if len(text) < 10 else tuple(msgspec.json.decode(text)[name] for name in COUNTS)
            for text in outbox.take()
        ]

    @pytest.mark.parametrize(
        ("events", "kinds", "left"),
        [
            (4, "srsrrs", [(2, 0, 2.0, 4.0), "s1", "s3", "r5", "s6"]),
            (2, "rsss", [(1, 1, 1.0, 2.0), "s3", "s4"]),
            (0.5, "s", [(0, 1, 1.0, 1.0)]),
        ],
    )
    def test_the_oldest_readings_are_dropped_first(self, events: float, kinds: str, left: list[object]) -> None:
        """State events follow when no reading is left, and a gap counts both kinds once."""
        outbox = Outbox("1/1", int(events * 202))
        self.put(outbox, kinds)

        assert self.taken(outbox) == left
        outbox.put(b"r", 9.0, is_reading=True)
        assert self.taken(outbox) == (["r"] if events > 1 else [(1, 0, 9.0, 9.0)])

    def test_a_message_is_bounded(self) -> None:
        """In events and in bytes."""
        outbox = Outbox("1/1", 2**30)
        for number in range(150):
            outbox.put(msgspec.json.encode(reading(number)), 0.0, is_reading=True)
        for _ in range(5):
            outbox.put(b"x" * 2**19, 0.0, is_reading=False)

        assert [len(outbox.take()) for _ in range(6)] == [100, 52, 2, 1, 0, 0]


COUNTS = ("readings", "events", "since", "until")
