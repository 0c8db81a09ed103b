"""How long ``binance-pm demo`` takes to its first picture on this machine, from the start of the process.

Run it with ``nox -s bench``. The tests bound its processor time; this is what a person waits.
"""

from __future__ import annotations

import subprocess
import sys
import time

ROUNDS = 5


def seconds() -> float:
    """One start, one round, one end."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "binance_pm", "demo", "--once"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def main() -> None:
    """Print the fastest and the slowest."""
    took = sorted(seconds() for _ in range(ROUNDS))
    print(f"first picture of the demo   {took[0]:>5.2f} s to {took[-1]:.2f} s")


if __name__ == "__main__":
    main()
