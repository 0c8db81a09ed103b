"""When a stream connects and confirms, and what its frames and POSTs prove."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_pm.stream.policy import Backoff, ConnectPacer, KeyProof, SocketProof, StreamSettings, confirm_interval


@pytest.mark.parametrize(("streams", "seconds"), [(1, 60.0), (20, 60.0), (60, 60.0), (200, 200.0)])
def test_confirmations_use_at_most_one_percent_of_the_weight(streams: int, seconds: float) -> None:
    """The interval grows with the number of streams of a session."""
    assert confirm_interval(60.0, streams, 6_000) == pytest.approx(seconds)


def test_the_first_attempt_is_made_at_once_and_later_ones_after_a_random_pause() -> None:
    """The limit of the pause doubles up to the longest one."""
    backoff = Backoff(1.0, 30.0)
    pauses: list[float] = []
    for failures in (0, 1, 2, 3, 6, 1_000_000):
        backoff.failures = failures
        pauses.append(backoff.pause(1.0))

    assert pauses == [0.0, 1.0, 2.0, 4.0, 30.0, 30.0]
    assert backoff.pause(0.0) == 0.0


@given(st.lists(st.floats(0, 5), min_size=2, max_size=400), st.integers(1, 20), st.integers(20, 60))
def test_no_window_has_more_attempts_than_allowed(pauses: list[float], per_second: int, per_5_minutes: int) -> None:
    """Whenever attempts are asked for, both limits hold, and turns keep their order."""
    pacer, now = ConnectPacer(per_second, per_5_minutes), 1000.0
    turns: list[float] = []
    for pause in pauses:
        now += pause
        turns.append(pacer.reserve(now))
        assert turns[-1] >= now

    assert all(one <= other for one, other in pairwise(turns))
    for count, seconds in ((per_second, 1.0), (per_5_minutes, 300.0)):
        assert all(later - first >= seconds - 1e-6 for first, later in zip(turns, turns[count:], strict=False))


def test_a_mass_drop_of_200_streams_is_spread_over_20_seconds() -> None:
    """Ten attempts a second are made."""
    pacer = ConnectPacer(10, 240)

    assert max(pacer.reserve(0.0) for _ in range(200)) == pytest.approx(19.0)


@given(st.integers(0, 2**32))
def test_what_was_pushed_before_the_proof_was_received(seed: int) -> None:
    """While no frame takes longer than a round trip, no event before the proof is still under way.

    The server pushes numbered frames and answers pings, all in order on one connection.
    """
    chance = random.Random(seed)
    # (pushed, read, sent) of each frame; sent is when the ping was sent that the frame answers.
    frames: list[tuple[float, float, float | None]] = []
    pushed = read = opened = 10.0
    for _ in range(60):
        pushed += chance.expovariate(2.0)
        trip = chance.uniform(0.025, 0.05)
        sent = pushed - trip if chance.random() < 0.3 and pushed - trip > opened else None
        read = max(read, pushed + trip)
        frames.append((pushed, read, sent))
    proof = SocketProof(opened - 0.1, opened)
    for number, (_, at, sent) in enumerate(frames):
        if sent is not None:
            proof.pinged(sent)
            proof.answered(sent, at)
        else:
            proof.frame(at, at)
        missing = [pushed for pushed, _, _ in frames[number + 1 :]]
        assert all(pushed >= proof.at for pushed in missing)


def test_a_frame_read_late_proves_only_what_was_pushed_before_the_event_loop_was_busy() -> None:
    """A frame may have waited for the event loop."""
    proof = SocketProof(10.0, 10.5)

    assert proof.frame(20.0, 15.0) == pytest.approx(14.5)
    assert proof.at == pytest.approx(14.5)


def test_a_ping_without_a_pong_makes_frames_prove_less() -> None:
    """The round trip is at least as long as the pong has been missing."""
    proof = SocketProof(9.9, 10.0)
    proof.pinged(20.0)

    assert proof.frame(23.0, 23.0) == pytest.approx(20.0)
    proof.answered(20.0, 24.0)
    assert proof.delay(24.0) == pytest.approx(4.0)


def test_events_and_posts_prove_the_key() -> None:
    """The later of the two counts; only a POST confirms the key."""
    key = KeyProof(5.0)
    key.event(7.0)
    key.confirm(6.0)

    assert key.at == 7.0
    assert key.confirmed == 6.0


def test_a_post_does_not_prove_the_stream_of_portfolio_margin_pro() -> None:
    """Its regular events do: with a key of another product the stream would stay silent."""
    key = KeyProof(5.0, posts_prove=False)
    key.confirm(60.0)

    assert key.at == 5.0
    assert key.confirmed == 60.0


@pytest.mark.parametrize(
    "options",
    [
        {"queue_size": 0},
        {"ping_every": 0.0},
        {"confirm_every": -1.0},
        {"ping_timeout": math.nan},
        {"ping_every": math.inf},
        {"overlap": math.inf},
        {"queue_size": 10.5},
        {"attempts_per_second": True},
        {"key_lifetime": "3600"},
        {"rotate_after": 10.0, "rotate_jitter": 10.0},
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any]) -> None:
    """An interval of 0 would keep the event loop busy, and some event loops cannot wait forever."""
    with pytest.raises(ValueError, match=next(iter(options)).split("_")[0]):
        StreamSettings(**options)
