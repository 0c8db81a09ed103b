"""Facts of a response besides its body: the exchange's clock, how long to wait, and the count."""

from __future__ import annotations

import time
from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_pm.transport.http import HttpResponse, _seconds

MOMENT = 1_795_262_282


def dated(text: str) -> int | None:
    """Return the exchange's clock by a response with this Date."""
    return HttpResponse(200, {"date": text}, b"").date


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/St_Johns"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[str, None, None]:
    """Set this machine's time zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    # Dates parsed in another time zone are cached.
    _seconds.cache_clear()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    "text",
    [
        "Sat, 21 Nov 2026 11:58:02 GMT",
        "Sat, 21 Nov 2026 11:58:02 UTC",
        "Sat, 21 Nov 2026 11:58:02 +0000",
        "Sat, 21 Nov 2026 11:58:02 -0000",
        "Sat, 21 Nov 2026 11:58:02",
        "Saturday, 21-Nov-26 11:58:02 GMT",
        "Sat Nov 21 11:58:02 2026",
        "Sat, 21 Nov 2026 20:58:02 +0900",
    ],
)
def test_a_date_does_not_depend_on_the_local_time_zone(text: str) -> None:
    """A date of HTTP is in GMT in each of its three formats, and never in local time."""
    assert dated(text) == MOMENT


@pytest.mark.parametrize(
    "text",
    ["", " ", "GMT", "0", "1795262282", "Sat, 31 Feb 2026 11:58:02 GMT", "Sat, 21 Nov 2026 25:58:02 GMT",
     "Sat, 21 Nov 2026 11:58:02 +9999", "Sat, 21 Nov 99999999999999999999 11:58:02 GMT"],
)  # fmt: skip
def test_an_invalid_date_is_ignored(text: str) -> None:
    """Without a date the clock does not change."""
    assert dated(text) is None


def test_a_missing_date_is_none() -> None:
    """The header may be missing."""
    assert HttpResponse(200, {}, b"").date is None


@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            ["Sat,", "1", "31", "Nov", "0001", "9999", "00:00:00", "23:59:60", "8.5.2", "GMT", "-2359", "x"]
        ),
        max_size=8,
    ).map(" ".join)
)
def test_any_date(text: str) -> None:
    """Any text is a whole number of seconds or None, never an exception."""
    assert isinstance(dated(text), int | None)


def test_a_date_beyond_the_calendar() -> None:
    """A date that its time zone moves beyond the year 9999 is read all the same."""
    assert dated("Fri, 31 Dec 9999 23:59:59 -2359") == 253_402_387_139


DATE = "Sat, 21 Nov 2026 11:58:02 GMT"
LATER = "Sat, 21 Nov 2026 12:03:02 GMT"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(f"{DATE}, {DATE}", MOMENT), (f"{DATE}, {LATER}", None), (f"{DATE}, x", None), (f"{DATE},", None), (",", None)],
)
def test_a_repeated_date(text: str, seconds: int | None) -> None:
    """Two different dates are ignored: one of them is a proxy's."""
    assert dated(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("17", 17), ("0", 0), ("9" * 19, 604_800), ("9" * 20, 604_800), ("9" * 5000, 604_800), ("1.5", 1.5),
     ("0.5", 0.5), ("604799.9", 604_799.9), ("604800.9", 604_800), ("5, 60", 60), ("60,5", 60), ("5, x", 5),
     (DATE, 0), (LATER, 300), (f"10, {LATER}", 300), (f"{LATER}, 400", 400), (f"{DATE}, {LATER}", 300),
     ("Saturday, 21-Nov-26 12:03:02 GMT", 300), ("Sat Nov 21 12:03:02 2026", 300),
     ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", None),
     ("-1", None), ("+1", None), ("x", None), ("", None), ("NaN", None), ("inf", None), ("1e9", None), ("1.", None),
     (".5", None), ("1_0", None), ("\u0663", None), ("0x10", None)],
)  # fmt: skip
def test_how_long_to_wait(text: str, seconds: float | None) -> None:
    """Seconds or a date, the longest of all, at most a week; other texts are ignored."""
    assert HttpResponse(429, {"retry-after": text, "date": DATE}, b"").retry_after == seconds


def test_retry_at_is_the_latest_date_of_retry_after() -> None:
    """The clock decides from when seconds count."""
    answer = HttpResponse(429, {"retry-after": f"5, {LATER}, {DATE}"}, b"")

    assert (answer.retry_after, answer.retry_at) == (5, MOMENT + 300)
    assert HttpResponse(429, {"retry-after": "5"}, b"").retry_at is None
    assert HttpResponse(429, {}, b"").retry_at is None


@pytest.mark.parametrize(
    ("text", "until"),
    [("until 1780000000000.", 1.78e9), ("until 1780000000.", 1.78e9), ("UNTIL 1780000000123", 1_780_000_000.123),
     ("until 1780000000000000", 1.78e9), ("until 1780000000000000000", 1.78e9),
     ("until 1780000000000, until 1790000000000", 1.79e9), ("until 1", None), ("until 178000000000", None),
     ("until -1780000000000", None), ("until 1780000000.5", None), ("until 9" + "9" * 26, None), ("until NaN", None),
     ("until 9223372036854775808", 9_223_372_036.854776), ("banuntil 1780000000000", None), ("", None)],
)  # fmt: skip
def test_when_a_ban_ends(text: str, until: float | None) -> None:
    """Seconds or smaller units since the epoch, by the number of digits; the latest of several."""
    assert HttpResponse(418, {}, f'{{"code":-1003,"msg":"IP banned {text}"}}'.encode()).banned_until == until


@pytest.mark.parametrize(
    ("text", "used"),
    [("17", 17), ("5, 60", 60), ("60, 5", 60), ("5, x", 5), ("x, y", None), ("-1", None), ("1.5", None),
     ("9007199254740993", 2**53), ("9" * 19, 2**53), ("9" * 26, None), ("9" * 5000, None), ("", None), ("5,", 5)],
)  # fmt: skip
def test_the_used_weight(text: str, used: int | None) -> None:
    """A whole number, the highest of several; other texts are ignored."""
    assert HttpResponse(200, {"x-mbx-used-weight-1m": text}, b"").used("x-mbx-used-weight-1m") == used
