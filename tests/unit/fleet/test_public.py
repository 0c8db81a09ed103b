"""The public names of the fleet."""

from __future__ import annotations

import inspect
import re
from typing import get_args

import pytest

import binance_pm
from binance_pm import fleet
from tests.support.paths import DOCS

REFERENCE = DOCS / "pages" / "reference" / "fleet.md"


def test_all_is_sorted_and_in_the_reference() -> None:
    """Each name once."""
    listed = re.findall(r"^::: binance_pm\.fleet\.(\w+)$", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)

    assert fleet.__all__ == sorted(set(fleet.__all__), key=lambda name: (name[0].islower(), name))
    assert sorted(listed) == sorted(fleet.__all__)


@pytest.mark.parametrize("name", fleet.__all__)
def test_one_name_means_one_thing(name: str) -> None:
    """No name has another meaning at the top level, and each object that can has a docstring."""
    value = getattr(fleet, name)

    assert not hasattr(binance_pm, name)
    assert not inspect.isclass(value) or inspect.getdoc(value)


def test_every_event_is_tagged_by_its_class() -> None:
    """No event can be changed."""
    kinds = get_args(fleet.FleetEvent)

    assert {kind.__struct_config__.tag for kind in kinds} == {kind.__name__ for kind in kinds}
    assert all(kind.__struct_config__.frozen and kind.__struct_config__.tag_field == "type" for kind in kinds)
