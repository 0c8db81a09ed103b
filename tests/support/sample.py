"""The samples of the exchange's responses.

A sample holds the arguments of a call, the query that they become, the response, its source, the date on which the
source was read, and notes. A variant is another call of the endpoint, or another response that is documented or was
seen.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from tests.support.paths import SAMPLES


class Variant(TypedDict):
    """One call and the response to it."""

    call: dict[str, Any]
    query: dict[str, str]
    answer: Any
    notes: str


class Sample(Variant):
    """What a file holds."""

    source: str
    date: str
    variants: NotRequired[list[Variant]]


def sample_of(name: str) -> Sample:
    """Return the sample of an endpoint."""
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


REFUSED: Mapping[str, int] = {
    "cm.cancel_order": -2011,
    "cm.modify_order": -2013,
    "cm.new_order": -4061,
    "cm.open_order": -2013,
    "cm.order": -2013,
    "cm.order_amendments": -2013,
    "cm.set_position_mode": -4059,
    "um.cancel_order": -2011,
    "um.modify_order": -2013,
    "um.new_order": -2022,
    "um.open_order": -2013,
    "um.order": -2013,
    "um.order_amendments": -1121,
    "um.set_position_mode": -4067,
}
"""Codes with which the local exchange refuses sampled calls: its accounts have other orders and another mode."""


def accepted_call(name: str) -> dict[str, Any]:
    """Return the arguments of the sample that do not depend on how fast the machine is."""
    return {argument: value for argument, value in sample_of(name)["call"].items() if argument != "recv_window"}
