"""Client ids: unique, sortable, and accepted by every family of orders."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from binance_pm.client_ids import RESERVED_IDS, ClientIds

FORKED = """
import os, sys
from binance_pm.client_ids import ClientIds
ids = ClientIds(clock=lambda: 1.0)
ids.new()
child = os.fork()
os.write(1, "".join(f"{ids.new()} " for _ in range(100)).encode())
if not child:
    os._exit(0)
os.waitpid(child, 0)
"""


def test_an_id_is_accepted_by_every_family() -> None:
    """With the longest prefix it has 32 letters, digits and hyphens."""
    assert re.fullmatch(r"desk-12345[a-z0-9]{22}", ClientIds("desk-12345").new())


def test_ids_sort_in_the_order_of_their_creation() -> None:
    """Within a millisecond, across milliseconds, and when the wall clock steps back."""
    times = iter([1_800_000_000.0, 1_800_000_000.0, 1_800_000_000.001, 1_700_000_000.0, 1_900_000_000.0])
    ids = ClientIds(clock=lambda: next(times))

    made = [ids.new() for _ in range(5)]

    assert made == sorted(made)


def test_numbers_are_unique_and_fit_64_bits() -> None:
    """Until the year 2109. They sort as well, also in one millisecond."""
    ids = ClientIds(clock=lambda: 4_398_046_500.0)

    made = [ids.number() for _ in range(1000)]

    assert made == sorted(set(made))
    assert made[-1] < 2**63


def test_threads_and_generators_never_share_an_id() -> None:
    """All at the same time by the clock."""
    generators = [ClientIds(clock=lambda: 1.0) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(ClientIds.new, generators * 1000))

    assert len(set(made)) == len(made)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_fork_does_not_repeat_ids() -> None:
    """Parent and child go on from the same state."""
    printed = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True, timeout=30)

    made = printed.stdout.split()
    assert len(made) == len(set(made)) == 200


@pytest.mark.parametrize("prefix", ["a" * 11, "desk 1", "ä", "a.b", *(one[:10] for one in RESERVED_IDS)])
def test_a_prefix_that_cannot_be_used_is_refused(prefix: str) -> None:
    """Too long, with other characters, or of the exchange's own orders."""
    with pytest.raises(ValueError, match="client_order_id_prefix"):
        ClientIds(prefix)
