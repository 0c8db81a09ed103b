"""Only safe repetitions are made, and never so many that an outage multiplies traffic."""

from __future__ import annotations

from typing import Any

import pytest

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
from binance_pm.retry import NextAttempt, RetryBudget, next_attempt

READ = CallInfo("um_account", "main")
WRITE = CallInfo("new_um_order", "main", write=True)
CANCEL = CallInfo("cancel_um_order", "main", write=True, repeat="same_effect")
QUOTA = CallInfo("um_income_download_id", "main", write=True, repeat="never")


def repeatable(call: CallInfo) -> list[PortfolioMarginError]:
    """Return the failures after which a read may be repeated."""
    return [
        ConnectError(call, "x"),
        NoResponse(call, "x"),
        NotDone(call, "x", status=503),
        OutcomeUnknown(call, "x", status=500),
    ]


def decide(error: PortfolioMarginError, **options: Any) -> NextAttempt | None:
    """Decide after the first attempt of three, unless the options say otherwise."""
    given: dict[str, Any] = {"attempt": 1, "attempts": 3, "elapsed": 0.0, "jitter": 1.0}
    given |= {"may_synchronise": True, "gate_opens_in": 1.0, "max_wait": 1.0} | options
    return next_attempt(error, **given)


def delay_of(error: PortfolioMarginError, **options: Any) -> float | None:
    """Return the seconds until the next attempt; None if there is none."""
    decided = decide(error, **options)
    return None if decided is None else decided.delay


@pytest.mark.parametrize(
    "error", [*repeatable(READ), *repeatable(CANCEL)], ids=lambda error: f"{error.endpoint} {type(error).__name__}"
)
def test_a_read_is_repeated(error: PortfolioMarginError) -> None:
    """So is an idempotent call, after failures that say nothing about the request."""
    assert delay_of(error) == 0.2


@pytest.mark.parametrize(
    "error", [*repeatable(WRITE), *repeatable(QUOTA)], ids=lambda error: f"{error.endpoint} {type(error).__name__}"
)
def test_a_write_is_not_repeated(error: PortfolioMarginError) -> None:
    """A write is never repeated, not even if it was certainly not executed."""
    assert delay_of(error) is None


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError(READ, "x"),
        BudgetExceeded(READ, "x", wait=1),
        SessionClosed(READ, "x"),
        RequestRejected(READ, "x", status=400),
        AuthenticationError(READ, "x", status=401),
        ClockSkewError(READ, "x", status=400),
        RateLimited(WRITE, "x", status=429),
        RateLimited(CANCEL, "x", status=429),
        RateLimited(READ, "x", status=429, code=-1015),
        IpBanned(READ, "x", status=418),
        InvalidResponse(READ, "x", status=200),
    ],
    ids=lambda error: f"{error.endpoint} {type(error).__name__}",
)
def test_other_failures_are_final(error: PortfolioMarginError) -> None:
    """A request that would fail again, or prolong a ban, is not repeated."""
    assert decide(error) is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, NextAttempt(at_head=True)), ({"attempt": 3}, None), ({"gate_opens_in": 1.1}, None)],
    ids=["in time", "last attempt", "too long"],
)
def test_a_limited_read_waits_at_the_head_of_the_queue(options: dict[str, Any], expected: NextAttempt | None) -> None:
    """The read waits until the gate opens, if an attempt is left and the wait is short enough."""
    assert decide(RateLimited(READ, "x", status=429), **options) == expected


@pytest.mark.parametrize("call", [READ, WRITE])
def test_a_gate_that_closed_before_sending_costs_no_attempt(call: CallInfo) -> None:
    """Nothing was sent, so an order keeps its place, too."""
    error = GateClosed(call, "x", until=1, banned=False)

    assert decide(error, attempt=3) == NextAttempt(at_head=True, counts=False)


@pytest.mark.parametrize("call", [READ, WRITE])
@pytest.mark.parametrize(
    ("code", "may_synchronise", "repeats"), [(-1021, True, True), (-1021, False, False), (-5028, True, False)]
)
def test_a_timestamp_outside_the_window_synchronises_once(
    call: CallInfo, code: int, *, may_synchronise: bool, repeats: bool
) -> None:
    """The request was refused for its timestamp, so repeating an order is safe."""
    error = ClockSkewError(call, "x", status=400, code=code)

    assert decide(error, attempt=3, may_synchronise=may_synchronise) == (
        NextAttempt(after_synchronising=True) if repeats else None
    )


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


def spent(allowance: RetryBudget) -> int:
    """Return how many of thirty requested retries the retry budget grants."""
    return sum(allowance.spend() for _ in range(30))


@pytest.mark.parametrize(
    ("is_spent", "answered", "granted"),
    [
        (False, 0, 10),
        (False, 100_000, 10),
        (True, 0, 0),
        (True, 9, 0),
        (True, 10, 1),
        (True, 19, 1),
        (True, 20, 2),
        (True, 1000, 10),
    ],
)
def test_ten_responses_earn_one_retry(answered: int, granted: int, *, is_spent: bool) -> None:
    """A host that answers nothing gets ten retries of all calls together; no success earns more than ten."""
    allowance = RetryBudget()
    if is_spent:
        spent(allowance)
    for _ in range(answered):
        allowance.earn()

    assert spent(allowance) == granted
