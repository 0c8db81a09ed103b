"""The view that the user has chosen, and how a key changes the view."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from binance_pm.cli.dashboard.rows import ORDERS, Order
from binance_pm.fleet import FleetState

Page = Literal["table", "account", "events", "help"]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The page, order, filter and position that the user has chosen."""

    page: Page = "table"
    order: Order = "danger"
    filter: str = ""
    is_typing: bool = False
    """Whether typed letters are added to the filter."""
    chosen: str | None = None
    """The label of the account that is selected or open."""
    scrolled: int = 0
    """Number of lines of a text page above the screen."""
    paused: FleetState | None = None
    """The state at which the accounts were frozen; None if they are live."""


def pressed(
    view: View, key: str, character: str | None, *, labels: Sequence[str], known: FleetState, page: int
) -> View:
    """Return the view after a key with Textual's name for it, and the character that the key types.

    ``labels`` are those of all rows in order, and ``page`` is the number of rows that fit on the screen.
    """
    if view.is_typing:
        return _typed(view, key, character)
    if key in _STEPS:
        return _moved(view, _STEPS[key](page), labels)
    if key == "enter" and view.page == "table" and labels:
        chosen = view.chosen if view.chosen in labels else labels[0]
        return msgspec.structs.replace(view, page="account", chosen=chosen, scrolled=0)
    if key in {"p", "space"}:
        return msgspec.structs.replace(view, paused=None if view.paused else known)
    change = _CHANGES.get(key)
    return view if change is None else change(view)


def _typed(view: View, key: str, character: str | None) -> View:
    match key:
        case "enter":
            return msgspec.structs.replace(view, is_typing=False)
        case "escape":
            return msgspec.structs.replace(view, is_typing=False, filter="")
        case "backspace":
            return msgspec.structs.replace(view, filter=view.filter[:-1])
        case _:
            letter = character if character and character.isprintable() else ""
            return msgspec.structs.replace(view, filter=view.filter + letter)


def _moved(view: View, by: int, labels: Sequence[str]) -> View:
    if view.page != "table":
        return msgspec.structs.replace(view, scrolled=max(0, view.scrolled + by))
    if not labels:
        return view
    # No row is selected at first: the first key selects the worst account, in either direction.
    place = labels.index(view.chosen) + by if view.chosen in labels else 0
    return msgspec.structs.replace(view, chosen=labels[max(0, min(place, len(labels) - 1))])


def _backed(view: View) -> View:
    if view.page != "table":
        return msgspec.structs.replace(view, page="table", scrolled=0)
    return msgspec.structs.replace(view, chosen=None) if view.chosen else msgspec.structs.replace(view, filter="")


def _turned(view: View, by: int) -> View:
    place = (ORDERS.index(view.order) + by) % len(ORDERS)
    return msgspec.structs.replace(view, order=ORDERS[place])


def _opened(view: View, page: Page) -> View:
    return msgspec.structs.replace(view, page="table" if view.page == page else page, scrolled=0)


_FAR: Final = 1_000_000
_STEPS: Final[Mapping[str, Callable[[int], int]]] = {
    "down": lambda _: 1,
    "up": lambda _: -1,
    "pagedown": lambda page: page,
    "pageup": lambda page: -page,
    "end": lambda _: _FAR,
    "home": lambda _: -_FAR,
}
_CHANGES: Final[Mapping[str, Callable[[View], View]]] = {
    "s": lambda view: _turned(view, 1),
    "S": lambda view: _turned(view, -1),
    "upper_s": lambda view: _turned(view, -1),
    "slash": lambda view: msgspec.structs.replace(view, page="table", is_typing=True),
    "e": lambda view: _opened(view, "events"),
    "question_mark": lambda view: _opened(view, "help"),
    "escape": _backed,
}
