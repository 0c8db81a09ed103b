"""Settings of a client and of single calls, and several keys of one account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from binance_pm import (
    Budget,
    BudgetExceeded,
    Client,
    ConfigurationError,
    LimitType,
    Priority,
    RateLimited,
    Session,
    SessionClosed,
)
from binance_pm.session import AttemptEvent
from tests.support.clocks import FakeClock

SECRET = "s" * 64
PAPI = "https://papi.binance.com"
ORDER: Mapping[str, Any] = {"weight": {LimitType.IP: 1, LimitType.ORDERS: 1}, "returns": dict[str, Any]}
TOO_MANY = {"code": -1015, "msg": "Too many new orders; current limit is 1200 orders per MINUTE."}


def session_of(clock: FakeClock, response: httpx.Response) -> Session:
    """Return a session whose exchange always responds like this."""
    transport = httpx.MockTransport(lambda _: httpx.Response(response.status_code, content=response.content))
    return Session(http=transport, budget=Budget(monotonic=clock, wall=clock, sleep=clock.sleep))


async def place(client: Client) -> None:
    """Place an order."""
    await client.request("POST", "/papi/v1/um/order", **ORDER)


class TestAccounts:
    """The exchange counts orders by account, and an account may have several keys."""

    @pytest.mark.parametrize(("ids", "accounts"), [((None, None), 2), (("a", "a"), 1), (("a", "b"), 2)])
    async def test_keys_of_one_account_share_its_pools(
        self, clock: FakeClock, ids: tuple[str | None, str | None], accounts: int
    ) -> None:
        """If the caller declares them as one."""
        async with session_of(clock, httpx.Response(200, json={})) as session:
            for number, account_id in enumerate(ids):
                async with Client(str(number) * 64, SECRET, session=session, account_id=account_id) as client:
                    await place(client)

            orders = [pool for pool in session.budget.snapshot() if pool.pool.limit_type is LimitType.ORDERS]
            assert len(orders) == accounts
            assert sum(pool.used for pool in orders) == 2

    async def test_too_many_orders_stop_the_orders_of_that_account(self, clock: FakeClock) -> None:
        """Without `Retry-After`, until the minute ends; polls and other accounts go on."""
        async with session_of(clock, httpx.Response(400, json=TOO_MANY)) as session:
            first, second = (
                Client(key * 64, SECRET, session=session, account_id="desk", max_wait=1, attempts=1) for key in "12"
            )
            other = Client("3" * 64, SECRET, session=session, attempts=1)
            async with first, second, other:
                with pytest.raises(RateLimited):
                    await place(first)
                with pytest.raises(BudgetExceeded):
                    await place(second)
                with pytest.raises(RateLimited):
                    await place(other)
                assert session.budget.gate(PAPI).wait(clock()) == 0


class TestOptions:
    """`Client.options`."""

    async def test_a_view_has_other_settings(self, clock: FakeClock) -> None:
        """Session, label and pools are those of the client, which keeps its own settings."""
        events: list[AttemptEvent] = []
        async with session_of(clock, httpx.Response(200, json={})) as session:
            session.add_listener(events.append)
            async with Client("k" * 64, SECRET, session=session, label="desk") as client:
                await client.options(priority=Priority.BACKGROUND).ping()
                await client.ping()

        assert [event.priority for event in events] == [Priority.BACKGROUND, Priority.POLL]
        assert {event.call.endpoint for event in events} == {"ping"}

    async def test_a_view_closes_with_its_client(self, clock: FakeClock) -> None:
        """It has no state of its own."""
        async with session_of(clock, httpx.Response(200, json={})) as session:
            async with Client(session=session) as client:
                view = client.options(max_wait=1)
                await view.ping()
            with pytest.raises(SessionClosed):
                await view.ping()

    @pytest.mark.parametrize(
        "settings", [{"max_wait": -1.0}, {"attempts": 0}, {"recv_window": 60_001}, {"attempts": "3"}, {"resolve": "no"}]
    )
    def test_a_setting_out_of_range_is_refused(self, settings: dict[str, Any]) -> None:
        """As it is by `Client`."""
        with pytest.raises(ConfigurationError):
            Client().options(**settings)
        with pytest.raises(ConfigurationError):
            Client(**settings)
