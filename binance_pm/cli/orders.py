"""``binance-pm orders``: the writes of a journal whose outcome is not known, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import anyio
import msgspec
from cyclopts import Parameter

from binance_pm.cli.options import flag
from binance_pm.cli.output import printable
from binance_pm.client import Client
from binance_pm.journal import JournalEntry, JournalOutcome, read_journal

_ANOTHER_ACCOUNT: Final = "the key in the environment is not that of this account"


class _Found(msgspec.Struct, frozen=True):
    """A write, and what is known of it."""

    entry: JournalEntry
    outcome: JournalOutcome
    reason: str


def run(
    *,
    journal: Annotated[Path, Parameter(help="The journal of a program that has ended.")],
    only_list: Annotated[bool, Parameter(name="--list", help="List only; needs no key and no network.")] = False,
    base_url: Annotated[str | None, Parameter(help="Ask this URL instead of Binance's.")] = None,
    json: Annotated[bool, flag("Print one JSON object per write.")] = False,
) -> int:
    """Print the writes of a journal whose outcome is not known, and find out what became of them.

    The outcomes are added to the journal. Keys come from the environment, as for `binance-pm call`; nothing is sent but
    queries. The exit code is 1 if an outcome is still unknown.
    """
    reader = read_journal(journal)
    unknown = [entry for entry in reader if entry.outcome == "unknown"]
    if reader.torn and not json:
        print(f"The journal ends with {reader.torn} bytes of a line. If it announced a write, the write was not sent.")
    if only_list or not unknown:
        for entry in unknown:
            _print(_Found(entry, "unknown", "" if entry.ended is None else entry.ended.reason), as_json=json)
        still_unknown = len(unknown)
    else:
        still_unknown = anyio.run(_resolve, journal, unknown, base_url, json)
    if not json:
        print(f"{still_unknown} of {len(unknown)} outcomes are still unknown." if unknown else "No outcome is unknown.")
    return 1 if still_unknown else 0


async def _resolve(journal: Path, unknown: Sequence[JournalEntry], base_url: str | None, as_json: bool) -> int:  # noqa: FBT001 - anyio.run passes no keywords
    """Print what became of each write, and return how many outcomes are still unknown."""
    urls: dict[str, Any] = {} if base_url is None else {"papi_url": base_url, "sapi_url": base_url}
    still_unknown = 0
    async with Client.from_env(journal=journal, **urls) as client:
        for entry in unknown:
            found = await _found_out(client, entry)
            still_unknown += found.outcome == "unknown"
            _print(found, as_json=as_json)
    return still_unknown


async def _found_out(client: Client, entry: JournalEntry) -> _Found:
    if entry.started.key_id != client.key_id or entry.error is None:
        return _Found(entry, "unknown", _ANOTHER_ACCOUNT)
    outcome = await client.resolve(entry.error)
    return _Found(entry, "unknown" if outcome.state == "still_unknown" else outcome.state, outcome.reason)


def _print(found: _Found, *, as_json: bool) -> None:
    started = found.entry.started
    if as_json:
        fields = {"outcome": found.outcome, "reason": found.reason, **msgspec.to_builtins(started)}
        print(printable(msgspec.json.encode(fields).decode()), flush=True)
        return
    at = datetime.fromtimestamp(started.time / 1000, UTC)
    named = f" {started.client_id}" if started.client_id else ""
    why = f" ({found.reason})" if found.reason else ""
    text = f"{at:%Y-%m-%d %H:%M:%SZ} {started.endpoint} [{started.label}]{named}: {found.outcome}{why}"
    print(printable(text), flush=True)
