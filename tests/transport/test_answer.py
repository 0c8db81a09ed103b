"""What an answer says besides its body: the exchange's clock, how long to wait, and what was counted."""

from __future__ import annotations

import time
from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_pm.transport import HttpAnswer, _seconds

MOMENT = 1_795_262_282


def dated(text: str) -> int | None:
    """The exchange's clock, as an answer with this Date tells it."""
    return HttpAnswer(200, {"date": text}, b"").date


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/St_Johns"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[str, None, None]:
    """This machine is in another part of the world."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    # What was read in another zone is remembered.
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
def test_a_date_is_the_exchanges_wherever_this_machine_is(text: str) -> None:
    """A date of HTTP is in GMT in each of its three spellings, and never this machine's local time."""
    assert dated(text) == MOMENT


@pytest.mark.parametrize(
    "text",
    ["", " ", "GMT", "0", "1795262282", "Sat, 31 Feb 2026 11:58:02 GMT", "Sat, 21 Nov 2026 25:58:02 GMT",
     "Sat, 21 Nov 2026 11:58:02 +9999", "Sat, 21 Nov 99999999999999999999 11:58:02 GMT"],
)  # fmt: skip
def test_what_is_no_date_tells_nothing(text: str) -> None:
    """Without a date the clock stays as it is."""
    assert dated(text) is None


def test_without_a_date_there_is_none() -> None:
    """The header may be missing."""
    assert HttpAnswer(200, {}, b"").date is None


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
    """Whatever stands there is a whole number of seconds or nothing, never an exception."""
    assert isinstance(dated(text), int | None)


def test_the_end_of_time() -> None:
    """A date that its zone moves beyond what a calendar has is told all the same."""
    assert dated("Fri, 31 Dec 9999 23:59:59 -2359") == 253_402_387_139


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("17", 17), ("0", 0), ("9" * 19, 604_800), ("9" * 20, None), ("-1", None), ("1.5", None), ("x", None), ("", None)],
)
def test_how_long_to_wait(text: str, seconds: int | None) -> None:
    """Whole seconds, at most a week; everything else is not said."""
    assert HttpAnswer(429, {"retry-after": text}, b"").retry_after == seconds
