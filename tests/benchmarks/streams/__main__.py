"""Measure the targets of user data streams and live accounts, and print each as met or missed.

Run it with ``nox -s bench_streams``, for about an hour; ``-- --only 3 5`` measures single targets, ``-- --quick`` is
faster and less exact, and ``-- --write`` puts what is printed into the documentation.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import platform
import sys
import time
from typing import Final

from tests.benchmarks.record import with_table
from tests.benchmarks.streams.verdicts import Options, Verdict, rows
from tests.support.paths import DOCS

MODULES: Final = {
    "faults": {1},
    "recovery": {2, 3},
    "tested": {4, 10, 11},
    "event_cost": {5},
    "scale": {6},
    "mass_drop": {7},
    "merging": {8},
    "slow_consumer": {9},
}
"""The targets that each module measures."""
PAGE: Final = DOCS / "pages/explanation/streams.md"


def parsed() -> argparse.Namespace:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    targets = sorted(set[int]().union(*MODULES.values()))
    parser.add_argument("--only", nargs="+", type=int, choices=targets, default=targets, metavar="TARGET")
    parser.add_argument("--quick", action="store_true", help="some minutes, and less exact")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of all that is random")
    parser.add_argument("--write", action="store_true", help="put what is printed into the documentation")
    return parser.parse_args()


def main() -> int:
    """Print the tables; return 1 if a target was missed."""
    options = parsed()
    logging.disable()
    printed: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        printed.append(line)

    say(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, seed {options.seed}.")
    verdicts: list[Verdict] = []
    for name, targets in MODULES.items():
        if targets.isdisjoint(options.only):
            continue
        say(f"\nTargets {', '.join(map(str, sorted(targets)))}:\n")
        began = time.monotonic()
        module = importlib.import_module(f"tests.benchmarks.streams.{name}")
        verdicts += module.run(Options(options.quick, options.seed, say))
        print(f"\n({time.monotonic() - began:.0f} s)", flush=True)
    say(f"\nAll targets:\n\n{rows(sorted(verdicts, key=lambda one: one.target))}")
    if options.write:
        text = with_table(PAGE.read_text(encoding="utf-8"), "streams", "\n".join(printed))
        PAGE.write_text(text, encoding="utf-8")
    return 0 if all(one.is_met for one in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
