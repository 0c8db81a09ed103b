"""The rule by which events and responses are merged."""

from __future__ import annotations

from decimal import Decimal

import pytest

from binance_pm.stream.merge import LAG, TOMBSTONE, Entities, ReadTimes, Version

NOW = 1000.0
TIME = 1_800_000_000_000
"""The exchange's clock at `NOW`, in milliseconds."""


def sent(at: float, *, again: bool = False) -> ReadTimes:
    """Return the times of a request."""
    return ReadTimes(at, TIME + round((at - NOW) * 1000), TIME - 60_000, again)


def at(seconds: float, quantity: int = 0) -> Version:
    """Return the version of a change so many seconds after `NOW`."""
    return Version(TIME + round(seconds * 1000), Decimal(quantity))


@pytest.fixture
def entities() -> Entities[str, int]:
    """Entities that can come back."""
    return Entities()


class TestVersions:
    """The higher version wins."""

    def test_an_old_response_does_not_undo_an_event(self, entities: Entities[str, int]) -> None:
        """REST may lag behind the stream."""
        entities.merge_event("a", 2, at(0), NOW)

        assert not entities.merge_row("a", 1, at(-1), sent(NOW + 1), NOW + 1)
        assert entities.get("a") == 2

    def test_an_old_event_does_not_undo_a_response(self, entities: Entities[str, int]) -> None:
        """Events may be late."""
        entities.merge_row("a", 2, at(0), sent(NOW), NOW)

        entities.merge_event("a", 1, at(-1), NOW + 1)

        assert entities.get("a") == 2

    def test_events_of_one_moment_are_all_applied(self, entities: Entities[str, int]) -> None:
        """Two events of the same time follow each other."""
        entities.merge_event("a", 1, at(0), NOW)
        entities.merge_event("a", 2, at(0), NOW)

        assert entities.get("a") == 2

    def test_the_executed_quantity_decides_between_equal_times(self, entities: Entities[str, int]) -> None:
        """Two fills may happen in one millisecond."""
        entities.merge_event("a", 1, at(0, quantity=1), NOW)

        assert entities.merge_row("a", 2, at(0, quantity=2), sent(NOW + 1), NOW + 1)

    def test_the_event_wins_a_tie(self, entities: Entities[str, int]) -> None:
        """A response of the same version may come from a copy that is behind."""
        entities.merge_event("a", 2, at(0), NOW)

        assert not entities.merge_row("a", 1, at(0), sent(NOW + 0.5), NOW + 0.5)

    def test_a_second_read_corrects_a_tie(self, entities: Entities[str, int]) -> None:
        """An event of the same millisecond may have been lost in a gap."""
        entities.merge_event("a", 1, at(0), NOW)

        later = NOW + LAG + 1
        assert not entities.merge_row("a", 2, at(0), sent(NOW + 5, again=True), NOW + 5)
        assert entities.merge_row("a", 2, at(0), sent(later, again=True), later)


class TestRowsWithoutTime:
    """A response that does not say how new it is."""

    def test_a_time_in_the_future_counts_as_none(self, entities: Entities[str, int]) -> None:
        """Nothing that follows could replace it."""
        entities.merge_row("a", 1, at(1e9), sent(NOW), NOW)

        assert entities.merge_event("a", 2, at(1), NOW + 1)
        assert entities.get("a") == 2

    def test_is_merged_if_no_event_has_touched_the_entity(self, entities: Entities[str, int]) -> None:
        """The state from before a gap gives way."""
        entities.merge_event("a", 1, at(-5), NOW - 5)

        assert entities.merge_row("a", 2, Version(0), sent(NOW), NOW + 0.1)

    @pytest.mark.parametrize("touched", [NOW - 0.5, NOW + 0.05])
    def test_does_not_undo_an_event_around_the_request(self, entities: Entities[str, int], touched: float) -> None:
        """The response may be from before the event."""
        entities.merge_event("a", 1, at(0), touched)

        assert not entities.merge_row("a", 2, Version(0), sent(NOW), NOW + 0.1)

    def test_of_a_second_read_may_be_stale_for_longer(self, entities: Entities[str, int]) -> None:
        """What has changed before the first read is known by then."""
        entities.merge_event("a", 1, at(-5), NOW - 5)

        assert not entities.merge_row("a", 2, Version(0), sent(NOW, again=True), NOW + 0.1)


class TestEnds:
    """An entity that has ended leaves a tombstone."""

    def test_an_old_response_does_not_bring_a_position_back(self, entities: Entities[str, int]) -> None:
        """The row is from before the end."""
        entities.merge_event("a", 0, at(0), NOW, has_ended=True)

        assert not entities.merge_row("a", 1, at(-1), sent(NOW + 1), NOW + 1)
        assert entities.live() == {}

    def test_a_newer_response_opens_a_position_again(self, entities: Entities[str, int]) -> None:
        """Positions of one symbol come and go."""
        entities.merge_event("a", 0, at(0), NOW, has_ended=True)

        assert entities.merge_row("a", 1, at(1), sent(NOW + 2), NOW + 2)

    def test_an_order_that_has_ended_never_comes_back(self) -> None:
        """A stale NEW may arrive after FILLED."""
        orders = Entities[str, str](ends_once=True)
        orders.merge_event("a", "FILLED", at(0), NOW, has_ended=True)

        orders.merge_event("a", "NEW", at(0), NOW)
        orders.merge_row("a", "NEW", at(1), sent(NOW + 1), NOW + 1)

        assert orders.get("a") is None

    def test_a_tombstone_is_forgotten_in_the_end(self, entities: Entities[str, int]) -> None:
        """No response is that old."""
        entities.merge_event("a", 0, at(0), NOW, has_ended=True)

        entities.forget_old(NOW + TOMBSTONE - 1)
        assert entities.version("a") is not None
        entities.forget_old(NOW + TOMBSTONE + 1)
        assert entities.version("a") is None


class TestAbsence:
    """An entity that a list does not name."""

    def test_has_ended_if_it_is_older_than_the_request(self, entities: Entities[str, int]) -> None:
        """It ended in a gap."""
        entities.merge_event("a", 1, at(-20), NOW - 20)

        assert entities.missing([], sent(NOW), lambda _: True) == ["a"]

    def test_is_kept_if_it_is_newer_than_the_request(self, entities: Entities[str, int]) -> None:
        """An empty list does not mean that there is nothing."""
        entities.merge_event("a", 1, at(0.1), NOW + 0.1)

        assert entities.missing([], sent(NOW), lambda _: True) == []

    def test_a_row_of_the_same_version_brings_it_back(self, entities: Entities[str, int]) -> None:
        """The list was stale: it did not have the entity yet."""
        entities.merge_event("a", 1, at(-2), NOW - 2)
        entities.end("a", 0, NOW)
        assert entities.get("a") is None

        assert entities.merge_row("a", 1, at(-2), sent(NOW + LAG, again=True), NOW + LAG)
        assert entities.get("a") == 1

    def test_another_list_says_nothing_of_it(self, entities: Entities[str, int]) -> None:
        """A list of one market does not name the entities of another."""
        entities.merge_event("a", 1, at(-20), NOW - 20)

        assert entities.missing([], sent(NOW), lambda key: key != "a") == []


class TestGaps:
    """The first read after a gap contradicts an event that arrived just before the gap ended."""

    READ = ReadTimes(NOW, TIME, TIME - 10)

    def test_a_row_without_time_is_undecided(self, entities: Entities[str, int]) -> None:
        """The gap may hide a change, or the response may be stale."""
        entities.merge_event("a", 1, at(-0.5), NOW - 0.5)

        assert not entities.merge_row("a", 2, Version(0), self.READ, NOW + 0.1)
        assert entities.undecided == 1

    @pytest.mark.parametrize(("value", "touched"), [(1, -0.5), (2, 0.05)])
    def test_an_equal_row_or_a_later_event_decides(
        self, entities: Entities[str, int], value: int, touched: float
    ) -> None:
        """Nothing is hidden: an event after the gap has the whole entity."""
        entities.merge_event("a", 1, at(touched), NOW + touched)

        assert not entities.merge_row("a", value, Version(0), self.READ, NOW + 0.1)
        assert entities.undecided == 0

    def test_an_absence_is_undecided(self, entities: Entities[str, int]) -> None:
        """The position may have been closed in the gap."""
        entities.merge_event("a", 1, at(-0.5), NOW - 0.5)

        assert entities.missing([], self.READ, lambda _: True) == []
        assert entities.undecided == 1

    def test_a_missing_order_is_asked_about(self) -> None:
        """A query decides whether the order has ended."""
        orders = Entities[str, str](ends_once=True)
        orders.merge_event("a", "NEW", at(-0.5), NOW - 0.5)

        assert orders.missing([], self.READ, lambda _: True) == ["a"]
