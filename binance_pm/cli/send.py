"""What ``call`` and ``request`` share: the destination, the confirmation of a write, and the printed response."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import anyio
from cyclopts import CycloptsError, Parameter

from binance_pm.amounts import text_of
from binance_pm.cli.options import flag
from binance_pm.cli.output import Output, printable
from binance_pm.cli.response import as_json, as_table
from binance_pm.client import Client
from binance_pm.endpoint import Endpoint
from binance_pm.hosts import is_loopback
from binance_pm.session import Session


def _exclusive(_: object, options: CommandOptions | None) -> None:
    if options is not None and options.sandbox and options.base_url is not None:
        raise ValueError("--sandbox and --base-url exclude each other.")


@Parameter(name="*", validator=_exclusive)
@dataclass(frozen=True)
class CommandOptions:
    """The options of every call: destination, engine, output and confirmation."""

    sandbox: Annotated[bool, flag("Call a local exchange; needs no key.")] = False
    base_url: Annotated[str | None, Parameter(help="Call this URL, such as that of `binance-pm sandbox`.")] = None
    engine: Annotated[
        Literal["auto", "httpx", "direct"] | None, Parameter(help="HTTP engine (default: BINANCE_PM_ENGINE, or auto).")
    ] = None
    journal: Annotated[Path | None, Parameter(help="Note a write in this journal; see `binance-pm orders`.")] = None
    table: Annotated[bool, flag("Print a table instead of JSON if the response has a declared type.")] = False
    yes: Annotated[bool, flag("Send a write to the real exchange without confirmation.")] = False


DEFAULTS: Final = CommandOptions()
_SECRET: Final = re.compile("key|secret|signature|token|passphrase", re.IGNORECASE)


def send(
    endpoint: Endpoint[Any],
    parameters: Mapping[str, object],
    act: Callable[[Client], Awaitable[object]],
    options: CommandOptions,
) -> int:
    """Make a call with a client of its own, print the response, and return the exit code.

    Args:
        endpoint: the endpoint that is called.
        parameters: the parameters that a confirmation shows, by their names on the wire.
        act: makes the call.
        options: the options of the command line.
    """
    if options.sandbox:
        response = anyio.run(_simulate, act, options)
    else:
        client = _client(endpoint, options)
        needs_consent = endpoint.is_write and not options.yes and not is_loopback(client.origin(endpoint))
        if needs_consent and not _is_confirmed(client, endpoint, parameters):
            print("binance-pm: not confirmed. Nothing was sent.", file=sys.stderr)
            return 1
        response = anyio.run(_run, client, act)
    table = as_table(response, Output()) if options.table else None
    if table is None:
        print(as_json(response))
    else:
        Output().print(table)
    return 0


async def _run(client: Client, act: Callable[[Client], Awaitable[object]]) -> object:
    async with client:
        return await act(client)


async def _simulate(act: Callable[[Client], Awaitable[object]], options: CommandOptions) -> object:
    from binance_pm.testing import sandbox  # noqa: PLC0415 - loading the local exchange takes long

    async with sandbox(accounts=1) as pm:
        return await _run(pm.client(session=pm.session(engine=options.engine), journal=options.journal), act)


def _client(endpoint: Endpoint[Any], options: CommandOptions) -> Client:
    given: dict[str, Any] = {} if endpoint.sends_key else {"api_key": None, "api_secret": None}
    given |= {"session": Session(engine=options.engine), "journal": options.journal}
    if options.base_url is not None:
        given |= {"papi_url": options.base_url, "sapi_url": options.base_url}
    return Client.from_env(**given)


def _is_confirmed(client: Client, endpoint: Endpoint[Any], parameters: Mapping[str, object]) -> bool:
    """Ask on the terminal whether the write may be sent."""
    request = f"{endpoint.method} {printable(endpoint.path)}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CycloptsError(msg=f"{request} is a write: without a terminal, --yes is required. Nothing was sent.")
    shown = (f"  {name}={'...' if _SECRET.search(name) else _text(value)}" for name, value in parameters.items())
    print(f"{request} at {client.origin(endpoint)} [{client.label}]", *map(printable, shown), sep="\n", file=sys.stderr)
    print("Send this request? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return text_of(value) if isinstance(value, Decimal) else str(value)
