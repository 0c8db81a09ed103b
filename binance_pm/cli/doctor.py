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

from binance_pm.cli.output import Output, printable
from binance_pm.doctor import Check, Target, Verdict, examine, target_from_environment, targets_from_file
from binance_pm.environment import environment_urls
from binance_pm.fleet.accounts import read_accounts
from binance_pm.sandbox import Fault
from binance_pm.signing import Secret
from binance_pm.testing import sandbox

_INDENT: Final = 26
"""Width of verdict and name, beside which findings are wrapped."""
_ARROW: Final = "-> "
_OF_HOST: Final = {"clock", "egress", "tls"}
"""Checks whose finding names the host."""
_STYLES: Final[Mapping[Verdict, str]] = {
    "ok": "green",
    "warning": "yellow",
    "failed": "bold red",
    "not checked": "dim",
}


def _refuse(code: int, message: str, *paths: str, status: int = 400) -> tuple[Fault, ...]:
    return tuple(Fault(path=path, status=status, code=code, msg=message, times=None) for path in paths)


_PAPI: Final = "/papi/v1/account"
_SAPI: Final = ("/sapi/v2/portfolio/account", "/sapi/v1/portfolio/account")
_REFUSED_KEY: Final = "Invalid API-key, IP, or permissions for action."
_IN_DANGER: Final = (
    b'{"uniMMR":"1.30","accountEquity":"1300","actualEquity":"1300","accountInitialMargin":"1500",'
    b'"accountMaintMargin":"1000","accountStatus":"MARGIN_CALL","accountType":"PM_3","virtualMaxWithdrawAmount":"0",'
    b'"totalAvailableBalance":"","totalMarginOpenLoss":"","riskUnitMMList":[],"marginMM":"0","otherMM":"0",'
    b'"updateTime":0}'
)

FAULTS: Final[Mapping[str, tuple[Fault, ...]]] = {
    "clock": (Fault(skew=300),),
    # The first call opens the connection; the second is measured.
    "slow": (Fault(path="/papi/v1/time"), Fault(path="/papi/v1/time", delay=1.2)),
    "silent": (Fault(drop=True, times=None),),
    "place": (Fault(status=451, body=b"", times=None),),
    "portal": (Fault(body=b"<html>Welcome to our hotel</html>", times=None),),
    "key": _refuse(-2014, "API-key format invalid.", _PAPI, *_SAPI, status=401),
    "permission": _refuse(-2015, _REFUSED_KEY, _PAPI, *_SAPI, status=401),
    "signature": _refuse(-1022, "Signature for this request is not valid.", _PAPI, *_SAPI),
    "timestamp": _refuse(-1021, "Timestamp for this request is outside of the recvWindow.", _PAPI, *_SAPI),
    "product": (
        *_refuse(-2015, _REFUSED_KEY, _PAPI, status=401),
        *_refuse(-21001, "Request ID is not a Portfolio Margin Account.", *_SAPI),
    ),
    "external": (Fault(path=_PAPI, headers={"x-mbx-used-weight-1m": "4000"}),),
    "danger": tuple(Fault(path=path, body=_IN_DANGER) for path in (_PAPI, *_SAPI)),
    "limit": (Fault(status=429, code=-1003, msg="Too many requests.", headers={"Retry-After": "30"}, times=None),),
    "ban": (Fault(status=418, code=-1003, msg="Way too many requests.", headers={"Retry-After": "120"}, times=None),),
}
"""Faults that can be injected into the local exchange, by name."""


def run(
    *, accounts: Path | None, local: bool, fault: Sequence[str], base_url: str | None, trust_env: bool, json: bool
) -> int:
    """Print each check, and return 0 if none failed.

    Raises:
        CycloptsError: options contradict each other, or a fault does not exist.
        ConfigurationError: the accounts file cannot be read, or the address is invalid.
    """
    if local and (accounts is not None or base_url is not None):
        raise CycloptsError(msg="--sandbox excludes --accounts and --base-url.")
    if fault and not local:
        raise CycloptsError(msg="--fault has no effect without --sandbox.")
    # The budget's warnings are reported by one of the checks.
    logging.getLogger("binance_pm").addHandler(logging.NullHandler())
    printer = _Printer(json=json)
    if local:
        anyio.run(_examine_sandbox, [struck for name in fault for struck in _faults(name)], trust_env, printer)
        return printer.code
    if base_url is not None:
        urls = {"papi_url": base_url, "sapi_url": base_url}
    else:
        urls = environment_urls(os.environ) | ({} if accounts is None else read_accounts(accounts).urls)
    anyio.run(_examine, accounts, {"trust_env": trust_env, **urls}, printer)
    return printer.code


def _faults(name: str) -> tuple[Fault, ...]:
    if name.startswith("{"):
        try:
            return (msgspec.json.decode(name, type=Fault),)
        except ValueError as error:
            raise CycloptsError(msg=f"--fault: {error}") from None
    if name not in FAULTS:
        raise CycloptsError(msg=f"Unknown fault {name!r}: use {', '.join(FAULTS)}, or a Fault as JSON.")
    return FAULTS[name]


async def _examine_sandbox(faults: Sequence[Fault], trust_env: bool, printer: _Printer) -> None:  # noqa: FBT001
    # Started inside the event loop: there, Ctrl-C cancels a task and does not interrupt the start of the thread.
    async with sandbox(accounts=1) as pm:
        try:
            pm.inject(*faults)
        except ValueError as error:
            raise CycloptsError(msg=f"--fault: {error}") from None
        api_key, secret = Secret(pm.accounts[0].api_key), Secret(pm.accounts[0].api_secret)
        target = Target(origin="the local exchange", api_key=api_key, secret=secret)
        options: dict[str, Any] = {"papi_url": pm.base_url, "sapi_url": pm.base_url, "trust_env": trust_env}
        await examine([target], printer.tell, budget=pm.budget, **options)


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
