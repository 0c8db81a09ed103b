"""Targets 2 and 3: how soon clients notice a fault, when events arrive again, and what each client tells its user.

All intervals are those of real use. Targets 2 are those of this package alone, target 3 compares it with other clients
in one run.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any, Final, NamedTuple

from binance_pm.sandbox import StreamFault
from binance_pm.stream.policy import StreamSettings
from tests.benchmarks.streams.followed import (
    OURS,
    PYTHON_CLIENTS,
    Followed,
    followed,
    node_clients,
    order_events,
    plain_accounts,
    pushing,
)
from tests.benchmarks.streams.verdicts import Options, Verdict, at_most

_BETWEEN_EVENTS: Final = 0.05
_BETWEEN_FAULTS: Final = 0.3


class Case(NamedTuple):
    """A fault, on some accounts of each client."""

    name: str
    fault: dict[str, Any]
    """Kind and product of the fault."""
    accounts: int
    patience: float = 75.0
    """After how many seconds without an event none is expected any more."""
    down_within: float | None = 0.1
    """Seconds until `StreamDown`; None if the stream stays up."""
    up_within: float | None = None
    """Seconds until the next event, in the median; None if there is no bound."""
    suffices: float = 0.0
    """Seconds until the next event that suffice, whatever the best other client needs."""


CASES: Final = (
    Case("connection broken", {"kind": "break"}, 5, up_within=0.5),
    Case("half-open", {"kind": "half_open"}, 2, patience=140.0, down_within=20.0, suffices=20.0),
    Case("key expired", {"kind": "expire_key"}, 5),
    Case("key deleted by another program", {"kind": "delete_key"}, 2, down_within=StreamSettings().confirm_every + 5),
    Case("garbage JSON", {"kind": "garbage"}, 5, down_within=None),
)
PRO: Final = Case("updates of Pro stop", {"kind": "silent", "product": "pro"}, 2, down_within=20.0)


class Injected(NamedTuple):
    """A fault that has happened to an account of a client."""

    client: Followed
    case: Case
    number: int
    """The index of the account among those of the client."""
    at: float
    last: int
    """The id of the last order before the fault."""

    def reports(self) -> list[tuple[int | str, float]]:
        """Return what the client has reported after the fault, with the seconds."""
        reports = [(what, at - self.at) for number, what, at in self.client.reports if number == self.number]
        return [(what, after) for what, after in reports if 0 < after <= self.case.patience]

    def seconds_of(self, word: str) -> float:
        """Return after how many seconds the user was told something; infinite if never."""
        return next((after for what, after in self.reports() if what == word), math.inf)

    def seconds(self) -> float:
        """Return after how many seconds an event arrived that was pushed after the fault; infinite if none did."""
        return next((after for what, after in self.reports() if isinstance(what, int) and what > self.last), math.inf)

    def is_over(self) -> bool:
        """Return whether the user has received an event, and was told of the fault if the package is this one."""
        return self.seconds() < math.inf and (self.client.name != OURS or self.seconds_of("StreamGap") < math.inf)


def measure(names: Sequence[str], cases: Sequence[Case], **options: Any) -> list[Injected]:
    """Let each fault happen to accounts of each client; return what has happened.

    Args:
        names: the clients.
        cases: the faults.
        **options: of `tests.benchmarks.streams.clients.ours`.
    """
    each = sum(case.accounts for case in cases)
    injected: list[Injected] = []
    with plain_accounts(each * len(names)) as pm, ExitStack() as stack:
        # One after the other: some clients give up after a second on a busy machine.
        clients = [
            stack.enter_context(followed(name, pm, pm.accounts[at * each : (at + 1) * each], "times", **options))
            for at, name in enumerate(names)
        ]
        events, labels = order_events(), [account.label for account in pm.accounts]
        if not options:
            stack.enter_context(pushing(pm, labels, events, len(labels) / _BETWEEN_EVENTS))
        time.sleep(2)
        struck = [case for case in cases for _ in range(case.accounts)]
        for number, case in enumerate(struck):
            for client in clients:
                fault = StreamFault(account=client.accounts[number].label, connections="all", **case.fault)
                injected.append(Injected(client, case, number, time.time(), events.last))
                pm.exchange.streams.apply(fault)
                time.sleep(_BETWEEN_FAULTS)
        ends = max(one.at + one.case.patience for one in injected)
        while time.time() < ends and not all(one.is_over() for one in injected):
            time.sleep(1)
    return injected


def told(of_client: Sequence[Injected]) -> str:
    """Return what the users were told, in the order in which it was first told."""
    words = (what for one in of_client for what, _ in one.reports() if isinstance(what, str))
    return ", ".join(dict.fromkeys(words)) or "nothing"


def own_verdicts(options: Options) -> list[Verdict]:
    """Print how soon this package notices faults; return the verdicts."""
    injected = measure([OURS], CASES) + measure([OURS], [PRO], is_pro=True)
    options.say("| seconds after the fault | StreamDown: median | slowest | next event: median | slowest |")
    options.say("|---|---:|---:|---:|---:|")
    verdicts: list[Verdict] = []
    for case in (*CASES, PRO):
        down = [one.seconds_of("StreamDown") for one in injected if one.case == case]
        up = [one.seconds() for one in injected if one.case == case]
        figures = (statistics.median(down), max(down), statistics.median(up), max(up))
        options.say(f"| {case.name} | {' | '.join(f'{one:.3f}' if one < math.inf else '-' for one in figures)} |")
        if case.down_within is not None:
            verdicts.append(
                at_most(2, f"{case.name}: slowest StreamDown", case.down_within, figures[1], " s", digits=3)
            )
        if case.up_within is not None:
            verdicts.append(at_most(2, f"{case.name}: events again, median", case.up_within, figures[2], " s"))
    return verdicts


def run(options: Options) -> list[Verdict]:
    """Print the tables; return the verdicts."""
    verdicts = own_verdicts(options)
    names = (*PYTHON_CLIENTS, *node_clients(options.say))
    injected = measure(names, CASES)
    packages = ("python-binance", "ccxt", "binance-sdk-derivatives-trading-portfolio-margin")
    options.say(
        "\nSeconds until an event arrives again (median), and what the client reports to its user. Every account "
        f"receives {1 / _BETWEEN_EVENTS:g} events a second. "
        f"{', '.join(f'{name} {version(name)}' for name in packages)}.\n"
    )
    options.say(f"| fault | {' | '.join(names)} |")
    options.say("|---|" + "---|" * len(names))
    for case in CASES:
        cells: list[str] = []
        medians: dict[str, float] = {}
        for name in names:
            of_client = [one for one in injected if one.case == case and one.client.name == name]
            medians[name] = statistics.median(one.seconds() for one in of_client)
            again = "never" if math.inf in [one.seconds() for one in of_client] else f"{medians[name]:.2f}"
            cells.append(f"{again}; {told(of_client)}")
        options.say(f"| {case.name} | {' | '.join(cells)} |")
        best = min(median for name, median in medians.items() if name != OURS)
        # An event arrives every 0.05 s, so a time is not known more exactly.
        bound = max(best + _BETWEEN_EVENTS, case.suffices) if best < math.inf else case.patience
        ours = [one for one in injected if one.case == case and one.client.name == OURS]
        is_told = all(one.seconds_of("StreamGap") < math.inf for one in ours)
        best_told = f"best other client: {best:.2f} s" if best < math.inf else "no other client within this time"
        demanded = f"at most {bound:.2f} s ({best_told}), told"
        verdicts.append(
            Verdict(3, case.name, demanded, cells[0].replace(";", " s;", 1), medians[OURS] <= bound and is_told)
        )
    return verdicts
