"""``binance-pm plan``: whether reading many accounts repeatedly fits the limits, and at which intervals."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import CycloptsError, Parameter
from rich.table import Table
from rich.text import Text

from binance_pm.budget import Budget, Plan, PoolPlan
from binance_pm.cli.options import CEILING_HELP, FLOOR_HELP, default, flag, shard_of
from binance_pm.cli.output import Output
from binance_pm.endpoint import ENDPOINTS
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.fleet import Fleet, ProductName, schedule
from binance_pm.fleet.account_stream import stream_product, streams_are_installed
from binance_pm.fleet.accounts import part_of, read_accounts, refusal
from binance_pm.fleet.forecast import Forecast, forecast
from binance_pm.fleet.products import PRODUCTS
from binance_pm.stream.shared import StreamProduct

_MOST_ACCOUNTS: Final = 1_000_000
_SHORTEST: Final = 0.001
_LONGEST: Final = 86_400
_DIGITS: Final = 3
_WIDTH: Final = 80
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """The options of the command."""

    accounts: Annotated[str, Parameter(help="Number of accounts, or path of an accounts file.")]
    every: Annotated[
        str | None, Parameter(help="Read each account at this interval: 5 or 5s (seconds), 500ms, 2m.")
    ] = None
    product: Annotated[ProductName | None, default("Plan for the default endpoints of this product.", "pm")] = None
    floor: Annotated[float | None, default(FLOOR_HELP, schedule.FLOOR)] = None
    ceiling: Annotated[float | None, default(CEILING_HELP, schedule.CEILING)] = None
    shard: Annotated[str | None, Parameter(help="Plan for one shard of the file: i/n, such as 2/3.")] = None
    streams: Annotated[bool, flag("Plan as if each account had a user data stream.")] = False
    json: Annotated[bool, flag("Print one JSON object.")] = False


def run(*endpoint: str, options: PlanOptions) -> int:
    """Calculate whether reading accounts fits the limits, and how often; needs no key and no network.

    Without --every, the plan has the intervals of `binance-pm watch`, which reads accounts in danger more often. The
    exit code is 1 if the plan does not fit.

    Args:
        endpoint: Endpoints to read for each account, such as um_account.
    """
    shard = shard_of(options.shard)
    every = None if options.every is None else _interval(options.every)
    if every is not None and (options.floor, options.ceiling) != (None, None):
        raise CycloptsError(msg="--every excludes --floor and --ceiling.")
    if every is not None and options.streams:
        raise CycloptsError(msg="--every excludes --streams: with --every, all accounts are read at one interval.")
    reads, streams = _reads(endpoint, options, shard)
    if every is not None:
        groups = [(count, [ENDPOINTS[name] for name in read]) for read, count in Counter(reads).items()]
        return _print_fixed(Budget().plan_groups(groups, every), json=options.json)
    floor = schedule.FLOOR if options.floor is None else options.floor
    ceiling = schedule.CEILING if options.ceiling is None else options.ceiling
    # The constructor raises if floor or ceiling is invalid.
    Fleet([], floor=floor, ceiling=ceiling)
    return _print_adaptive(forecast(Budget(), reads, floor=floor, ceiling=ceiling, streams=streams), json=options.json)


def _reads(
    endpoints: tuple[str, ...], options: PlanOptions, shard: tuple[int, int] | None
) -> tuple[list[tuple[str, ...]], list[StreamProduct | None]]:
    """Return, for each account, the endpoints to read and the product of its stream; None without a stream."""
    accounts = options.accounts
    if not accounts.removeprefix("-").isdecimal():
        if endpoints or options.product:
            raise CycloptsError(msg="The accounts file names the endpoints: leave out endpoints and --product.")
        return _reads_of_file(Path(accounts), shard, streams=options.streams)
    if shard is not None:
        raise CycloptsError(msg="--shard needs an accounts file: give its path to --accounts.")
    if not 1 <= int(accounts) <= _MOST_ACCOUNTS:
        bound = ">= 1" if int(accounts) < 1 else f"<= {_MOST_ACCOUNTS}"
        raise CycloptsError(msg=f'Invalid value "{accounts}" for --accounts. Must be {bound}.')
    if unknown := [name for name in endpoints if name not in ENDPOINTS]:
        raise CycloptsError(msg=f"Unknown endpoint {unknown[0]!r}: binance-pm call --help lists all endpoints.")
    if endpoints and options.product:
        raise CycloptsError(msg="--product excludes endpoints.")
    count, product = int(accounts), options.product or "pm"
    stream = stream_product(product) if options.streams else None
    return [endpoints or PRODUCTS[product].read] * count, [stream] * count


def _reads_of_file(
    path: Path, shard: tuple[int, int] | None, *, streams: bool
) -> tuple[list[tuple[str, ...]], list[StreamProduct | None]]:
    file = read_accounts(path)
    if shard is not None:
        file = part_of(file, *shard)
    if file.problems:
        raise refusal(file.path, file.problems)
    if not file.entries:
        raise ConfigurationError(CallInfo("plan"), f"this shard contains no account of {path}")
    is_installed = streams_are_installed()
    return [entry.read for entry in file.entries], [
        stream_product(entry.product) if streams or (entry.stream and is_installed) else None for entry in file.entries
    ]


def _interval(text: str) -> float:
    """Return the seconds that a text such as 5, 5s, 500ms or 2m stands for."""
    unit = next((unit for unit in _SECONDS if text.endswith(unit)), "")
    try:
        seconds = float(text.removesuffix(unit)) * _SECONDS.get(unit, 1.0)
    except ValueError:
        raise CycloptsError(msg=f'Invalid value "{text}" for --every. Use a form such as 5, 5s, 500ms or 2m.') from None
    if not _SHORTEST <= seconds <= _LONGEST:
        bound = f">= {_SHORTEST:g}" if seconds < _SHORTEST else f"<= {_LONGEST}"
        raise CycloptsError(msg=f'Invalid value "{text}" for --every. Must be {bound}.')
    return seconds


def _print_fixed(plan: Plan, *, json: bool) -> int:
    if json:
        whole = {"fits": plan.fits, "accounts": plan.accounts, "every": plan.every, "shortest": plan.shortest}
        _print_json(whole, plan.pools)
    else:
        Output().print(_pools(plan.pools, room=1.0))
        print(f"\n{textwrap.fill(_verdict(plan), _WIDTH)}")
    return 0 if plan.fits else 1


def _print_adaptive(made: Forecast, *, json: bool) -> int:
    if json:
        whole = msgspec.to_builtins(made) | {"fits": made.fits, "saved": made.saved}
        del whole["unstreamed"]
        _print_json(whole, made.pools, made.saved_by_pool)
    else:
        Output().print(_intervals(made))
        print()
        has_streams = any(group.stream for group in made.groups)
        saved = made.saved_by_pool if has_streams else None
        Output().print(_pools(made.pools, room=schedule.PLANNED, saved=saved))
        print(f"\n{textwrap.fill(_adaptive_verdict(made), _WIDTH)}")
        if has_streams:
            count = sum(group.accounts for group in made.groups if group.stream)
            whose = f"{count} account{'s' * (count != 1)}"
            text = f"User data streams of {whose} save {made.saved:,.0f} per minute if all are calm."
            if made.saved <= 0:
                text = f"User data streams of {whose} need {-made.saved:,.0f} per minute and replace no readings."
            print(textwrap.fill(text, _WIDTH))
    return 0 if made.fits else 1


def _print_json(whole: dict[str, Any], pools: Iterable[PoolPlan], saved: Mapping[str, float] | None = None) -> None:
    listed = [
        {
            "pool": pool.name,
            "limit": pool.limit,
            "needed": pool.needed,
            "available": pool.available,
            "share": pool.needed / pool.available,
            **({} if saved is None else {"saved": saved[pool.name]}),
        }
        for pool in pools
    ]
    print(msgspec.json.encode(whole | {"pools": listed}).decode())


def _pools(pools: Iterable[PoolPlan], *, room: float, saved: Mapping[str, float] | None = None) -> Table:
    """Return a row for each pool, highlighted if it needs more than a fraction ``room`` of what polls may use."""
    columns = ("limit", "available", "needed", "share")
    table = _table("weight per minute", *columns, *(["saved"] if saved is not None else []))
    for pool in pools:
        share = pool.needed / pool.available
        figures = (pool.limit, math.floor(pool.available), math.ceil(pool.needed))
        style = "bold red" if share > room else ""
        cells = [*(f"{figure:,}" for figure in figures), Text(f"{share:.1%}", style=style)]
        if saved is not None:
            cells.append(f"{math.floor(saved.get(pool.name, 0.0)):,}")
        table.add_row(pool.name, *cells)
    return table


def _intervals(made: Forecast) -> Table:
    columns = ("accounts", "calm", f"{made.few} in danger", "others", "all in danger")
    table = _table("seconds between readings", *columns)
    for group in made.groups:
        intervals = (group.calm, group.near, group.others, group.all_near)
        shown = ("-" if seconds is None else f"{seconds:.3g}" for seconds in intervals)
        name = ", ".join([*group.read, *(["stream"] if group.stream else [])])
        table.add_row(name, str(group.accounts), *shown)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _verdict(plan: Plan) -> str:
    if plan.fits:
        return f"The plan fits; the shortest interval is {_ceiled(plan.shortest):g} s."
    pool = _fullest(plan.pools)
    need, room = f"{math.ceil(pool.needed):,}", f"{math.floor(pool.available):,} of {pool.limit:,}"
    what = f"The plan does not fit: {need} per minute are needed, but polls may use {room}."
    return f"{what} Use --every {_ceiled(plan.shortest):g}s, or leave --every out."


def _adaptive_verdict(made: Forecast) -> str:
    calm = [group.calm for group in made.groups]
    if made.fits:
        if all(group.stream and not group.read for group in made.groups):
            return "The plan fits: all figures come from user data streams."
        if all(group.stream for group in made.groups):
            return f"The plan fits: if all accounts are calm, each is read every {max(calm):g} s."
        which = "each without a stream" if any(group.stream for group in made.groups) else "each"
        return f"The plan fits: if all accounts are calm, {which} is read every {made.ceiling:g} s."
    pool = _fullest(made.pools)
    planned = f"{math.floor(pool.available * schedule.PLANNED):,} of {pool.limit:,}"
    need = f"{math.ceil(pool.needed):,} per minute are needed, but a watch plans with {planned}"
    return f"The plan does not fit: {need}. Even if all accounts are calm, some are read every {max(calm):.3g} s."


def _fullest(pools: Iterable[PoolPlan]) -> PoolPlan:
    return max(pools, key=lambda pool: pool.needed / pool.available)


def _ceiled(seconds: float) -> float:
    """Round up to a few digits, so that the interval shown fits the limits."""
    places = _DIGITS - 1 - math.floor(math.log10(seconds))
    return math.ceil(seconds * 10**places) / 10**places
