"""What the options of several commands share."""

from __future__ import annotations

from typing import Final

from cyclopts import CycloptsError, Parameter

FLOOR_HELP: Final = "Seconds between two readings of an account in danger."
CEILING_HELP: Final = "Seconds between two readings of a calm account."
# Every user of the machine sees the options of a process, and a URL may contain a password.
PUBLISH_VARIABLE: Final = "BINANCE_PM_PUBLISH"


def flag(text: str) -> Parameter:
    """Describe a flag without its default, which is always off."""
    return Parameter(help=text, show_default=False)


def default(text: str, value: object) -> Parameter:
    """Describe an option whose default is shown in the help only, so that the command sees whether it was given."""
    return Parameter(help=text, show_default=lambda _: value)


def shard_of(text: str | None) -> tuple[int, int] | None:
    """Return number and count of a shard such as ``2/3``."""
    if text is None:
        return None
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise CycloptsError(msg=f"--shard {text!r} is not of the form i/n, such as 2/3.")
    return int(number), int(count)
