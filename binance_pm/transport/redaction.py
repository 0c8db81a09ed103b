"""Removes signatures, proxy passwords and links of files from the log records of httpx and httpcore."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

_LOGGERS: Final = ("httpx", "httpcore.http11", "httpcore.http2", "httpcore.socks")
_SECRETS: Final = re.compile(r"(signature=)[^&\s'\"]+|(auth=)\([^)]*\)")
_hidden: Final[list[str]] = []


def redact_logs() -> None:
    """Filter the log records from now on; no record is dropped."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_redact)


@contextmanager
def hidden_in_logs(target: str) -> Generator[None]:
    """Remove a target, which is a secret as a whole, from log records until the block ends."""
    _hidden.append(target)
    try:
        yield
    finally:
        _hidden.remove(target)


def _redact(record: logging.LogRecord) -> bool:
    message = shown = record.getMessage()
    for target in _hidden:
        shown = shown.replace(target, "/…")
    shown = _SECRETS.sub(lambda found: f"{found[1] or found[2]}…", shown)
    if shown != message:
        record.msg, record.args = shown, ()
    return True
