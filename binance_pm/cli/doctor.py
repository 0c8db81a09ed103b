"""``binance-pm doctor``: check the setup of an account, and say what to do about each problem."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
from cyclopts import CycloptsError
from rich.text import Text

from binance_pm.cli.doctor_faults import faults_of
from binance_pm.cli.output import Output, printable
from binance_pm.doctor import (
    Check,
    StreamOptions,
    Target,
    Verdict,
    examine,
    target_from_environment,
    targets_from_file,
)
from binance_pm.doctor.stream_watch import CONNECTIONS, WATCH_SECONDS
from binance_pm.environment import environment_stream_url, environment_urls
from binance_pm.fleet.accounts import read_accounts
from binance_pm.signing import Secret
from binance_pm.testing import Fault, Sandbox, StreamFault, sandbox

_INDENT: Final = 26
"""Width of verdict and name, beside which findings are wrapped."""
_ARROW: Final = "-> "
_LOOK_SECONDS: Final = 0.05
_OF_HOST: Final = {"clock", "egress", "tls", "unknown_key"}
"""Checks whose finding names the host."""
_STYLES: Final[Mapping[Verdict, str]] = {
    "ok": "green",
    "warning": "yellow",
    "failed": "bold red",
    "not checked": "dim",
}


def run(
    *,
    accounts: Path | None,
    local: bool,
    fault: Sequence[str],
    base_url: str | None,
    trust_env: bool,
    json: bool,
    pins: Sequence[str] = (),
    stream: bool = False,
    pro: bool = False,
    seconds: float | None = None,
) -> int:
    """Print each check, and return 0 if none failed.

    Raises:
        CycloptsError: options contradict each other, or a fault does not exist.
        ConfigurationError: the accounts file cannot be read, or an address or a pin is invalid.
    """
    if local and (accounts is not None or base_url is not None):
        raise CycloptsError(msg="--sandbox excludes --accounts and --base-url.")
    if fault and not local:
        raise CycloptsError(msg="--fault has no effect without --sandbox.")
    if not stream and (pro or seconds is not None):
        raise CycloptsError(msg="--pro and --seconds have no effect without --stream.")
    # The budget's warnings are reported by one of the checks.
    logging.getLogger("binance_pm").addHandler(logging.NullHandler())
    printer = _Printer(json=json)
    options: dict[str, Any] = {"trust_env": trust_env, "pins": pins, "streams": None}
    if stream:
        url = None if local or base_url is not None else environment_stream_url(os.environ).get("stream_url")
        options["streams"] = StreamOptions(seconds=WATCH_SECONDS if seconds is None else seconds, is_pro=pro, url=url)
    if local:
        injected = [one for name in fault for one in faults_of(name, stream=stream)]
        anyio.run(_examine_sandbox, injected, options, printer)
    elif base_url is not None:
        anyio.run(_examine, accounts, {"papi_url": base_url, "sapi_url": base_url, **options}, printer)
    else:
        urls = environment_urls(os.environ) | ({} if accounts is None else read_accounts(accounts).urls)
        anyio.run(_examine, accounts, {**urls, **options}, printer)
    return printer.code


async def _examine_sandbox(
    faults: Sequence[Fault | StreamFault], options: Mapping[str, Any], printer: _Printer
) -> None:
    # Started inside the event loop: there, Ctrl-C cancels a task and does not interrupt the start of the thread.
    async with sandbox(accounts=1) as pm:
        try:
            pm.inject(*(fault for fault in faults if isinstance(fault, Fault)))
        except ValueError as error:
            raise CycloptsError(msg=f"--fault: {error}") from None
        api_key, secret = Secret(pm.accounts[0].api_key), Secret(pm.accounts[0].api_secret)
        target = Target(origin="the local exchange", api_key=api_key, secret=secret)
        urls = {"papi_url": pm.base_url, "sapi_url": pm.base_url}
        async with anyio.create_task_group() as tasks:
            if options["streams"] is not None:
                tasks.start_soon(_disturb, pm, [fault for fault in faults if isinstance(fault, StreamFault)])
            await examine([target], printer.tell, budget=pm.budget, **urls, **options)
            tasks.cancel_scope.cancel()


async def _disturb(pm: Sandbox, faults: Sequence[StreamFault]) -> None:
    """Wait until both connections of the account are open, then apply the faults and place an order."""
    while sum(bool(connection["isActive"]) for connection in pm.exchange.streams.state()) < CONNECTIONS:  # noqa: ASYNC110 - another thread opens them
        await anyio.sleep(_LOOK_SECONDS)
    pm.exchange.streams.apply(*faults)
    async with pm.client() as client:
        await client.um.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")


async def _examine(accounts: Path | None, options: Mapping[str, Any], printer: _Printer) -> None:
    subjects = [target_from_environment()] if accounts is None else await targets_from_file(accounts)
    await examine(subjects, printer.tell, **options)


class _Printer:
    """A printer of one line, or one JSON object, for each check."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._output = Output(highlight=False)
        self.code = 0

    def tell(self, check: Check) -> None:
        """Print the check immediately."""
        if check.verdict == "failed":
            self.code = 1
        if self._json:
            print(printable(msgspec.json.encode(check).decode()), flush=True)
            return
        self._output.print(_line(check, room=max(self._output.width - _INDENT, 40)), soft_wrap=True)
        sys.stdout.flush()


def _line(check: Check, *, room: int) -> Text:
    """Return verdict and name, and beside them finding and advice, wrapped."""
    label = f"{check.target}: " if check.name not in _OF_HOST and check.target else ""
    lines = textwrap.wrap(printable(label + check.finding), room)
    lines += textwrap.wrap(printable(check.advice), room, initial_indent=_ARROW, subsequent_indent=" " * len(_ARROW))
    verdict = Text(f"{check.verdict:<12}", style=_STYLES[check.verdict])
    return Text.assemble(verdict, f"{check.name:<14}", f"\n{' ' * _INDENT}".join(lines))
