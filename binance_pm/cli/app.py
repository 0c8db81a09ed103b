"""The commands and their options.

Each command is a separate module, imported when the command runs: ``--help`` loads neither the local exchange nor the
dashboard.
"""

# ruff: noqa: PLC0415 - the reason is above

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, cast

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from binance_pm.cli import call
from binance_pm.cli.console import Output
from binance_pm.cli.hook import STATE_KINDS, EventKind, Hook
from binance_pm.errors import PortfolioMarginError
from binance_pm.fleet import ProductName, schedule
from binance_pm.fleet.relay.entries import STREAM
from binance_pm.fleet.relay.publish import LENGTH
from binance_pm.signing import Secret
from binance_pm.version import VERSION

_TIMEOUT: Final = Number(gte=0.001, lte=86_400)
_PORT: Final = Number(gte=0, lte=65_535)
_THOUSAND: Final = Number(gte=1, lte=1_000)
_MILLION: Final = Number(gte=1, lte=1_000_000)
_HOOK_SECONDS: Final = 10.0
_FLOOR_HELP: Final = "Seconds between two readings of an account in danger."
_CEILING_HELP: Final = "Seconds between two readings of a calm account."
_STORE_HELP: Final = "URL of the Redis or Valkey server to {}."
# Every user of the machine sees the options of a process, and a URL may contain a password.
_BUDGET: Final = "BINANCE_PM_BUDGET"
_PUBLISH: Final = "BINANCE_PM_PUBLISH"


def _flag(text: str) -> Parameter:
    """Describe a flag without its default, which is always off."""
    return Parameter(help=text, show_default=False)


def _default(text: str, value: object) -> Parameter:
    """Describe an option whose default is shown in the help only, so that the command sees whether it was given."""
    return Parameter(help=text, show_default=lambda _: value)


app: App = App(
    name="binance-pm",
    help="Binance Portfolio Margin from the command line. Neither made nor endorsed by Binance.",
    version=VERSION,
    version_flags=["--version"],
    # Flags have no negative form such as --no-json.
    default_parameter=Parameter(negative=""),
    suppress_keyboard_interrupt=False,
)
app.command(call.app)


@app.command(name="demo")
def _demo(
    *,
    once: Annotated[
        bool | None,
        Parameter(
            help="Exit after reading every account once (default when stdout is not a terminal).", negative="--no-once"
        ),
    ] = None,
    plain: Annotated[bool, _flag("Print one line per event.")] = False,
    json: Annotated[bool, _flag("Print one JSON object per event.")] = False,
    seed: Annotated[int, Parameter(help="Seed for the generated accounts and prices.")] = 7,
) -> int:
    """Watch a dozen accounts on a local exchange while things go wrong; needs no key and no network."""
    from binance_pm.cli import demo

    ends = not sys.stdout.isatty() if once is None else once
    return demo.run(once=ends, plain=plain, json=json, seed=seed)


@app.command(name="doctor")
def _doctor(
    *,
    accounts: Annotated[Path | None, Parameter(help="Check the accounts of this file.")] = None,
    sandbox: Annotated[bool, _flag("Check a local exchange; needs no key.")] = False,
    fault: Annotated[tuple[str, ...], Parameter(help="Fault to inject there, such as clock.")] = (),
    base_url: Annotated[str | None, Parameter(help="Check this address instead of Binance's.")] = None,
    trust_env: Annotated[bool, _flag("Use proxies and certificates of the environment.")] = False,
    json: Annotated[bool, _flag("Print one JSON object per check.")] = False,
) -> int:
    """Check key, clock, network, permissions, product and budget, and say what to do about each problem.

    Only reads are sent, with a weight of 24 on /papi and /api and 10 on /sapi. Keys come from the environment, as for
    `binance-pm call`. The exit code is 1 if a check failed.
    """
    from binance_pm.cli import doctor

    return doctor.run(accounts=accounts, local=sandbox, fault=fault, base_url=base_url, trust_env=trust_env, json=json)


@app.command(name="plan")
def _plan(
    *endpoint: str,
    accounts: Annotated[str, Parameter(help="Number of accounts, or path of an accounts file.")],
    every: Annotated[
        str | None, Parameter(help="Interval between two readings of each account: 5, 5s, 500ms, 2m.")
    ] = None,
    product: Annotated[ProductName | None, Parameter(help="Read the default endpoints of this product.")] = None,
    floor: Annotated[float | None, _default(_FLOOR_HELP, schedule.FLOOR)] = None,
    ceiling: Annotated[float | None, _default(_CEILING_HELP, schedule.CEILING)] = None,
    shard: Annotated[str | None, Parameter(help="i/n: plan for the i-th of n shards of the file.")] = None,
    json: Annotated[bool, _flag("Print one JSON object.")] = False,
) -> int:
    """Calculate whether reading accounts fits the limits, and how often; needs no key and no network.

    Without --every: how often `binance-pm watch` would read the accounts, those in danger more often. The exit code is
    1 if the plan does not fit.

    Args:
        endpoint: Endpoints that are read of each account, such as um_account.
    """
    from binance_pm.cli import plan

    request = plan.Request(
        accounts=accounts,
        endpoints=endpoint,
        product=product,
        every=every,
        floor=floor,
        ceiling=ceiling,
        shard=None if shard is None else _shard(shard),
        json=json,
    )
    return plan.run(request)


@app.command(name="sandbox")
def _sandbox(
    *,
    port: Annotated[int, Parameter(help="Port to listen on, 0 for any free one.", validator=_PORT)] = 0,
    accounts: Annotated[int, Parameter(help="Number of generated accounts, at most 1000.", validator=_THOUSAND)] = 12,
    seed: Annotated[int, Parameter(help="Seed for the generated accounts and prices.")] = 7,
    keys: Annotated[bool, _flag("Also print private keys and the keys of the other accounts.")] = False,
    accounts_file: Annotated[
        Path | None, Parameter(help="Write an accounts file for watch, and the keys into a folder next to it.")
    ] = None,
    json: Annotated[bool, _flag("Print one JSON object, with all keys.")] = False,
) -> int:
    """Serve the local exchange until Ctrl-C, and print its address and a key."""
    from binance_pm.cli import sandbox

    return sandbox.run(port=port, accounts=accounts, seed=seed, keys=keys, accounts_file=accounts_file, json=json)


@app.command(name="watch")
def _watch(
    *,
    accounts: Annotated[Path, Parameter(help="Accounts file: labels, products, and where the keys are.")],
    warn: Annotated[
        Decimal | None, Parameter(help="Upper threshold of uniMMR, for accounts without their own.")
    ] = None,
    alarm: Annotated[Decimal | None, Parameter(help="Lower threshold of uniMMR.")] = None,
    floor: Annotated[float, Parameter(help=_FLOOR_HELP)] = schedule.FLOOR,
    ceiling: Annotated[float, Parameter(help=_CEILING_HELP)] = schedule.CEILING,
    shard: Annotated[str | None, Parameter(help="i/n: watch the i-th of n shards of the file.")] = None,
    keep_going: Annotated[bool, _flag("If accounts cannot be opened, watch the others.")] = False,
    plain: Annotated[bool, _flag("Print one line per event (default without a terminal).")] = False,
    json: Annotated[bool, _flag("Print one JSON object per event.")] = False,
    metrics: Annotated[str | None, Parameter(help="HOST:PORT, or PORT for this machine only: serve /metrics.")] = None,
    budget: Annotated[str | None, Parameter(help=_STORE_HELP.format("share the IP's limits"), env_var=_BUDGET)] = None,
    budget_name: Annotated[str | None, _default("Name of the budget there: one for each egress IP.", "default")] = None,
    publish: Annotated[str | None, Parameter(help=_STORE_HELP.format("append events to"), env_var=_PUBLISH)] = None,
    stream: Annotated[str | None, _default("Stream that --publish appends to.", STREAM)] = None,
    length: Annotated[
        int | None, _default("Approximate number of events the stream keeps.", LENGTH), Parameter(validator=_MILLION)
    ] = None,
    on_event: Annotated[str | None, Parameter(help="Command to run with each event as JSON on stdin.")] = None,
    on_event_kind: Annotated[
        tuple[EventKind, ...] | None, Parameter(help="Events to run the command for; by default all but Reading.")
    ] = None,
    on_event_timeout: Annotated[
        float | None,
        _default("Seconds after which the command is killed.", _HOOK_SECONDS),
        Parameter(validator=_TIMEOUT),
    ] = None,
) -> int:
    """Watch the accounts of a file on a full screen; accounts in danger come first and are read more often.

    Press ? for a list of keys.
    """
    from binance_pm.cli import watch

    _requires("--budget", budget, {"--budget-name": budget_name})
    _requires("--publish", publish, {"--stream": stream, "--length": length})
    _requires("--on-event", on_event, {"--on-event-kind": on_event_kind, "--on-event-timeout": on_event_timeout})
    request = watch.Request(
        accounts=accounts,
        keep_going=keep_going,
        shard=None if shard is None else _shard(shard),
        warn=warn,
        alarm=alarm,
        floor=floor,
        ceiling=ceiling,
        plain=plain,
        json=json,
        metrics=None if metrics is None else _address(metrics, "--metrics"),
        budget=None if budget is None else watch.SharedStore(Secret(budget), budget_name or "default"),
        publish=None if publish is None else watch.Publishing(Secret(publish), stream or STREAM, length or LENGTH),
        hook=None
        if on_event is None
        else Hook(on_event, kinds=on_event_kind or STATE_KINDS, timeout=on_event_timeout or _HOOK_SECONDS),
    )
    return watch.run(request)


@app.command(name="tail")
def _tail(
    url: Annotated[str, Parameter(help=_STORE_HELP.format("read from"), env_var=_PUBLISH)],
    /,
    *,
    stream: Annotated[str, Parameter(help="Name of the stream that a watch publishes.")] = STREAM,
    group: Annotated[str, Parameter(help="Reader group: each group continues where it stopped.")] = "tail",
    from_start: Annotated[bool, _flag("Let a new group begin with the oldest entry.")] = False,
    json: Annotated[bool, _flag("Print one JSON object per entry.")] = False,
) -> int:
    """Print the events that a watch publishes, one per line, until Ctrl-C."""
    from binance_pm.cli import tail

    return tail.run(url=url, stream=stream, group=group, from_start=from_start, json=json)


def _requires(option: str, value: object, others: Mapping[str, object]) -> None:
    """Refuse options that have no effect without another option."""
    for name, given in others.items():
        if value is None and given is not None:
            raise CycloptsError(msg=f"{name} has no effect without {option}.")


def _shard(text: str) -> tuple[int, int]:
    number, _, shards = text.partition("/")
    if not (number.isdecimal() and shards.isdecimal()):
        raise CycloptsError(msg=f"--shard {text!r} is not of the form i/n, such as 2/3.")
    return int(number), int(shards)


def _address(text: str, option: str) -> tuple[str, int]:
    """Return host and port; without a host, only this machine can connect."""
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536) or (":" in host and not is_bracketed):
        raise CycloptsError(msg=f"{option} {text!r} is not of the form HOST:PORT, such as 127.0.0.1:9464.")
    return host.strip("[]") or "127.0.0.1", int(port)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; failures end in one line on stderr."""
    try:
        result = app(arguments, console=Output(), exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        # The text may quote a misplaced URL, which may contain a password.
        return _failed(re.sub(r"://[^\s@]*@", "://...@", str(error)), 2)
    except PortfolioMarginError as error:
        return _failed(str(error), 1)
    except (OSError, ExceptionGroup) as error:
        alone = _alone(error)
        if isinstance(alone, BrokenPipeError) or not isinstance(alone, OSError):
            raise
        return _failed(alone.strerror or str(alone), 1)
    return result if isinstance(result, int) else 0


def _alone(error: Exception) -> Exception:
    """Return the only error of a group, because task groups wrap errors."""
    if not isinstance(error, ExceptionGroup):
        return error
    group = cast("ExceptionGroup[Exception]", error)
    return _alone(group.exceptions[0]) if len(group.exceptions) == 1 else group


def _failed(why: str, code: int) -> int:
    # If stderr is closed, only the exit code reports the failure.
    with suppress(OSError):
        print("binance-pm:", *why.split(), file=sys.stderr, flush=True)
    return code
