"""Anomalies of the exchange's count, each of which is logged once."""

from __future__ import annotations

import logging
from typing import Final

from binance_pm.budget.charges import PoolCharge
from binance_pm.limits import Pool

_log = logging.getLogger(__name__)

# So many times in a row the count has to rise by the same weight before that is believed.
_OFTEN: Final = 10


class AnomalyLog:
    """The weights and the window of each pool, as the exchange's count shows them."""

    def __init__(self) -> None:
        self._heavier: Final[dict[tuple[Pool, str], tuple[int, int]]] = {}
        """By how much calls of an endpoint raised the count, and how many times in a row."""
        self._logged: Final[set[tuple[Pool, str]]] = set()

    def compare_weight(self, charge: PoolCharge, endpoint: str, counted: int) -> None:
        """Compare the weight of a call with the rise of the count while no other of our calls was in flight."""
        pool, ledger, weight = charge
        if counted == weight:
            if self._heavier:
                self._heavier.pop((pool, endpoint), None)
            return
        if counted < weight:
            self._log_once(pool, endpoint, f"{endpoint} weighs {counted} in {pool.name}, not {weight}.")
            return
        before, times = self._heavier.get((pool, endpoint), (0, 0))
        times = times + 1 if counted == before else 1
        self._heavier[pool, endpoint] = counted, times
        if times >= _OFTEN:
            ledger.raise_weight_factor(counted / weight)
            self._log_once(
                pool,
                endpoint,
                f"The exchange's count of {pool.name} rises by {counted} with each {endpoint}, not by {weight}: "
                "the weight is wrong, or another program calls as often. Calls in flight count as that much.",
            )

    def forget(self, pool: Pool) -> None:
        """Forget a pool that was not drawn on for minutes."""
        for key in [key for key in self._heavier if key[0] == pool]:
            del self._heavier[key]

    def report_window(self, pool: Pool, misplaced: int) -> None:
        """Log that the window is not the clock minute; see `Ledger.misplaced`."""
        self._log_once(
            pool,
            "",
            f"The exchange's count of {pool.name} fell by {misplaced} in the middle of a minute, or kept it over a "
            "turn: its window is not the clock minute. Half of the limit is used for ten minutes.",
        )

    def _log_once(self, pool: Pool, about: str, what: str) -> None:
        if (pool, about) not in self._logged:
            self._logged.add((pool, about))
            _log.warning("%s", what)
