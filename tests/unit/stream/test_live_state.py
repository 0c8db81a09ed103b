"""The state of one account, as events and responses change it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from binance_pm import ENDPOINTS
from binance_pm.api.orders import OrderStatus
from binance_pm.api.stream_events import decode_event
from binance_pm.stream.live_state import AccountChanges, LiveState
from binance_pm.stream.merge import ReadTimes
from tests.support.sample import sample_of
from tests.support.stream_messages import account_update, execution_report, order_update

NOW = 1000.0
T = 1_790_000_000_100


def apply(state: LiveState, *messages: dict[str, Any], now: float = NOW) -> None:
    """Merge events."""
    for message in messages:
        state.apply(decode_event(msgspec.json.encode(message)), now)


def changes(state: LiveState) -> AccountChanges:
    """Return what has changed."""
    return state.take_changes(is_current=True, is_confirmed=False)


@pytest.fixture
def state() -> LiveState:
    """The state of an account whose first, whole changes were taken."""
    state = LiveState()
    changes(state)
    return state


class TestPositions:
    """`ACCOUNT_UPDATE` is a difference."""

    def test_a_position_that_an_event_does_not_name_stays(self, state: LiveState) -> None:
        """The event names only what has changed."""
        apply(state, account_update(T, positions={"BTCUSDT": "1", "ETHUSDT": "2"}))
        apply(state, account_update(T + 1, positions={"ETHUSDT": "3"}))
        apply(state, account_update(T + 2, reason="FUNDING_FEE", balances={"USDT": "999.9"}, positions={}))

        assert {key: one.position_amt for key, one in state.positions.items()} == {"BTCUSDT": 1, "ETHUSDT": 3}
        assert state.balances["USDT"].um_wallet_balance == Decimal("999.9")

    def test_changes_of_one_moment_are_all_applied(self, state: LiveState) -> None:
        """In the order in which they arrive: their times are equal."""
        apply(state, account_update(T, positions={"ETHUSDT": "0.5"}, side="LONG", balances={"USDT": "1000.1"}))
        apply(state, account_update(T, reason="FUNDING_FEE", balances={"USDT": "999.9"}))
        apply(state, account_update(T, positions={"ETHUSDT": "0.6"}, side="LONG"))

        assert state.positions["ETHUSDT", "LONG"].position_amt == Decimal("0.6")
        assert state.balances["USDT"].um_wallet_balance == Decimal("999.9")

    def test_an_empty_list_is_older_than_an_event_that_arrived_after_its_request(self, state: LiveState) -> None:
        """It does not mean that there are no positions."""
        read = ReadTimes(NOW, T, T - 60_000)
        apply(state, account_update(T + 100, positions={"BTCUSDT": "1"}), now=NOW + 0.1)

        state.read_positions("um", um_account(), [], read, NOW + 0.2)

        assert list(state.positions) == ["BTCUSDT"]

    def test_nothing_is_shown_that_moves_with_prices(self, state: LiveState) -> None:
        """The profit in an event is the profit at that moment."""
        apply(state, account_update(T, positions={"BTCUSDT": "1"}))

        shown = set(state.positions["BTCUSDT"].__struct_fields__)
        assert {"position_amt", "entry_price"} <= shown
        assert not shown & {"mark_price", "notional", "liquidation_price", "unrealized_pnl", "un_realized_profit"}

    def test_a_position_of_size_0_leaves(self, state: LiveState) -> None:
        """It was closed."""
        apply(state, account_update(T, positions={"BTCUSDT": "1"}), account_update(T + 1, positions={"BTCUSDT": "0"}))

        assert state.positions == {}
        assert [one.position_amt for one in changes(state).positions] == [0]

    def test_markets_do_not_touch_each_other(self, state: LiveState) -> None:
        """The balance of an asset exists in both futures wallets."""
        apply(state, account_update(T, balances={"BTC": "1"}), account_update(T, unit="CM", balances={"BTC": "2"}))

        balance = state.balances["BTC"]
        assert (balance.um_wallet_balance, balance.cm_wallet_balance) == (1, 2)

    def test_sides_of_a_symbol_are_two_positions(self, state: LiveState) -> None:
        """In hedge mode, symbol and side name a position."""
        apply(state, account_update(T, positions={"BTCUSDT": "1"}, side="LONG"))
        apply(state, account_update(T, positions={"BTCUSDT": "-2"}, side="SHORT"))

        amounts = {key: one.position_amt for key, one in state.positions.items()}
        assert amounts == {("BTCUSDT", "LONG"): 1, ("BTCUSDT", "SHORT"): -2}


class TestBalances:
    """Balances of cross margin."""

    def test_a_difference_is_not_added(self, state: LiveState) -> None:
        """The result comes in an event of its own."""
        message = {"e": "balanceUpdate", "E": T, "a": "BTC", "d": "5", "U": 1, "T": T}
        apply(state, {"e": "outboundAccountPosition", "E": T, "u": T, "U": 1, "B": [{"a": "BTC", "f": "1", "l": "2"}]})
        apply(state, message)

        balance = state.balances["BTC"]
        assert (balance.cross_margin_free, balance.cross_margin_locked) == (1, 2)

    def test_the_change_in_an_event_is_part_of_its_balance(self, state: LiveState) -> None:
        """Adding the change to the balance would count it twice."""
        message = account_update(T, balances={"USDT": "100"})
        message["a"]["B"][0]["bc"] = "7"

        apply(state, message)

        assert state.balances["USDT"].um_wallet_balance == 100

    def test_debt_is_principal_and_interest(self, state: LiveState) -> None:
        """The event has the whole debt afterwards."""
        message = {"e": "liabilityChange", "E": T, "a": "BTC", "t": "BORROW", "T": 135, "p": "1", "i": "0", "l": "3"}
        apply(state, message)

        assert state.balances["BTC"].cross_margin_liability == 3
        assert state.balances["BTC"].cross_margin_free is None


class TestOrders:
    """Orders of three markets."""

    def test_an_order_is_open_until_its_last_event(self, state: LiveState) -> None:
        """Every event has the whole order."""
        apply(state, order_update(T, 7, "NEW"), order_update(T + 1, 7, "PARTIALLY_FILLED", executed="1"))
        [order] = state.open_orders
        assert (order.status, order.executed_qty) == (OrderStatus.PARTIALLY_FILLED, 1)

        apply(state, order_update(T + 2, 7, "FILLED", executed="2"))
        assert state.open_orders == ()
        assert [one.status for one in changes(state).orders] == ["FILLED"]

    @pytest.mark.parametrize("later", [0, 1])
    def test_an_order_that_was_filled_stays_filled(self, state: LiveState, later: int) -> None:
        """A stale NEW may arrive after FILLED."""
        apply(state, order_update(T, 7, "FILLED", executed="1"), order_update(T + later, 7, "NEW"))

        assert state.open_orders == ()
        assert [one.status for one in changes(state).orders] == ["FILLED"]

    def test_an_order_id_above_2_to_the_53_stays_exact(self, state: LiveState) -> None:
        """Ids are never floats."""
        apply(state, order_update(T, 2**53 + 1, "NEW"))

        assert state.open_orders[0].order_id == 2**53 + 1

    @pytest.mark.parametrize("client_order_id", ["autoclose-17", "adl_autoclose", "settlement_autoclose-1"])
    def test_an_order_of_the_exchange_is_not_an_open_order(self, state: LiveState, client_order_id: str) -> None:
        """A liquidation may be told as NEW and never ends."""
        apply(state, order_update(T, 7, "NEW", client_order_id=client_order_id))

        assert state.open_orders == ()

    def test_an_unknown_status_is_open(self, state: LiveState) -> None:
        """A status that the exchange adds does not hide an order."""
        apply(state, order_update(T, 7, "NEW_ADL"))

        assert len(state.open_orders) == 1

    def test_a_cancelled_margin_order_keeps_its_own_id(self, state: LiveState) -> None:
        """The report of a cancel carries the id of the cancel as well."""
        apply(state, execution_report(T, 7, "NEW", client_order_id="mine"))
        cancel = execution_report(T + 1, 7, "CANCELED", client_order_id="the-cancel")
        apply(state, cancel | {"C": "mine", "x": "CANCELED"})

        assert state.open_orders == ()
        assert [one.client_order_id for one in changes(state).orders] == ["mine"]

    def test_only_chosen_symbols_are_kept(self) -> None:
        """An account may be watched for a few symbols."""
        state = LiveState(frozenset({"ETHUSDT"}))

        apply(state, order_update(T, 7, "NEW"), order_update(T, 8, "NEW", symbol="ETHUSDT"))

        assert [order.symbol for order in state.open_orders] == ["ETHUSDT"]


class TestChanges:
    """What is told to a caller that looks from time to time."""

    def test_changes_of_one_entity_are_coalesced(self, state: LiveState) -> None:
        """Only the newest state counts."""
        for size in "123":
            apply(state, account_update(T + int(size), positions={"BTCUSDT": size}))

        assert [one.position_amt for one in changes(state).positions] == [3]
        assert not changes(state)

    def test_the_first_changes_are_everything(self) -> None:
        """A caller that looks later misses nothing."""
        state = LiveState()
        apply(state, account_update(T, positions={"BTCUSDT": "1"}), order_update(T, 7, "NEW"))

        first = changes(state)

        assert first.is_whole
        assert (len(first.positions), len(first.orders)) == (1, 1)

    def test_changes_that_are_never_taken_are_bounded(self, state: LiveState) -> None:
        """Too many changes become the whole state."""
        for number in range(10_001):
            apply(state, order_update(T + number, number, "FILLED"))
        apply(state, order_update(T, 20_000, "NEW"))

        told = changes(state)

        assert told.is_whole
        assert [order.order_id for order in told.orders] == [20_000]

    def test_what_is_handed_out_is_frozen(self, state: LiveState) -> None:
        """A change makes a new object."""
        apply(state, account_update(T, positions={"BTCUSDT": "1"}))
        before = state.positions

        with pytest.raises(TypeError):
            before["BTCUSDT"] = before["BTCUSDT"]  # type: ignore[index] - wrong on purpose
        with pytest.raises(AttributeError):
            before["BTCUSDT"].position_amt = Decimal(2)  # type: ignore[misc] - as above
        apply(state, account_update(T + 1, positions={"BTCUSDT": "2"}))

        assert before["BTCUSDT"].position_amt == 1


def repeated(at: float = NOW) -> ReadTimes:
    """Return the times of a second read."""
    return ReadTimes(at, T + 60_000, T, is_repeated=True)


def um_position(**changes: Any) -> Any:
    """Return a row of ``um.position_risk``."""
    [row, *_] = ENDPOINTS["um.position_risk"].decode(msgspec.json.encode(sample_of("um.position_risk")["answer"]))
    return msgspec.structs.replace(row, **changes)


def um_account(*positions: Any) -> Any:
    """Return a response of ``um_account`` with these positions and no asset."""
    account = ENDPOINTS["um_account"].decode(msgspec.json.encode(sample_of("um_account")["answer"]))
    return msgspec.structs.replace(account, assets=[], positions=list(positions))


class TestLostEvents:
    """A repeated read that is newer than the stream."""

    def test_a_change_without_an_event_is_noticed(self, state: LiveState) -> None:
        """The event is late after 15 s."""
        row = um_position(update_time=T + 5_000)

        state.read_positions("um", um_account(), [row], repeated(), NOW)

        assert state.next_deadline() == NOW + 15

    def test_a_late_event_is_not_lost(self, state: LiveState) -> None:
        """Events were seen up to 12 s late."""
        row = um_position(symbol="BTCUSDT", position_side="BOTH", update_time=T + 5_000)
        state.read_positions("um", um_account(), [row], repeated(), NOW)

        apply(state, account_update(T + 5_000, positions={"BTCUSDT": "1"}), now=NOW + 12)

        assert state.next_deadline() is None

    def test_a_change_from_before_the_gap_has_no_event(self, state: LiveState) -> None:
        """The first read may have been stale."""
        row = um_position(update_time=T - 1)

        state.read_positions("um", um_account(), [row], repeated(), NOW)

        assert state.next_deadline() is None

    def test_a_newer_time_alone_is_no_change(self, state: LiveState) -> None:
        """The update time of a position may move without an event."""
        apply(state, account_update(T, positions={"BTCUSDT": "1"}))
        row = um_position(symbol="BTCUSDT", position_side="BOTH", position_amt=Decimal(1), update_time=T + 5_000)

        state.read_positions("um", um_account(), [row], repeated(NOW + 20), NOW + 20)

        assert state.next_deadline() is None

    def test_both_lists_of_positions_count(self, state: LiveState) -> None:
        """A position that one of them does not name is not closed."""
        apply(state, account_update(T, positions={"BTCUSDT": "1"}))
        row = um_position(symbol="BTCUSDT", position_side="BOTH", position_amt=Decimal(1), update_time=T)

        state.read_positions("um", um_account(), [row], repeated(NOW + 20), NOW + 20)
        assert list(state.positions) == ["BTCUSDT"]
        state.read_positions("um", um_account(), [], repeated(NOW + 20), NOW + 20)
        assert list(state.positions) == []
