"""The version of the package. Run by itself, or by a build, this file ends with the reason if Python is too old."""

import sys

# An installer asks for Requires-Python after it has compared versions of every dependency, which can take ten minutes.
if sys.version_info < (3, 11):  # noqa: UP036 - this file alone has to run there
    raise SystemExit(f"binance-pm needs Python 3.11 or newer; this is {sys.version_info[0]}.{sys.version_info[1]}")

VERSION = "0.1.0"
