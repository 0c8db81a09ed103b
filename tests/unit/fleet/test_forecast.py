"""A forecast agrees with the watch: both use the same functions on the same weights."""

from __future__ import annotations

import pytest

from binance_pm.budget import Budget
from binance_pm.fleet import Fleet, Member
from binance_pm.fleet.forecast import Forecast, forecast
from binance_pm.stream.shared import StreamProduct
from binance_pm.testing import sandbox

PM, SPAN = ("account", "um_account"), ("span_account",)


def made(*reads: tuple[str, ...], ceiling: float = 15.0) -> Forecast:
    """Return a forecast without external usage."""
    return forecast(Budget(), reads, floor=1.0, ceiling=ceiling)


def test_accounts_that_fit_are_read_as_wished() -> None:
    """At the maximum interval while calm, at the minimum in danger."""
    (group,) = made(PM).groups

    assert (group.calm, group.near, group.others, group.all_near) == (
        15.0,
        pytest.approx(1.0),
        None,
        pytest.approx(1.0),
    )


def test_more_than_fits_is_stretched() -> None:
    """The ratio of the intervals stays the same for accounts in danger."""
    whole = made(*[PM] * 200)

    (group,) = whole.groups
    assert group.near is not None
    assert group.others is not None
    assert not whole.fits
    # 200 readings of weight 25 in nine tenths of the weight for polls.
    assert group.calm == pytest.approx(200 * 25 * 60 / (0.9 * whole.pools[0].available))
    assert group.others / group.near == pytest.approx(15)
    assert group.others > group.calm > group.near


def test_pools_do_not_stretch_each_other() -> None:
    """An interval depends only on the pools that the account uses."""
    crowded, alone = made(*[PM] * 200, SPAN).groups

    assert (crowded.calm > 60, alone.calm) == (True, 15.0)


def test_a_stream_halves_what_a_calm_account_needs() -> None:
    """A stream halves the need of a calm account, but an account in danger is read as often as without a stream."""
    whole = forecast(Budget(), [PM] * 4, floor=1.0, ceiling=15.0, streams=["pm", "pm", None, None])

    streamed, polled = whole.groups
    assert (streamed.stream, streamed.calm, polled.calm) == (True, 30.0, 15.0)
    assert streamed.all_near == pytest.approx(polled.all_near)
    # Two accounts of weight 25 every 30 instead of 15 s, less a confirmation of each listen key a minute.
    assert whole.saved == 2 * (25 * 4 - 25 * 2 - 1)
    assert [pool.needed for pool in whole.pools] == [2 * 100 + 2 * 50 + 2]
    assert [pool.needed for pool in whole.unstreamed] == [4 * 100]
    assert whole.fits


def test_a_stream_replaces_the_polls_of_a_pro_account() -> None:
    """A stream of a Pro account replaces its polls, because it pushes the figures every five seconds."""
    whole = forecast(Budget(), [("pro_account",)], floor=1.0, ceiling=15.0, streams=["pro"])

    assert whole.groups[0].read == ()
    assert whole.saved_by_pool == {
        "IP /sapi/v1/portfolio/account": 20,
        "UID /sapi/v1/portfolio/account": 20,
        "IP /fapi": -1,
    }
    assert whole.saved == 5 * 4 - 1
    assert whole.fits


def test_a_stream_does_not_replace_the_polls_of_a_span_account() -> None:
    """A SPAN account is polled as without a stream, and its listen key counts in another pool."""
    (group,) = (whole := forecast(Budget(), [SPAN], floor=1.0, ceiling=15.0, streams=["pro"])).groups

    assert (group.read, group.wished, group.calm, group.stream) == (SPAN, 15.0, 15.0, True)
    assert whole.saved == -1


def test_the_confirmations_of_many_listen_keys_are_less_frequent() -> None:
    """The confirmations of many listen keys together take at most 1 % of the limit."""
    streams: list[StreamProduct | None] = ["pm"] * 200
    whole = forecast(Budget(), [PM] * 200, floor=1.0, ceiling=100.0, streams=streams)

    assert whole.saved == pytest.approx(200 * 25 * 60 / 100 / 2 - 60)


def test_nothing_is_saved_without_streams() -> None:
    """Without streams, the plan has only the pools of the readings."""
    whole = made(PM, SPAN)

    assert whole.saved == 0
    assert {pool.name: pool.needed for pool in whole.pools} == {pool.name: pool.needed for pool in whole.unstreamed}


def test_a_maximum_interval_that_holds_fits() -> None:
    """To the last digit."""
    longest = made(*[PM] * 200).groups[0].calm

    assert made(*[PM] * 200, ceiling=longest).fits
    assert not made(*[PM] * 200, ceiling=longest * 0.999).fits


async def test_a_watch_follows_its_forecast() -> None:
    """Calm accounts of the local exchange, more than fit in its small limits."""
    async with sandbox(accounts=7, in_memory=True, limits={"sapi-ip": 400}) as pm, pm.session() as session:
        members = [Member(pm.client(place, session=session), "span") for place in (3, 6)]
        async with Fleet(members, floor=1.0, ceiling=1.0) as fleet:
            expected = forecast(fleet.budget, [SPAN] * 2, floor=1.0, ceiling=1.0).groups[0].calm
            async for _ in fleet.watch():
                break
            intervals = [snapshot.interval for snapshot in fleet.snapshot()]

    assert expected > 1.5
    assert intervals == [pytest.approx(expected, rel=0.05)] * 2
