"""Only what may be is repeated, only where that is safe, and never so often that an outage multiplies traffic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binance_pm import (
    AuthenticationError,
    BudgetExceeded,
    ClockSkewError,
    ConfigurationError,
    ConnectError,
    GateClosed,
    InvalidResponse,
    IpBanned,
    NoResponse,
    NotDone,
    OutcomeUnknown,
    PortfolioMarginError,
    RateLimited,
    RequestRejected,
    SessionClosed,
)
from binance_pm.errors import CallInfo
from binance_pm.retry import RetryBudget, retry_delay

READ = CallInfo("um_account", "main")
WRITE = CallInfo("new_um_order", "main", write=True)
CANCEL = CallInfo("cancel_um_order", "main", write=True, repeat="same_effect")
QUOTA = CallInfo("um_income_download_id", "main", write=True, repeat="never")


def repeatable(call: CallInfo) -> list[PortfolioMarginError]:
    """The failures after which a read may be repeated."""
    return [
        ConnectError(call, "x"),
        NoResponse(call, "x"),
        NotDone(call, "x", status=503),
        OutcomeUnknown(call, "x", status=500),
    ]


def delay_of(
    error: PortfolioMarginError, *, attempt: int = 1, attempts: int = 3, elapsed: float = 0.0, jitter: float = 1.0
) -> float | None:
    """The delay, of a first attempt of three unless told otherwise."""
    return retry_delay(error, attempt=attempt, attempts=attempts, elapsed=elapsed, jitter=jitter)


@pytest.mark.parametrize(
    "error", [*repeatable(READ), *repeatable(CANCEL)], ids=lambda error: f"{error.endpoint} {type(error).__name__}"
)
def test_a_read_is_repeated(error: PortfolioMarginError) -> None:
    """As is what has the same effect the second time, after failures that say nothing about the request."""
    assert delay_of(error) == 0.2


@pytest.mark.parametrize(
    "error", [*repeatable(WRITE), *repeatable(QUOTA)], ids=lambda error: f"{error.endpoint} {type(error).__name__}"
)
def test_a_write_is_not(error: PortfolioMarginError) -> None:
    """A write is never repeated, not even where it surely was not done."""
    assert delay_of(error) is None


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError(READ, "x"),
        BudgetExceeded(READ, "x", wait=1),
        GateClosed(READ, "x", until=1, banned=False),
        SessionClosed(READ, "x"),
        RequestRejected(READ, "x", status=400),
        AuthenticationError(READ, "x", status=401),
        ClockSkewError(READ, "x", status=400),
        RateLimited(READ, "x", status=429),
        IpBanned(READ, "x", status=418),
        InvalidResponse(READ, "x", status=200),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_failures_are_final(error: PortfolioMarginError) -> None:
    """What would fail again, or make a ban longer, is not repeated."""
    assert delay_of(error) is None


@pytest.mark.parametrize(("attempt", "delay"), [(1, 0.2), (2, 0.4), (3, 0.8), (4, 1.6), (5, None), (6, None)])
def test_delays_double_until_the_attempts_are_used_up(attempt: int, delay: float | None) -> None:
    """Each attempt waits twice as long; the last is final."""
    assert delay_of(NoResponse(READ, "x"), attempt=attempt, attempts=5) == delay


@pytest.mark.parametrize(("elapsed", "delay"), [(0, 0.2), (29.7, 0.2), (29.8, None), (30.0, None), (1e9, None)])
def test_half_a_minute_is_enough(elapsed: float, delay: float | None) -> None:
    """A call that would still be trying after 30 s is given up."""
    assert delay_of(NoResponse(READ, "x"), elapsed=elapsed) == delay


@pytest.mark.parametrize(("jitter", "delay"), [(0.0, 0.1), (0.5, 0.15), (1.0, 0.2)])
def test_jitter_takes_off_at_most_half(jitter: float, delay: float) -> None:
    """The random number spreads the delay between a half and the whole."""
    assert delay_of(NoResponse(READ, "x"), jitter=jitter) == pytest.approx(delay)


@given(jitter=st.floats(0, 1), attempt=st.integers(1, 7))
def test_jitter_has_bounds(jitter: float, attempt: int) -> None:
    """Whatever the random number, a delay is at least half of the doubled one and never more than it."""
    whole = 0.1 * 2**attempt

    delay = delay_of(NoResponse(READ, "x"), attempt=attempt, attempts=8, jitter=jitter)

    assert delay is not None
    assert whole / 2 <= delay <= whole


def spent(allowance: RetryBudget) -> int:
    """How many retries it gives away until it runs dry, of thirty asked for."""
    return sum(allowance.spend() for _ in range(30))


def test_ten_retries_are_allowed_at_first() -> None:
    """A host that answers nothing is asked ten times more, by all calls together."""
    assert spent(RetryBudget()) == 10


@pytest.mark.parametrize(("answered", "earned"), [(0, 0), (9, 0), (10, 1), (19, 1), (20, 2), (100, 10), (1000, 10)])
def test_ten_answers_earn_one_retry(answered: int, earned: int) -> None:
    """Every ten calls that are answered earn one retry, up to ten."""
    allowance = RetryBudget()
    spent(allowance)

    for _ in range(answered):
        allowance.earn()

    assert spent(allowance) == earned


def test_answers_do_not_pile_up() -> None:
    """A day of answers allows no more than ten retries in a row."""
    allowance = RetryBudget()

    for _ in range(100_000):
        allowance.earn()

    assert spent(allowance) == 10
