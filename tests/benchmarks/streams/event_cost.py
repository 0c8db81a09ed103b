"""Target 5: the CPU time of an event, beside other clients and the bare protocol.

Each client has a process of its own and follows an account of its own; the clients take turns in receiving events at a
steady pace. A figure is user and system time of the process for each event that its user receives.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from binance_pm.testing import Sandbox
from tests.benchmarks.streams.followed import (
    NODE_CLIENTS,
    OURS,
    PYTHON_CLIENTS,
    Events,
    Followed,
    followed,
    node_clients,
    order_events,
    plain_accounts,
    push,
    wait_until,
)
from tests.benchmarks.streams.verdicts import Options, Verdict, at_most

RATES: Final = (500, 2000)
RAW: Final = "raw protocol"
BOUNDS: Final = {RAW: 1.5, "python-binance": 0.95, "official Python": 0.6, "ccxt pro": 0.4}
"""How many times the cost of another client an event may cost at most."""
_SECONDS: Final = 2.0

Costs = Mapping[tuple[str, int], Sequence[float]]
"""CPU microseconds of an event in each round, by client and rate."""


def cost(pm: Sandbox, client: Followed, events: Events, rate: int) -> float:
    """Return the CPU microseconds of an event."""
    before = client.ask()
    count = push(pm, [client.accounts[0].label], events, rate, _SECONDS)
    wait_until(lambda: client.ask().events - before.events >= count, 60)
    return (client.ask().cpu - before.cpu) / count * 1e6


def measure(names: Sequence[str], rounds: int) -> tuple[Costs, dict[str, float]]:
    """Let the clients take turns; return the costs, and the memory of each process in MB."""
    costs: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    with plain_accounts(len(names)) as pm, ExitStack() as stack:
        places = zip(names, pm.accounts, strict=True)
        clients = [stack.enter_context(followed(name, pm, [account], "cost")) for name, account in places]
        events = order_events()
        for client in clients:
            # Caches are filled.
            cost(pm, client, events, RATES[0])
        for _ in range(rounds):
            for rate in RATES:
                # Packages of npm cannot keep up with the higher rate.
                for client in clients if rate == RATES[0] else [one for one in clients if one.name not in NODE_CLIENTS]:
                    costs[client.name, rate].append(cost(pm, client, events, rate))
        return costs, {client.name: client.ask().memory / 1000 for client in clients}


def run(options: Options) -> list[Verdict]:
    """Print the table; return the verdicts."""
    names, rounds = (RAW, *PYTHON_CLIENTS, *node_clients(options.say)), 2 if options.is_quick else 7
    costs, memory = measure(names, rounds)
    options.say(
        f"CPU µs of an event (asyncio, Node.js), medians of {rounds} rounds of {_SECONDS:g} s, and resident memory.\n"
    )
    options.say("| client | " + " | ".join(f"{rate} events/s" for rate in RATES) + " | memory |")
    options.say("|---|" + "---:|" * (len(RATES) + 1))
    for name in names:
        cells = [f"{statistics.median(costs[name, rate]):.0f}" if (name, rate) in costs else "-" for rate in RATES]
        options.say(f"| {name} | {' | '.join(cells)} | {memory[name]:.0f} MB |")
    verdicts: list[Verdict] = []
    for name, bound in BOUNDS.items():
        for rate in RATES:
            ratios = [our / their for our, their in zip(costs[OURS, rate], costs[name, rate], strict=True)]
            figure = f"CPU of an event, {OURS} to {name}, {rate} events/s"
            verdicts.append(at_most(5, figure, bound, statistics.median(ratios), " times"))
    return verdicts
