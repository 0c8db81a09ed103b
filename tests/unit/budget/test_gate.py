"""The gate of an origin."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from binance_pm.budget.gate import LONGEST_BAN, Gate, closing_seconds
from tests.support.budget import feedback


def test_stays_closed_until_the_latest_of_the_given_times() -> None:
    """A gate is open at first, a shorter refusal does not shorten a longer one, and a ban ends by itself."""
    gate = Gate()
    waits = [gate.wait(0.0)]
    gate.close(100.0, banned=True)
    gate.close(50.0, banned=False)
    waits += [gate.wait(90.0), gate.wait(100.0)]
    gate.close(200.0, banned=False)

    assert (waits, gate.until) == ([0.0, 10.0, 0.0], 200.0)
    assert (gate.is_banned(99.0), gate.is_banned(100.0), gate.ban_left(90.0)) == (True, False, 10.0)


MINUTE = 30_000_000 * 60.0


def closes_for(
    status: int,
    *,
    retry_after: str | None = None,
    body: bytes = b"",
    bounds: tuple[float, float] = (MINUTE + 20, MINUTE + 21),
) -> float:
    """Return for how long a response closes the gate, a third into the exchange's minute."""
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return closing_seconds(feedback(status, headers, body), bounds=bounds, minute=60.0)


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [(None, 40.0), ("0", 40.0), ("10", 40.0), ("41", 41.0), ("300", 300.0), ("soon", 40.0)]
)
def test_a_429_closes_it_at_least_for_the_rest_of_the_minute(retry_after: str | None, seconds: float) -> None:
    """Until the minute has surely turned, by the latest possible clock of the exchange."""
    assert closes_for(429, retry_after=retry_after) == seconds


@pytest.mark.parametrize(("bounds", "seconds"), [((MINUTE + 59.5, MINUTE + 60.5), 60.5), ((0.0, MINUTE), 120.0)])
def test_waits_for_the_minute_after_the_latest_that_is_possible(bounds: tuple[float, float], seconds: float) -> None:
    """The refusal may belong to any of the possible minutes; two minutes are enough if the bounds span years."""
    assert closes_for(429, bounds=bounds) == seconds


@pytest.mark.parametrize(
    ("retry_after", "until", "seconds"),
    [
        (None, None, 120.0),
        ("0", None, 120.0),
        ("30", None, 30.0),
        (None, MINUTE + 320, 300.0),
        ("500", MINUTE + 320, 500.0),
        ("10", MINUTE + 320, 300.0),
        (None, MINUTE - 100, 120.0),
        ("604800", None, 259_200.0),
    ],
)
def test_a_ban_closes_it_for_the_longest_stated_time(
    retry_after: str | None, until: float | None, seconds: float
) -> None:
    """The stated end is in the exchange's time; a ban lasts from two minutes to three days."""
    body = b"" if until is None else b"IP banned until %d." % (until * 1000)

    assert closes_for(418, retry_after=retry_after, body=body) == seconds


@pytest.mark.parametrize("retry_after", [None, "5", "90", "604800", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_the_firewall_closes_it_for_a_minute(retry_after: str | None) -> None:
    """A 403 of the firewall states no end, and only a 429 or 418 may close the gate for longer."""
    assert closes_for(403, retry_after=retry_after) == 60.0


HOURS, NOW = 7200.0, MINUTE + 20


@pytest.mark.parametrize("status", [429, 418])
@pytest.mark.parametrize("date", [None, 0.0, HOURS, -HOURS])
@pytest.mark.parametrize("wall", [0.0, HOURS, -HOURS])
@pytest.mark.parametrize("by", ["date", "wall", "exchange"])
@pytest.mark.parametrize("is_synchronised", [True, False])
def test_it_opens_by_the_latest_of_all_clocks(
    status: int, date: float | None, wall: float, by: str, *, is_synchronised: bool
) -> None:
    """By any clock, the stated end has passed; a `Date` counts only if no other time is known."""
    clocks = {"wall": NOW + wall, "exchange": NOW}
    if date is not None and not is_synchronised:
        clocks["date"] = NOW + date
    ends = int(clocks.get(by, NOW)) + 300

    seconds = closes_by(status, ends, date=date, wall=wall, is_synchronised=is_synchronised)

    assert seconds == max(ends - clock for clock in clocks.values())


@pytest.mark.parametrize("status", [429, 418])
@pytest.mark.parametrize("is_synchronised", [True, False])
@pytest.mark.parametrize(("date", "wall"), [(-1e8, 0.0), (0.0, -1e8), (1e8, 0.0), (0.0, 1e8)])
def test_a_clock_that_is_years_off_closes_it_for_no_longer(
    status: int, date: float, wall: float, *, is_synchronised: bool
) -> None:
    """No ban is longer than three days."""
    assert closes_by(status, int(NOW) + 300, date=date, wall=wall, is_synchronised=is_synchronised) == 300


@pytest.mark.parametrize("ends", [2_000_000_000, 9_999_999_999])
def test_an_end_years_ahead_closes_it_for_three_days(ends: int) -> None:
    """By any of the clocks."""
    assert closes_by(418, ends, date=0.0, wall=0.0, is_synchronised=True) == LONGEST_BAN


def closes_by(status: int, ends: int, *, date: float | None, wall: float, is_synchronised: bool) -> float:
    """Return for how long a refusal with a stated end closes the gate if the clocks are off by so much."""
    headers = {"retry-after": formatdate(ends, usegmt=True)} if status == 429 else {}
    if date is not None:
        headers["date"] = formatdate(NOW + date, usegmt=True)
    return closing_seconds(
        feedback(status, headers, b"banned until %d" % (ends * 1000) if status == 418 else b""),
        bounds=(NOW, NOW + 1),
        minute=60.0,
        wall=NOW + wall,
        is_synchronised=is_synchronised,
    )


@pytest.mark.parametrize("wall", [0.0, 600.0, 4 * 86400.0])
def test_the_longest_ban_is_accepted_by_the_exchanges_clock(wall: float) -> None:
    """Wide clock bounds make the ban seem longer; a wrong wall clock does not shorten the ban."""
    answer = feedback(418, {}, b"banned until %d" % ((MINUTE + 20 + LONGEST_BAN) * 1000))
    seconds = closing_seconds(
        answer,
        bounds=(MINUTE + 19.3, MINUTE + 20.4),
        minute=60.0,
        wall=MINUTE + 20 + wall,
    )

    assert seconds == LONGEST_BAN
