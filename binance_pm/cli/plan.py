"""``binance-pm plan``: whether reading many accounts repeatedly fits the limits, and at which intervals."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from cyclopts import CycloptsError
from rich.table import Table
from rich.text import Text

from binance_pm.budget import Budget, Plan, PoolPlan
from binance_pm.cli.console import Output
from binance_pm.endpoint import ENDPOINTS
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.fleet import Fleet, ProductName, schedule
from binance_pm.fleet.accounts import part_of, read_accounts, refusal
from binance_pm.fleet.forecast import Forecast, forecast
from binance_pm.fleet.products import PRODUCTS

_MOST_ACCOUNTS: Final = 1_000_000
_SHORTEST: Final = 0.001
_LONGEST: Final = 86_400
_DIGITS: Final = 3
_WIDTH: Final = 80
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The options of the command."""

    accounts: str
    """Number of accounts, or the path of an accounts file."""
    endpoints: tuple[str, ...] = ()
    product: ProductName | None = None
    every: str | None = None
    """The same interval for all accounts; None for intervals that depend on the danger."""
    floor: float | None = None
    ceiling: float | None = None
    shard: tuple[int, int] | None = None
    json: bool = False


def run(request: Request) -> int:
    """Print the plan, and return 0 if the plan fits the limits.

    Raises:
        CycloptsError: options contradict each other, or one is invalid.
        ConfigurationError: the accounts file cannot be used.
    """
    every = None if request.every is None else _interval(request.every)
    if every is not None and (request.floor, request.ceiling) != (None, None):
        raise CycloptsError(msg="--every is the same for all: --floor and --ceiling are for a plan without it.")
    reads = _reads(request)
    if every is not None:
        return _plan_fixed(reads, every, json=request.json)
    floor = schedule.FLOOR if request.floor is None else request.floor
    ceiling = schedule.CEILING if request.ceiling is None else request.ceiling
    # The constructor raises if floor or ceiling is invalid.
    Fleet([], floor=floor, ceiling=ceiling)
    return _plan_adaptive(forecast(Budget(), reads, floor=floor, ceiling=ceiling), json=request.json)


def _reads(request: Request) -> list[tuple[str, ...]]:
    """Return the endpoints that are read of each account."""
    is_number = request.accounts.removeprefix("-").isdecimal()
    if not is_number:
        if request.endpoints or request.product:
            raise CycloptsError(msg="An accounts file says itself what is read: leave out endpoints and --product.")
        return _reads_of_file(Path(request.accounts), request.shard)
    if request.shard is not None:
        raise CycloptsError(msg="--shard takes a part of an accounts file: give its path to --accounts.")
    count = int(request.accounts)
    if not 1 <= count <= _MOST_ACCOUNTS:
        bound = ">= 1" if count < 1 else f"<= {_MOST_ACCOUNTS}"
        raise CycloptsError(msg=f'Invalid value "{request.accounts}" for --accounts. Must be {bound}.')
    if unknown := [name for name in request.endpoints if name not in ENDPOINTS]:
        raise CycloptsError(msg=f"There is no endpoint {unknown[0]!r}: binance-pm call --help lists them.")
    if request.endpoints and request.product:
        raise CycloptsError(msg="--product stands for the endpoints that are read of it: name one or the other.")
    return [request.endpoints or PRODUCTS[request.product or "pm"].read] * count


def _reads_of_file(path: Path, shard: tuple[int, int] | None) -> list[tuple[str, ...]]:
    file = read_accounts(path)
    if shard is not None:
        file = part_of(file, *shard)
    if file.problems:
        raise refusal(file.path, file.problems)
    if not file.entries:
        raise ConfigurationError(CallInfo("plan"), f"this shard has none of the accounts of {path}")
    return [entry.read for entry in file.entries]


def _interval(text: str) -> float:
    """Return the seconds that a text such as 5, 5s, 500ms or 2m stands for."""
    unit = next((unit for unit in _SECONDS if text.endswith(unit)), "")
    try:
        seconds = float(text.removesuffix(unit)) * _SECONDS.get(unit, 1.0)
    except ValueError:
        raise CycloptsError(msg=f'Invalid value "{text}" for --every. Such as 5, 5s, 500ms or 2m.') from None
    if not _SHORTEST <= seconds <= _LONGEST:
        bound = f">= {_SHORTEST:g}" if seconds < _SHORTEST else f"<= {_LONGEST}"
        raise CycloptsError(msg=f'Invalid value "{text}" for --every. Must be {bound}.')
    return seconds


def _plan_fixed(reads: Sequence[tuple[str, ...]], every: float, *, json: bool) -> int:
    groups = [(count, [ENDPOINTS[name] for name in read]) for read, count in Counter(reads).items()]
    plan = Budget().plan_groups(groups, every)
    if json:
        _print_json(
            {
                "fits": plan.fits,
                "accounts": plan.accounts,
                "every": plan.every,
                "shortest": plan.shortest,
                "pools": _pools_as_json(plan.pools),
            }
        )
    else:
        Output().print(_pools(plan.pools, room=1.0))
        print(f"\n{textwrap.fill(_verdict(plan), _WIDTH)}")
    return 0 if plan.fits else 1


def _plan_adaptive(made: Forecast, *, json: bool) -> int:
    if json:
        whole = msgspec.to_builtins(made) | {"fits": made.fits, "pools": _pools_as_json(made.pools)}
        _print_json(whole)
    else:
        Output().print(_intervals(made))
        print()
        Output().print(_pools(made.pools, room=schedule.PLANNED))
        print(f"\n{textwrap.fill(_adaptive_verdict(made), _WIDTH)}")
    return 0 if made.fits else 1


def _pools(pools: Iterable[PoolPlan], *, room: float) -> Table:
    """Return a row for each pool, highlighted if it needs more than a fraction ``room`` of what polls may use."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("weight a minute", no_wrap=True)
    for name in ("limit", "available", "needed", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    for pool in pools:
        share = pool.needed / pool.available
        table.add_row(
            pool.name,
            f"{pool.limit:,}",
            f"{math.floor(pool.available):,}",
            f"{math.ceil(pool.needed):,}",
            Text(f"{share:.1%}", style="bold red" if share > room else ""),
        )
    return table


def _intervals(made: Forecast) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("seconds between readings")
    for name in ("accounts", "calm", f"{made.few} in danger", "others", "all in danger"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in made.groups:
        intervals = (group.calm, group.near, group.others, group.all_near)
        told = ("-" if seconds is None else f"{seconds:.3g}" for seconds in intervals)
        table.add_row(", ".join(group.read), str(group.accounts), *told)
    return table


def _verdict(plan: Plan) -> str:
    shortest = f"{_ceiled(plan.shortest):g} s"
    if plan.fits:
        return f"It fits; the shortest interval is {shortest}."
    needed, pool = _need(plan.pools)
    room = f"polls may use {math.floor(pool.available):,} of {pool.limit:,}"
    return f"It does not fit: {needed}, {room}: every {shortest} fits, or adaptive."


def _adaptive_verdict(made: Forecast) -> str:
    if made.fits:
        return f"It fits: while all are calm, each is read every {made.ceiling:g} s."
    needed, pool = _need(made.pools)
    room = f"a watch plans {math.floor(pool.available * schedule.PLANNED):,} of {pool.limit:,}"
    slowest = max(group.calm for group in made.groups)
    return f"It does not fit: {needed}, {room}: even while all are calm, some are read every {slowest:.3g} s."


def _need(pools: Iterable[PoolPlan]) -> tuple[str, PoolPlan]:
    """Return a text on what the fullest pool would have to provide, and the pool."""
    fullest = max(pools, key=lambda pool: pool.needed / pool.available)
    return f"it needs {math.ceil(fullest.needed):,} a minute", fullest


def _pools_as_json(pools: Iterable[PoolPlan]) -> list[dict[str, Any]]:
    return [
        {
            "pool": pool.name,
            "limit": pool.limit,
            "needed": pool.needed,
            "available": pool.available,
            "share": pool.needed / pool.available,
        }
        for pool in pools
    ]


def _print_json(whole: dict[str, Any]) -> None:
    print(msgspec.json.encode(whole).decode())


def _ceiled(seconds: float) -> float:
    """Round up to a few digits, so that the interval shown fits the limits."""
    places = _DIGITS - 1 - math.floor(math.log10(seconds))
    return math.ceil(seconds * 10**places) / 10**places
