"""``binance-pm export``: trades, orders, income or loans as a file."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import anyio
from cyclopts import CycloptsError, Parameter
from cyclopts.validators import Number

from binance_pm.cli.options import flag
from binance_pm.cli.progress import shown_progress
from binance_pm.client import Client
from binance_pm.history import ExportedFile, HistoryPlan, Pages, export, paginate
from binance_pm.session import Session

ExportKind = Literal["trades", "orders", "income", "loans"]
ExportProduct = Literal["um", "cm", "margin"]


class _List:
    """A list that can be exported."""

    def __init__(self, method: Callable[[Client], Callable[..., Any]], option: str, *, is_required: bool) -> None:
        self.method: Final = method
        self.option: Final = option
        """The option that selects rows, which is also the parameter of the method."""
        self.is_required: Final = is_required


_LISTS: Final[dict[tuple[ExportKind, ExportProduct], _List]] = {
    ("trades", "um"): _List(lambda client: client.um.trades, "symbol", is_required=True),
    ("trades", "cm"): _List(lambda client: client.cm.trades, "symbol", is_required=True),
    ("trades", "margin"): _List(lambda client: client.margin.trades, "symbol", is_required=True),
    ("orders", "um"): _List(lambda client: client.um.all_orders, "symbol", is_required=True),
    ("orders", "cm"): _List(lambda client: client.cm.all_orders, "symbol", is_required=True),
    ("orders", "margin"): _List(lambda client: client.margin.all_orders, "symbol", is_required=True),
    ("income", "um"): _List(lambda client: client.um.income, "symbol", is_required=False),
    ("income", "cm"): _List(lambda client: client.cm.income, "symbol", is_required=False),
    ("loans", "margin"): _List(lambda client: client.margin.loan_history, "asset", is_required=True),
}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of the command."""

    out: Annotated[Path, Parameter(help="File to create; the suffix is .csv, .jsonl or .parquet.")]
    product: Annotated[ExportProduct | None, Parameter(help="Product (default: um, and margin for loans).")] = None
    symbol: Annotated[str | None, Parameter(help="Symbol, such as BTCUSDT; income can be read without one.")] = None
    asset: Annotated[str | None, Parameter(help="Asset of the loans, such as USDT.")] = None
    since: Annotated[
        str | None, Parameter(help="First moment, in UTC: 2026-01-01 or 2026-01-01T12:00 (default: the oldest row).")
    ] = None
    until: Annotated[
        str | None, Parameter(help="The moment before which to end, as for --since (default: 30 seconds ago).")
    ] = None
    rows: Annotated[
        int | None, Parameter(help="How many rows to plan for; nothing else depends on it.", validator=Number(gte=0))
    ] = None
    plan: Annotated[bool, flag("Only print the plan.")] = False
    overwrite: Annotated[bool, flag("Replace an existing file when the new one is complete.")] = False
    sandbox: Annotated[bool, flag("Read from a local exchange; needs no key.")] = False
    base_url: Annotated[str | None, Parameter(help="Read from this URL, such as that of `binance-pm sandbox`.")] = None
    engine: Annotated[
        Literal["auto", "httpx", "direct"] | None, Parameter(help="HTTP engine (default: BINANCE_PM_ENGINE, or auto).")
    ] = None


def run(kind: ExportKind, /, *, options: ExportOptions) -> int:
    """Write all trades, orders, income or loans of an account into a file.

    The plan is printed first: how many calls there are, their weight, how long they take, and what the exchange no
    longer keeps. If the command is interrupted, the same command continues: no row is lost or repeated. Keys come from
    the environment, as for `binance-pm call`.

    Args:
        kind: What to read: trades, orders, income or loans.
    """
    if options.sandbox and options.base_url is not None:
        raise CycloptsError(msg="--sandbox and --base-url exclude each other.")
    arguments = _arguments(kind, options)
    return anyio.run(_run, kind, options, arguments)


def _arguments(kind: ExportKind, options: ExportOptions) -> dict[str, Any]:
    """Return the arguments of the method that reads the list."""
    selected = _list_of(kind, options)
    given = {"symbol": options.symbol, "asset": options.asset}
    [unused] = given.keys() - {selected.option}
    if given[unused] is not None:
        raise CycloptsError(msg=f"{kind} are not selected by --{unused}.")
    value = given[selected.option]
    if value is None and selected.is_required:
        raise CycloptsError(msg=f"{kind} need --{selected.option}.")
    arguments: dict[str, Any] = {} if value is None else {selected.option: value}
    if options.since is not None:
        arguments["start_time"] = _time("--since", options.since)
    if options.until is not None:
        arguments["end_time"] = _time("--until", options.until) - 1
    return arguments


def _list_of(kind: ExportKind, options: ExportOptions) -> _List:
    product = options.product or ("margin" if kind == "loans" else "um")
    selected = _LISTS.get((kind, product))
    if selected is None:
        known = ", ".join(place for what, place in _LISTS if what == kind)
        raise CycloptsError(msg=f"--product {product} has no {kind}: choose {known}.")
    return selected


def _time(option: str, text: str) -> int:
    """Return milliseconds since the epoch; a time without an offset is in UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CycloptsError(msg=f'Invalid value "{text}" for {option}. Use a date or time of ISO 8601.') from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


async def _run(kind: ExportKind, options: ExportOptions, arguments: dict[str, Any]) -> int:
    async with _client(options) as client:
        pages: Pages[Any] = paginate(_list_of(kind, options).method(client), **arguments)
        plan = await pages.plan(rows=options.rows)
        if options.plan:
            print(describe(plan))
            return 0
        print(describe(plan), file=sys.stderr)
        file = await _export(pages, options)
    print(f"{file.rows:,} rows in {file.path} ({file.size:,} bytes)")
    return 0


async def _export(pages: Pages[Any], options: ExportOptions) -> ExportedFile:
    """Write the file; if that ends early, say how to continue."""
    with shown_progress("rows") as progress:
        try:
            return await export(
                pages,
                options.out,
                overwrite=options.overwrite,
                on_progress=lambda now: progress.show(now.rows, now.fraction),
            )
        except anyio.get_cancelled_exc_class():
            progress.stop()
            kept = options.out.with_name(f"{options.out.name}.partial")
            if await anyio.Path(kept).exists():
                print(f"Interrupted. What was received is in {kept}: the same command continues.", file=sys.stderr)
            raise


def describe(plan: HistoryPlan) -> str:
    """Return the plan in a few lines."""
    since = "the oldest row" if plan.start is None else _utc(plan.start)
    calls, seconds = f"{plan.calls_at_least:,} or more", f"{_duration(plan.seconds_at_least)} or more"
    if plan.calls_at_most is not None and plan.seconds_at_most is not None:
        calls, seconds = (
            f"{plan.calls_at_least:,} to {plan.calls_at_most:,}",
            f"at most {_duration(plan.seconds_at_most)}",
        )
    lines = [
        f"{plan.endpoint}: from {since} to {_utc(plan.end)}",
        f"calls: {calls}, with a weight of {plan.weight} each",
        f"time:  {seconds}, at {plan.calls_per_minute:,.0f} calls per minute",
    ]
    if plan.kept_since is not None:
        lines.append(f"kept:  rows since {_utc(plan.kept_since)}")
    if plan.unfilled_kept_since is not None:
        lines.append(f"       orders that ended without a fill since {_utc(plan.unfilled_kept_since)}")
    if plan.missing_before is not None:
        lines.append(f"warning: what is older than {_utc(plan.missing_before)} will be missing")
    return "\n".join(lines)


def _utc(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@asynccontextmanager
async def _client(options: ExportOptions) -> AsyncGenerator[Client]:
    if options.sandbox:
        from binance_pm.testing import sandbox  # noqa: PLC0415 - loading the local exchange takes long

        async with sandbox(accounts=1) as pm, pm.client(session=pm.session(engine=options.engine)) as client:
            yield client
        return
    given: dict[str, Any] = {"session": Session(engine=options.engine)}
    if options.base_url is not None:
        given |= {"papi_url": options.base_url, "sapi_url": options.base_url}
    async with Client.from_env(**given) as client:
        yield client
