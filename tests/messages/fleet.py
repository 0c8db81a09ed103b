"""For the sections about the accounts file and its keys, the events of a fleet in words, and why a call waits."""

# Imports that this module does not use are for the sections of messages.txt.
# pyright: reportUnusedImport=false
from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from binance_pm.budget import Waiting
from binance_pm.cli.output import describe_event
from binance_pm.cli.tail import as_text
from binance_pm.enums import AccountStatus
from binance_pm.fleet import (
    AccountFailed,
    BudgetTight,
    Change,
    Fleet,
    FleetEvent,
    Fresh,
    Gap,
    HostBlocked,
    HostUnblocked,
    Missed,
    Reading,
    Stale,
    Started,
    StatusChanged,
    StreamEntry,
    ThresholdCrossed,
    decode_event,
)
from binance_pm.fleet.accounts import read_accounts, refusal
from binance_pm.fleet.keys import open_entries
from tests.messages.stage import KEY, SECRET, Stage

KEYS = 'api_key = { env = "KEY" }\napi_secret = { env = "SECRET" }\n'
ACCOUNT = '[[accounts]]\nlabel = "desk"\nproduct = "pm"\n' + KEYS
AT = 1_800_000_010.0
ENV = {"KEY": KEY, "SECRET": SECRET}
DESK: dict[str, Any] = {"at": AT, "label": "desk"}
SHARD: dict[str, Any] = {"at": AT, "shard": "1/2"}
HOST: dict[str, Any] = {"at": AT, "origin": "https://papi.binance.com"}
_WARN: dict[str, Any] = DESK | {"name": "warn", "threshold": Decimal("1.5")}
_STALE: dict[str, Any] = DESK | {"max_age": 10.0, "reason": "no answer"}
_FAILED: dict[str, Any] = DESK | {"endpoint": "account", "error": "no answer", "error_type": "NoResponse"}
_EQUITY = {"uni_mmr": Change(None, Decimal(2)), "account_equity": Change(Decimal(1), None)}
EVENTS: list[FleetEvent] = [
    Reading(**DESK, responses={}, changed=_EQUITY),
    Reading(**DESK, responses={}, changed={}),
    StatusChanged(**DESK, before=AccountStatus.NORMAL, after=AccountStatus.MARGIN_CALL),
    ThresholdCrossed(**_WARN, below=True, uni_mmr=Decimal("1.4")),
    ThresholdCrossed(**_WARN, below=False, uni_mmr=Decimal(2)),
    Stale(**_STALE, age=12.0, ages={"account": 12.0}, stale_endpoints=("account",)),
    Stale(**_STALE, age=None),
    Stale(**_STALE, age=12.0, ages={"account": 1.0, "um_account": 12.0}, stale_endpoints=("um_account",)),
    Fresh(**DESK, age=0.5),
    AccountFailed(**_FAILED, retry_at=AT + 5),
    AccountFailed(**_FAILED, retry_at=None),
    HostBlocked(**HOST, until=AT + 30, banned=False),
    HostBlocked(**HOST, until=AT + 30, banned=True),
    HostUnblocked(**HOST),
    BudgetTight(at=AT, pool="IP /papi", wanted=7000.0, available=5400.0, interval=40.0, is_tight=True),
    BudgetTight(at=AT, pool="IP /papi", wanted=500.0, available=5400.0, interval=30.0, is_tight=False),
]
ENTRIES: list[Any] = [
    Started(**SHARD, since=None, previous_run=None, previous_number=0),
    Started(**SHARD, since=AT - 60, previous_run="q", previous_number=7),
    Missed(**SHARD, entries=3),
    Gap(**SHARD, readings=2, events=1, vanished=3, since=AT - 60, until=AT),
    None,
]


def accounts(stage: Stage, text: str | bytes, **options: Any) -> Fleet:
    """Make a fleet from an accounts file."""
    return Fleet.from_toml(stage.file(text, name="accounts.toml"), **options)


def field(stage: Stage, line: str, *, without: str = "") -> Fleet:
    """Make a fleet from an account with one more field, another value of a field, or without a field."""
    replaced = without or line.partition(" ")[0]
    kept = [old for old in ACCOUNT.splitlines() if not old.startswith(f"{replaced} ")]
    return accounts(stage, "\n".join([*kept, line]))


async def key(stage: Stage, reference: str, name: str = "api_secret") -> None:
    """Open an account whose key is not where the file says."""
    lines = [line for line in ACCOUNT.splitlines() if not line.startswith("api_secret")]
    text = "\n".join([*lines, f"{name} = {reference}"])
    async with Fleet.from_toml(stage.file(text, name="accounts.toml"), environment=ENV):
        pass


async def keyring(stage: Stage, module: object) -> None:
    """Open an account whose keyring does not have the key."""
    stage.patch.setitem(sys.modules, "keyring", module)
    await key(stage, '{ keyring = { service = "binance", name = "desk" } }')


async def hanging(stage: Stage) -> object:
    """Run a command that takes too long."""
    text = ACCOUNT.replace('{ env = "SECRET" }', '{ command = ["sleep", "60"] }')
    file = read_accounts(stage.file(text))
    _, problems = await open_entries(file, session=None, options={}, environment=ENV, longest=0.1)
    return refusal(file.path, problems)


async def keep_going(stage: Stage) -> None:
    """Watch the accounts that can be watched."""
    path = stage.file(ACCOUNT.replace("desk", "bad").replace('"KEY"', '"NOTHING"') + ACCOUNT)
    async with Fleet.from_toml(path, environment=ENV, keep_going=True):
        pass


def waits(*reasons: Any, **options: Any) -> list[str]:
    """Return what a call waits for, in many words and in few."""
    given: dict[str, Any] = {"seconds": 12.4, "limit": 6000, "pool": "IP /papi", "origin": HOST["origin"]} | options
    found = [Waiting(reason=reason, **given) for reason in reasons]
    return [text for waiting in found for text in (waiting.text, waiting.brief)]
