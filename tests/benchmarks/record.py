"""Runs the benchmarks of a call, and writes their tables into the documentation and the list of targets.

Run it with ``nox -s bench -- --write``, on an idle machine: it takes about ten minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.benchmarks.verdicts import HEADER

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs/pages/explanation/performance.md"
TARGETS: Final = ROOT / "tests/benchmarks/targets.md"
MODULES: Final = ("speed", "footprint", "call_cost", "stall", "layers")
TAKES_QUICK: Final = ("speed", "footprint")


def with_table(text: str, name: str, table: str) -> str:
    """Return the text of a page with another table between the comments of this name."""
    start, end = f"<!-- printed: {name} -->\n", f"<!-- end: {name} -->\n"
    before, found, rest = text.partition(start)
    _, ended, after = rest.partition(end)
    assert found
    assert ended
    return f"{before}{start}\n{table.strip()}\n\n{end}{after}"


def main() -> None:
    """Run each benchmark, show what it prints, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute or two, and less exact")
    is_quick = parser.parse_args().quick
    page, verdicts = PAGE.read_text(encoding="utf-8"), ""
    for module in MODULES:
        command = [sys.executable, "-m", f"tests.benchmarks.{module}"]
        if is_quick and module in TAKES_QUICK:
            command.append("--quick")
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
        print(printed, flush=True)
        figures, _, rows = printed.partition(HEADER)
        page = with_table(page, module, figures)
        verdicts += rows
    PAGE.write_text(page, encoding="utf-8")
    targets = with_table(TARGETS.read_text(encoding="utf-8"), "calls", HEADER + verdicts)
    TARGETS.write_text(targets, encoding="utf-8")


if __name__ == "__main__":
    main()
