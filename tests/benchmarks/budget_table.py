"""The targets of the budget, beside the limiters that people use today, in one simulated world.

Run it with ``nox -s bench_budget``; ``-- --quick`` takes ten minutes of virtual time in place of an hour.
"""

# Only one nox session installs the other clients, so their types are unknown elsewhere.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from itertools import count
from random import Random
from typing import Final, NamedTuple

from binance_pm.budget import LimitType
from binance_pm.transport.http import HttpResponse
from tests.simulation.calls import Ask
from tests.simulation.limiters import OURS, OURS_SHARED, Machine, Rival
from tests.simulation.measure import Result
from tests.simulation.peers import PEERS
from tests.simulation.scenarios import SCENARIOS, Row, Scenario
from tests.simulation.store import RemoteStore
from tests.simulation.virtual import TooSlow
from tests.simulation.world import EPOCH, simulate

PACKAGES: Final = ("aiolimiter", "pyrate-limiter", "limits", "ccxt")
RIVALS: Final = (OURS, *PEERS)
TOO_SLOW: Final = "too slow"
# What is not to be had, or is nobody's claim.
NOTHING: Final = "—"
CPU_TARGET: Final = 20.0


class Outcome(NamedTuple):
    """What one limiter made of one scenario; None where it took too long, or where there is no such limiter."""

    scenario: Scenario
    rival: str
    result: Result | None
    seconds: float


class Line(NamedTuple):
    """One row of the table: the scenarios it joins, and what is told of them, the worst of all."""

    title: str
    row: Row | None
    """None joins all that shall be without refusals, and asks for nothing else."""
    tell: Callable[[list[Result]], str]
    target: str


def refusals(results: list[Result]) -> str:
    """429 and 418, the most of any scenario."""
    worst = max(results, key=lambda result: result.refusals + result.banned_calls)
    return f"{worst.refusals} + {worst.banned_calls}"


def use(results: list[Result]) -> str:
    """The smallest use, with the refusals that it cost."""
    return f"{min(result.use for result in results):.1%} ({refusals(results)})"


def order_waits(results: list[Result]) -> str:
    """Of orders, the longest."""
    return f"{max(r.order_p99 for r in results):.2f} / {max(r.order_max for r in results):.2f} s ({refusals(results)})"


def poll_waits(results: list[Result]) -> str:
    """Of polls, the longest."""
    return f"{max(r.poll_p99 for r in results):.2f} s ({refusals(results)})"


def fairness(results: list[Result]) -> str:
    """The least equal."""
    return f"{min(r.jain for r in results):.2f} ({refusals(results)})"


def shared(results: list[Result]) -> str:
    """Use and orders."""
    return f"{use(results)}, {max(r.order_p99 for r in results):.2f} s"


LINES: Final = (
    Line("429 + 418 in any scenario without foreign bursts", None, refusals, "0"),
    Line("use at saturation, alone", "alone", use, "99.5 %"),
    Line("use, steady foreign traffic", "steady", use, "99 %"),
    Line("use, bursty foreign traffic", "bursty", use, "97 %"),
    Line("order wait p99 / max while polls saturate", "orders", order_waits, "0.2 / 0.5 s"),
    Line("the same, cold starts in mid-minute", "cold", order_waits, "0.2 / 0.5 s"),
    Line("the same, restart every 200 s", "orders, restart", order_waits, "0.2 / 0.5 s"),
    Line("the same, foreign bursts", "orders, burst", order_waits, "0.2 / 0.5 s"),
    Line("poll wait p99, bursts of 300 on a 20 % base", "bursts", poll_waits, "0.5 s"),
    Line("Jain index, one account with 200 polls outstanding", "fair", fairness, "0.99"),
    Line("restart every 200 s", "restart", use, "99 %, 0 refusals"),
    Line("four processes, shared, foreign traffic: use, order p99", "shared", shared, "99 %, 0.2 s, 0 refusals"),
    Line("four processes, shared, cold starts: use, order p99", "cold shared", shared, "99 %, 0.2 s, 0 refusals"),
    Line("four processes, the store gone", "redis lost", use, "97 %, 0 refusals"),
    Line("client clock wrong by 30 s, or stepping", "clock", use, "0 refusals"),
)
"""The rows, in the order in which they are printed. Refusals stand in brackets: 429 + 418."""


def outcome(scenario: Scenario, rival: Rival, *, seed: int, minutes: float, patience: float) -> Outcome:
    """Let one limiter try one scenario."""
    logging.disable(logging.CRITICAL)
    began = time.process_time()
    if rival is OURS:
        # However busy the machine is, ours is measured to the end.
        result = _tried(scenario, OURS_SHARED if scenario.shared else OURS, seed, minutes, math.inf)
    else:
        result = _tried(scenario, rival, seed, minutes, patience)
    return Outcome(scenario, rival.name, result, time.process_time() - began)


def _tried(scenario: Scenario, rival: Rival, seed: int, minutes: float, patience: float) -> Result | None:
    try:
        return simulate(scenario, rival, seed=seed, minutes=minutes, patience=patience)
    except TooSlow:
        return None


def _outcome_of(names: tuple[str, str], *, seed: int, minutes: float, patience: float) -> Outcome:
    """The same by name: a limiter does not travel to another process."""
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == names[0])
    rival = next(rival for rival in RIVALS if rival.name == names[1])
    return outcome(scenario, rival, seed=seed, minutes=minutes, patience=patience)


async def cpu_microseconds(rival: Rival, *, rounds: int = 7, calls: int = 500) -> float:
    """CPU time that a call costs where nothing has to be waited for, the answer itself not included."""
    store = RemoteStore(time.monotonic, lambda _: True, None, Random(1))
    machine = Machine(time.monotonic, time.time, store, {("papi", LimitType.IP): 10**9}, 1)
    limiter = rival.make(machine, 1)[0]
    counts = count(5, 5)
    ask = Ask("polls", "account 0", 5)

    async def send() -> HttpResponse:
        headers = {"date": "Fri, 15 Jan 2027 08:00:00 GMT", "x-mbx-used-weight-1m": str(next(counts))}
        return HttpResponse(200, headers, b"{}")

    async def cost(work: Callable[[], Awaitable[object]]) -> float:
        taken: list[float] = []
        for _ in range(rounds):
            began = time.process_time()
            for _ in range(calls):
                await work()
            taken.append((time.process_time() - began) / calls * 1e6)
        # What disturbs a measurement only adds.
        return min(taken)

    return await cost(lambda: limiter.call(ask, send)) - await cost(send)


def cell(line: Line, rival: Rival, outcomes: Iterable[Outcome]) -> str:
    """What the table says of one limiter in one row."""
    tried = [it for it in outcomes if it.rival == rival.name and joins(line, it.scenario)]
    results = [it.result for it in tried if it.result is not None]
    if not tried or all(math.isnan(it.seconds) for it in tried):
        return NOTHING
    text = line.tell(results) if results else TOO_SLOW
    if results and len(results) < len(tried):
        text += f", {len(tried) - len(results)} {TOO_SLOW}"
    return f"{text}, {verdict(tried, line)}" if rival is OURS else text


def joins(line: Line, scenario: Scenario) -> bool:
    """Whether the row is about the scenario."""
    if line.row is None:
        return scenario.targets.refusals is not None and not scenario.shared
    return scenario.row == line.row


def verdict(tried: Iterable[Outcome], line: Line) -> str:
    """Whether every target of the scenarios was met."""
    missed = [
        missing
        for it in tried
        for missing in (it.result.missed(it.scenario.targets) if it.result else [TOO_SLOW])
        if line.row is not None or missing.startswith(("429", "bound", TOO_SLOW))
    ]
    return "**missed**" if missed else "met"


def print_table(outcomes: list[Outcome], cpu: dict[str, float], rivals: list[Rival]) -> None:
    """The targets, row by row."""
    print("| | target |", " | ".join(rival.name for rival in rivals), "|")
    print("|---|---|" + "---|" * len(rivals))
    for line in LINES:
        print(f"| {line.title} | {line.target} |", " | ".join(cell(line, it, outcomes) for it in rivals), "|")
    spent = [f"{cpu[it.name]:.0f}" for it in rivals]
    if rivals[0] is OURS:
        spent[0] += ", met" if cpu[OURS.name] <= CPU_TARGET else ", **missed**"
    print(f"| CPU of a call that need not wait, us | {CPU_TARGET:.0f} |", " | ".join(spent), "|")


def print_scenarios(outcomes: Iterable[Outcome]) -> None:
    """Every scenario of ours, with all its figures."""
    print(
        "| scenario | 429 + 418 | use (ours) | peak | order p99 / max | poll p50 / p99 | rescue max | Jain | missed |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for it in outcomes:
        if it.rival == OURS.name:
            print("|", " | ".join([it.scenario.name, *figures(it)]), "|")


def figures(it: Outcome) -> list[str]:
    """All the figures of one scenario."""
    r = it.result
    if r is None:
        return [NOTHING if math.isnan(it.seconds) else TOO_SLOW, *[""] * 7]
    return [
        refusals([r]),
        f"{r.use:.1%} ({r.own_use:.1%})",
        f"{r.peak:.1%}",
        f"{r.order_p99:.2f} / {r.order_max:.2f} s",
        f"{r.poll_p50:.2f} / {r.poll_p99:.2f} s",
        f"{r.rescue_max:.1f} s",
        f"{r.jain:.3f}",
        "; ".join(r.missed(it.scenario.targets)) or "nothing",
    ]


def options() -> argparse.Namespace:
    """What the caller asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten minutes of virtual time in place of an hour")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--patience",
        type=float,
        default=120.0,
        help="seconds of CPU time for one of the other limiters in one scenario",
    )
    parser.add_argument("--workers", type=int, default=2, help="how many processes compute")
    parser.add_argument("--rows", nargs="*", default=[], metavar="ROW", help="the scenarios of these rows")
    parser.add_argument("--only", nargs="*", default=[], metavar="LIMITER", help="these limiters, and ours")
    return parser.parse_args()


def compute(given: argparse.Namespace, minutes: int, rivals: list[Rival]) -> list[Outcome]:
    """Every limiter in every scenario, but the peers only where the table tells of them."""
    scenarios = [it for it in SCENARIOS if not given.rows or it.row in given.rows]
    pairs = [(it.name, rival.name) for it in scenarios for rival in rivals if rival is OURS or it.row != "none"]
    work = partial(_outcome_of, seed=given.seed, minutes=minutes, patience=given.patience)
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(given.workers) as pool:
        for number, done in enumerate(pool.map(work, pairs), 1):
            outcomes.append(done)
            print(
                f"{number} of {len(pairs)}: {done.scenario.name}, {done.rival}, {done.seconds:.1f} s", file=sys.stderr
            )
    return outcomes


def main() -> None:
    """Print both tables."""
    given = options()
    minutes = 10 if given.quick else 60
    rivals = [it for it in RIVALS if it is OURS or not given.only or it.name in given.only]
    cpu = {rival.name: asyncio.run(cpu_microseconds(rival)) for rival in rivals}
    began = time.perf_counter()
    outcomes = compute(given, minutes, rivals)
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    start = time.strftime("%H:%M:%S", time.gmtime(EPOCH))
    print(f"{minutes} minutes of virtual time from {start} UTC, seed {given.seed}.")
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}; {packages}.")
    print(f"Computed in {time.perf_counter() - began:.0f} s; a pair may take {given.patience:.0f} s of CPU time.\n")
    print_table(outcomes, cpu, rivals)
    print()
    print_scenarios(outcomes)


if __name__ == "__main__":
    main()
