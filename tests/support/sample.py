"""The samples of the exchange's responses.

A sample holds the arguments of a call, the query that they become, the response, its source, the date on which the
source was read, and notes. A variant is another call of the endpoint, or another response that is documented or was
seen.
"""

from __future__ import annotations

import json
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


def accepted_call(name: str) -> dict[str, Any]:
    """Return the arguments of the sample that do not depend on how fast the machine is."""
    return {argument: value for argument, value in sample_of(name)["call"].items() if argument != "recv_window"}
