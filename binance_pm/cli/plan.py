"""``binance-pm plan``: whether reading many accounts again and again fits the limits."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from cyclopts import CycloptsError
from rich.table import Table
from rich.text import Text

from binance_pm.budget import Budget, Plan
from binance_pm.cli.console import Output
from binance_pm.endpoint import ENDPOINTS

_DIGITS = 3


def run(names: tuple[str, ...], *, accounts: int, every: float, json: bool) -> int:
    """Tell what becomes of the plan: 0 if it fits.

    Raises:
        CycloptsError: there is no endpoint of one of the names.
    """
    if unknown := [name for name in names if name not in ENDPOINTS]:
        raise CycloptsError(msg=f"There is no endpoint {unknown[0]!r}: binance-pm call --help lists them.")
    plan = Budget().plan(accounts, every, [ENDPOINTS[name] for name in names])
    if json:
        print(msgspec.json.encode(_as_json(plan)).decode())
    else:
        Output().print(_table(plan))
        print(f"\n{_verdict(plan)}")
    return 0 if plan.fits else 1


def _table(plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("weight a minute", no_wrap=True)
    for name in ("needed", "available", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for pool in plan.pools:
        share = pool.needed / pool.available
        table.add_row(
            pool.name,
            f"{math.ceil(pool.needed):,}",
            f"{math.floor(pool.available):,}",
            Text(f"{share:.1%}", style="bold red" if share > 1 else ""),
        )
    return table


def _verdict(plan: Plan) -> str:
    shortest = f"the shortest interval is {_ceiled(plan.shortest):g} s"
    if plan.fits:
        return f"It fits; {shortest}."
    return f"It does not fit: every {plan.every:g} s is too often, {shortest}."


def _as_json(plan: Plan) -> dict[str, Any]:
    pools = [
        {
            "pool": pool.name,
            "needed": pool.needed,
            "available": pool.available,
            "share": pool.needed / pool.available,
        }
        for pool in plan.pools
    ]
    return {
        "fits": plan.fits,
        "accounts": plan.accounts,
        "every": plan.every,
        "shortest": plan.shortest,
        "pools": pools,
    }


def _ceiled(seconds: float) -> float:
    """Rounded up to a few digits, so that the interval that is shown fits."""
    places = _DIGITS - 1 - math.floor(math.log10(seconds))
    return math.ceil(seconds * 10**places) / 10**places
