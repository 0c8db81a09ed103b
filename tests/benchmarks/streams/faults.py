"""Target 1: streams under 10,000 random faults on real sockets, in a few processes at once."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Final, NamedTuple

from tests.benchmarks.streams.verdicts import Options, Verdict, exactly
from tests.simulation.stream_faults import BACKENDS, DELIVERIES, FaultCounts
from tests.simulation.stream_faults import run as run_stream
from tests.support.stream_server import Delivery

FAULTS: Final = 10_000
QUICK_FAULTS: Final = 600
BATCH: Final = 50
"""Faults of one seed on one event loop and with one way of serving."""
PROMISES: Final = ("lost_unreported", "outside", "duplicates", "out_of_order", "wrongly_proven")
_NAMES: Final = FaultCounts.__struct_fields__


class Job(NamedTuple):
    """One stream under a batch of faults."""

    backend: str
    delivery: Delivery
    seed: int


def work(job: Job) -> FaultCounts | str:
    """Run a stream; return what happened, or the error."""
    logging.disable()
    try:
        return run_stream(BATCH, job.seed, job.delivery, job.backend)
    except Exception as error:  # noqa: BLE001 - a failed run is a figure
        return repr(error)


def results(todo: list[Job]) -> Generator[tuple[Job, FaultCounts | str]]:
    """Run the jobs in parallel, four on each core, as a stream mostly waits; yield each result when it is there."""
    with ProcessPoolExecutor(4 * (os.cpu_count() or 1), mp_context=get_context("spawn")) as pool:
        running = {pool.submit(work, job): job for job in todo}
        for future in as_completed(running):
            yield running[future], future.result()


def run(options: Options) -> list[Verdict]:
    """Print each run that broke a promise, and the table; return the verdicts."""
    lanes: list[tuple[str, Delivery]] = [(backend, delivery) for backend in BACKENDS for delivery in DELIVERIES]
    seeds = -(-(QUICK_FAULTS if options.is_quick else FAULTS) // (BATCH * len(lanes)))
    todo = [Job(*lane, options.seed + number) for number in range(seeds) for lane in lanes]
    told = f"seeds {options.seed} to {todo[-1].seed}"
    options.say(f"Streams of {told}, {BATCH} faults of each seed in each row.\n")
    totals, whole, failed = {lane: FaultCounts() for lane in lanes}, FaultCounts(), 0
    for job, counts in results(todo):
        if isinstance(counts, str):
            failed += 1
        else:
            totals[job[:2]].add(counts)
            whole.add(counts)
        if isinstance(counts, str) or not counts.is_right:
            options.say(f"Seed {job.seed} on {job.backend}, served {job.delivery}: {_broken(counts)}.\n")
        print(f"\r{whole.faults:,} faults", end="", file=sys.stderr, flush=True)
    options.say("| event loop | served | " + " | ".join(name.replace("_", " ") for name in _NAMES) + " |")
    options.say("|---|---|" + "---:|" * len(_NAMES))
    for lane, total in totals.items():
        options.say(f"| {' | '.join([*lane, *(f'{getattr(total, name):,}' for name in _NAMES)])} |")
    told = f"after {whole.faults:,} faults, {told}"
    verdicts = [exactly(1, f"{name.replace('_', ' ')} {told}", 0, getattr(whole, name)) for name in PROMISES]
    return [*verdicts, exactly(1, "runs that did not end", 0, failed)]


def _broken(counts: FaultCounts | str) -> str:
    """Return the promises that a run broke, or its error."""
    if isinstance(counts, str):
        return counts
    broken = {name.replace("_", " "): getattr(counts, name) for name in PROMISES}
    return ", ".join(f"{count} {name}" for name, count in broken.items() if count)
