"""Targets 4, 10 and 11: what tests show."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Final

from tests.benchmarks.streams.followed import node_clients
from tests.benchmarks.streams.verdicts import Options, Verdict
from tests.support.paths import ROOT

_NODE: Final = "tests/interop/test_node_streams.py"
_STREAMS: Final = "tests/integration/stream"
TESTS: Final = (
    (4, "samples round-trip, unknown fields fail, unknown events pass", ["tests/unit/test_stream_events.py"]),
    (4, "other clients receive every event of a day", ["tests/interop/test_streams.py"]),
    (4, "packages of npm receive every event of a day", [_NODE]),
    (10, "listen keys in logs, exceptions, printed forms, metrics, sandbox", [f"{_STREAMS}/test_secret_keys.py"]),
    (
        11,
        "cancelling at any await ends within 2 s and leaves nothing",
        [f"{_STREAMS}/test_cancellation.py"],
    ),
)
"""Target, figure, and its tests."""


def run(options: Options) -> list[Verdict]:
    """Run the tests; return the verdicts."""
    has_node = bool(node_clients(options.say))
    verdicts: list[Verdict] = []
    for target, figure, files in TESTS:
        if files == [_NODE] and not has_node:
            continue
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        counts = re.findall(r"\d+ (?:passed|failed|errors?|skipped)", done.stdout.splitlines()[-1])
        measured = ", ".join(counts)
        options.say(f"{' '.join(files)}: {measured}")
        verdicts.append(Verdict(target, figure, "all tests pass", measured, done.returncode == 0))
        if done.returncode:
            options.say(done.stdout[-2000:])
    return verdicts
