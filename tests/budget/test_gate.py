"""The gate of a host."""

from __future__ import annotations

from binance_pm.budget.gate import Gate


def test_is_open_at_first() -> None:
    """Nothing is waited for before the exchange refused anything."""
    assert Gate().wait(now=0.0) == 0.0


def test_stays_closed_until_it_was_told() -> None:
    """The wait is what is left of the time."""
    gate = Gate()
    gate.close(100.0, banned=False)

    assert (gate.wait(90.0), gate.wait(100.0)) == (10.0, 0.0)


def test_is_never_opened_earlier() -> None:
    """A later, shorter refusal does not shorten the first."""
    gate = Gate()
    gate.close(100.0, banned=True)
    gate.close(50.0, banned=False)

    assert (gate.until, gate.is_banned(99.0)) == (100.0, True)


def test_forgets_the_ban_when_it_opens() -> None:
    """The refusal after a ban has ended is an ordinary one again."""
    gate = Gate()
    gate.close(100.0, banned=True)
    gate.close(200.0, banned=False)

    assert (gate.is_banned(99.0), gate.is_banned(100.0)) == (True, False)
