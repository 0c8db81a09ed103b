"""``binance-pm stream``: the events of one account's user data stream, one per line."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import msgspec
from cyclopts import Parameter

from binance_pm.amounts import text_of
from binance_pm.cli.chosen_account import client_of
from binance_pm.cli.options import flag
from binance_pm.cli.output import clock_time, printable, while_read

if TYPE_CHECKING:
    from binance_pm.stream.items import StreamItem


def run(
    label: Annotated[str, Parameter(help="Label of the account in the accounts file.")] = "account",
    /,
    *,
    accounts: Annotated[
        Path | None, Parameter(help="Accounts file; without it, keys come from the environment.")
    ] = None,
    pro: Annotated[bool, flag("Follow the stream of Portfolio Margin Pro.")] = False,
    json: Annotated[bool, flag("Print one JSON object per event.")] = False,
) -> int:
    """Print the events of an account's user data stream, and every gap in it, until Ctrl-C."""
    return anyio.run(_run, label, accounts, pro, json)


async def _run(label: str, accounts: Path | None, pro: bool, json: bool) -> int:  # noqa: FBT001 - anyio.run passes no keywords
    client = await client_of(label, accounts)
    async with while_read(), client, client.pro.stream() if pro else client.stream() as items:
        async for item in items:
            print(printable(as_json(item) if json else as_text(item)), flush=True)
    return 0


def as_json(item: StreamItem, *, label: str = "") -> str:
    """Return the item as a JSON object: ``type``, ``label`` if given, and the event with the exchange's field names."""
    named = {"label": label} if label else {}
    return msgspec.json.encode({"type": type(item).__name__, **named, "event": _shown(item)}).decode()


def as_text(item: StreamItem) -> str:
    """Return the item as one line: time, type, and fields, with nested Structs flattened."""
    fields = dict(_fields(msgspec.structs.asdict(item)))
    at = fields.pop("event_time", None)
    shown = " ".join(f"{name}={value}" for name, value in fields.items() if name != "listen_key")
    return f"{clock_time(time.time() if at is None else int(at) / 1000)} {type(item).__name__} {shown}"


def _shown(item: StreamItem) -> object:
    """Return the item as printed in JSON, without the listen key, which gives access to the stream."""
    fields: Any = msgspec.json.decode(msgspec.json.encode(item))
    if isinstance(raw := getattr(item, "raw", None), bytes):
        return msgspec.Raw(raw)
    fields.pop("listenKey", None)
    return fields


def _fields(values: dict[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, msgspec.Struct):
            found += _fields(msgspec.structs.asdict(value))
        elif isinstance(value, tuple | list):
            each = [" ".join(f"{key}={text}" for key, text in _fields({name: one})) for one in value]  # pyright: ignore[reportUnknownVariableType] - items of any type
            found.append((name, f"[{', '.join(each)}]"))
        elif value not in {None, ""}:
            found.append((name, _text(value)))
    return found


def _text(value: object) -> str:
    match value:
        case Decimal():
            return text_of(value)
        case bytes():
            return value.decode(errors="replace")
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.3f}"
        case _:
            return str(value)
