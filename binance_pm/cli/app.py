"""The commands.

Those that need the local exchange are imported when they run, so ``--help`` does not load the exchange.
"""

# ruff: noqa: PLC0415 - the reason is above

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final, cast

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from binance_pm.cli import export, live, orders, plan, request, stream, tail, watch
from binance_pm.cli.options import default, flag
from binance_pm.cli.output import Output
from binance_pm.errors import PortfolioMarginError
from binance_pm.version import VERSION

_PORT: Final = Number(gte=0, lte=65_535)
_ACCOUNTS: Final = Number(gte=1, lte=1_000)
_SECONDS: Final = Parameter(validator=Number(gte=0.1, lte=86_400))
_SEED: Final = Parameter(help="Seed for the generated accounts and prices.")

app: App = App(
    name="binance-pm",
    help="Binance Portfolio Margin from the command line. Neither made nor endorsed by Binance.",
    version=VERSION,
    version_flags=["--version"],
    # Flags have no negative form such as --no-json.
    default_parameter=Parameter(negative=""),
    suppress_keyboard_interrupt=False,
)
# Loaded when it is used: it has a command for every endpoint.
app.command("binance_pm.cli.call:app", name="call", help="Call one endpoint and print the response as JSON.")
app.command(export.run, name="export")
app.command(live.run, name="live")
app.command(orders.run, name="orders")
app.command(plan.run, name="plan")
app.command(request.run, name="request")
app.command(stream.run, name="stream")
app.command(tail.run, name="tail")
app.command(watch.run, name="watch")


@app.command(name="demo")
def _demo(
    *,
    once: Annotated[
        bool | None,
        Parameter(
            help="Exit after reading every account once (default when stdout is not a terminal).", negative="--no-once"
        ),
    ] = None,
    plain: Annotated[bool, flag("Print one line per event.")] = False,
    json: Annotated[bool, flag("Print one JSON object per event.")] = False,
    seed: Annotated[int, _SEED] = 7,
) -> int:
    """Watch twelve accounts of a local exchange while faults are injected; needs no key and no network."""
    from binance_pm.cli import demo

    ends = not sys.stdout.isatty() if once is None else once
    return demo.run(once=ends, plain=plain, json=json, seed=seed)


@app.command(name="doctor")
def _doctor(
    *,
    accounts: Annotated[Path | None, Parameter(help="Check the accounts of this accounts file.")] = None,
    sandbox: Annotated[bool, flag("Check a local exchange; needs no key.")] = False,
    fault: Annotated[tuple[str, ...], flag("Inject this fault into the local exchange, such as clock.")] = (),
    base_url: Annotated[str | None, Parameter(help="Check this URL instead of Binance's.")] = None,
    trust_env: Annotated[bool, flag("Use the proxies and certificates named in the environment.")] = False,
    pin: Annotated[
        tuple[str, ...], flag("Accept only certificates with this SHA-256 fingerprint; may be repeated.")
    ] = (),
    stream: Annotated[bool, flag("Also check the user data stream; extends the account's listen key.")] = False,
    pro: Annotated[bool, flag("With --stream: check the stream of Portfolio Margin Pro.")] = False,
    seconds: Annotated[float | None, default("With --stream: watch the stream for this long.", 20), _SECONDS] = None,
    json: Annotated[bool, flag("Print one JSON object per check.")] = False,
) -> int:
    """Check key, clock, network, permissions, product and budget, and say what to do about each problem.

    The command only reads, with a weight of 24 on /papi and /api and 10 on /sapi. With --stream, it also creates or
    extends the listen key, with a weight of 29 on /papi. Keys come from the environment, as for `binance-pm call`. The
    exit code is 1 if a check failed.
    """
    from binance_pm.cli import doctor

    return doctor.run(
        accounts=accounts,
        local=sandbox,
        fault=fault,
        base_url=base_url,
        trust_env=trust_env,
        json=json,
        pins=pin,
        stream=stream,
        pro=pro,
        seconds=seconds,
    )


@app.command(name="sandbox")
def _sandbox(
    *,
    port: Annotated[int, Parameter(help="Listen on this port; 0 selects a free one.", validator=_PORT)] = 0,
    accounts: Annotated[int, Parameter(help="Number of accounts to generate, 1 to 1000.", validator=_ACCOUNTS)] = 12,
    seed: Annotated[int, _SEED] = 7,
    keys: Annotated[bool, flag("Also print private keys and the keys of the other accounts.")] = False,
    accounts_file: Annotated[
        Path | None, Parameter(help="Write an accounts file for watch, and the keys into a folder next to the file.")
    ] = None,
    json: Annotated[bool, flag("Print one JSON object, with all keys.")] = False,
) -> int:
    """Serve a local exchange until Ctrl-C, and print its URL and a key."""
    from binance_pm.cli import sandbox

    return sandbox.run(port=port, accounts=accounts, seed=seed, keys=keys, accounts_file=accounts_file, json=json)


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
        if isinstance(alone, PortfolioMarginError):
            return _failed(str(alone), 1)
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
