"""Where the files of the project are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
TESTS: Final = ROOT / "tests"
SAMPLES: Final = TESTS / "samples"
DOCS: Final = ROOT / "docs"
