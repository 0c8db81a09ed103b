"""What clients of user data streams get wrong, and the test that fails if this package does the same.

Each name is a file below ``tests``, and a test in it.
"""

from __future__ import annotations

import re

import pytest

from tests.support.paths import TESTS

_SUPERVISOR = "integration/stream/test_supervisor.py"
_EVENT_STREAM = "integration/stream/test_event_stream.py"
_STATE = "unit/stream/test_live_state.py"
_EVENTS = "unit/test_stream_events.py"

MISTAKES: dict[str, tuple[str, str]] = {
    "read the snapshot before connecting": (
        "simulation/test_live_reads.py",
        "test_nothing_is_read_before_the_stream_is_up",
    ),
    "reconnect twice after 24 hours": (_SUPERVISOR, "test_a_connection_that_ends_during_its_rotation_is_replaced_once"),
    "hold more than two connections while rotating": (_SUPERVISOR, "test_connections_are_replaced_at_their_age"),
    "delete the listen key on closing": (_EVENT_STREAM, "test_no_stream_deletes_or_extends_the_key_of_the_account"),
    "take a PUT as a proof of the key": (_EVENT_STREAM, "test_no_stream_deletes_or_extends_the_key_of_the_account"),
    "take a pong as a proof of the key": (_SUPERVISOR, "test_a_pong_does_not_prove_the_key"),
    "connect with a key that may be dead": (_SUPERVISOR, "test_every_connection_is_preceded_by_a_post"),
    "stay silent when another program has deleted the key": (
        _SUPERVISOR,
        "test_every_loss_is_reported_in_time_and_ends",
    ),
    "take the silence of a Pro stream as normal": (
        _SUPERVISOR,
        "test_a_silent_pro_stream_is_down_although_pongs_arrive",
    ),
    "use the key or the address of the other product": (
        _EVENT_STREAM,
        "test_the_pro_stream_has_its_own_key_and_address",
    ),
    "show a listen key": ("integration/stream/test_secret_keys.py", "test_no_listen_key_is_shown"),
    "add balanceUpdate to a balance": (_STATE, "test_a_difference_is_not_added"),
    "add the change of a wallet to its balance": (_STATE, "test_the_change_in_an_event_is_part_of_its_balance"),
    "read an empty list as no positions": (
        _STATE,
        "test_an_empty_list_is_older_than_an_event_that_arrived_after_its_request",
    ),
    "replace all positions by those of an event": (_STATE, "test_a_position_that_an_event_does_not_name_stays"),
    "drop an event whose time equals the last one": (_STATE, "test_changes_of_one_moment_are_all_applied"),
    "mix the wallets of USD-M and COIN-M": (_STATE, "test_markets_do_not_touch_each_other"),
    "keep a position of size 0": (_STATE, "test_a_position_of_size_0_leaves"),
    "merge the sides of a hedged symbol": (_STATE, "test_sides_of_a_symbol_are_two_positions"),
    "show figures of events that move with prices": (_STATE, "test_nothing_is_shown_that_moves_with_prices"),
    "forget identities while two connections overlap": (
        _SUPERVISOR,
        "test_no_identity_is_forgotten_while_two_connections_overlap",
    ),
    "report an event twice": (_SUPERVISOR, "test_exact_duplicates_on_one_connection_are_dropped"),
    "let NEW follow FILLED": (_STATE, "test_an_order_that_was_filled_stays_filled"),
    "show a liquidation as an open order": (_STATE, "test_an_order_of_the_exchange_is_not_an_open_order"),
    "refuse an unknown order type or status": (_EVENTS, "test_an_unknown_value_is_kept"),
    "require a commission": (_EVENTS, "test_a_fill_may_have_no_commission"),
    "hold order ids as floats": (_EVENTS, "test_no_field_is_a_float"),
    "drop held events if the new connection ends first": (
        _SUPERVISOR,
        "test_held_events_are_passed_on_if_the_new_connection_breaks",
    ),
    "let the reader end on garbage": (_SUPERVISOR, "test_garbage_is_a_gap_of_one_event_and_the_connection_stays"),
    "reconnect many accounts without pacing": (
        _SUPERVISOR,
        "test_streams_of_a_session_reconnect_one_after_the_other",
    ),
    "ask a server that closes at once again and again": (
        _SUPERVISOR,
        "test_a_server_that_closes_at_once_is_not_asked_again_at_once",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_has_its_test(mistake: str) -> None:
    """Every test that a mistake names exists."""
    file, test = MISTAKES[mistake]

    assert re.search(rf"^ *(async )?def {test}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE)
