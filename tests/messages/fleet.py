"""The accounts file and its keys, the events of a fleet in words, and why a call waits."""

from __future__ import annotations

import sys
from decimal import Decimal
from types import ModuleType
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
)
from binance_pm.fleet.accounts import read_accounts, refusal
from binance_pm.fleet.keys import open_entries
from tests.messages.stage import KEY, SECRET, Scenario, Stage

KEYS = 'api_key = { env = "KEY" }\napi_secret = { env = "SECRET" }\n'
ACCOUNT = '[[accounts]]\nlabel = "desk"\nproduct = "pm"\n' + KEYS
AT = 1_800_000_010.0
ENV = {"KEY": KEY, "SECRET": SECRET}


def accounts(text: str | bytes, **options: Any) -> Scenario:
    """An accounts file that cannot be used."""
    return lambda stage: Fleet.from_toml(stage.file(text, name="accounts.toml"), **options)


def field(line: str) -> Scenario:
    """An account with one more field, or another value of a field."""
    name = line.partition(" ")[0]
    kept = [old for old in ACCOUNT.splitlines() if not old.startswith(f"{name} ")]
    return accounts("\n".join([*kept, line]))


def without(name: str) -> Scenario:
    """An account that lacks a field."""
    return accounts("\n".join(line for line in ACCOUNT.splitlines() if not line.startswith(f"{name} ")))


def key(reference: str, name: str = "api_secret", **files: tuple[str | bytes, int]) -> Scenario:
    """A key that is not where the file says."""
    lines = [line for line in ACCOUNT.splitlines() if not line.startswith("api_secret")]
    text = "\n".join([*lines, f"{name} = {reference}"])

    async def act(stage: Stage) -> None:
        async with Fleet.from_toml(stage.file(text, name="accounts.toml"), environment=ENV):
            pass

    def scenario(stage: Stage) -> object:
        for file, (content, mode) in files.items():
            stage.file(content, name=file, mode=mode)
        return act(stage)

    return scenario


def keyring(stage: Stage, user: str, module: ModuleType | None) -> object:
    """A keyring that does not hand out the key."""
    stage.patch.setitem(sys.modules, "keyring", module)
    return key(f'{{ keyring = {{ service = "binance", name = "{user}" }} }}')(stage)


async def hanging(stage: Stage) -> object:
    """A command that takes too long."""
    text = ACCOUNT.replace('{ env = "SECRET" }', '{ command = ["sleep", "60"] }')
    file = read_accounts(stage.file(text))
    _, problems = await open_entries(file, session=None, options={}, environment=ENV, longest=0.1)
    return refusal(file.path, problems)


async def keep_going(stage: Stage) -> None:
    """A fleet that watches the accounts that can be watched."""
    path = stage.file(ACCOUNT.replace("desk", "bad").replace('"KEY"', '"NOTHING"') + ACCOUNT)
    async with Fleet.from_toml(path, environment=ENV, keep_going=True):
        pass


class Keyring(ModuleType):
    """In place of the library."""

    def get_password(self, _: str, user: str) -> str | None:
        """Fail for one user, know nothing of another."""
        if user == "locked":
            raise RuntimeError
        return None


def told(**kinds: FleetEvent) -> dict[str, Scenario]:
    """Events in words."""
    return {
        f"event.{name.replace('_', ' ')}": lambda _, event=event: describe_event(event) for name, event in kinds.items()
    }


def entry(event: Any) -> Scenario:
    """An entry of a stream in words."""
    return lambda _: as_text(StreamEntry(shard="1/2", run="r", number=1, event=event, text="{}"))


def waits(**options: Any) -> Scenario:
    """What a call waits for, in words and in few."""
    given: dict[str, Any] = {
        "origin": "https://papi.binance.com",
        "pool": "IP /papi",
        "seconds": 12.4,
        "limit": 6000,
    } | options
    waiting = Waiting(**given)
    return lambda _: [waiting.text, waiting.brief]


FILE: dict[str, Scenario] = {
    "file.missing": lambda stage: Fleet.from_toml(stage.folder / "accounts.toml"),
    "file.null character": lambda _: Fleet.from_toml("a\0b"),
    "file.no UTF-8": accounts(b"\xff"),
    "file.no TOML": accounts("[[accounts]"),
    "file.unknown": accounts("account = 1"),
    "file.empty": accounts(""),
    "file.no tables": accounts("accounts = [1]"),
    "file.base_url no text": accounts(f"base_url = 1\n{ACCOUNT}"),
    "file.base_url": accounts(f'base_url = "papi"\n{ACCOUNT}'),
    "file.shard": accounts(ACCOUNT, shard=(3, 2)),
    "file.same label": accounts(ACCOUNT + ACCOUNT),
    "file.two problems": accounts(f"{ACCOUNT}x = 1\n{ACCOUNT}y = 1"),
    "account.unknown field": field("secret = 1"),
    "account.no label": without("label"),
    "account.label": field("label = 1"),
    "account.label a key": field(f'label = "{KEY}"'),
    "account.no product": without("product"),
    "account.product": field('product = "spot"'),
    "account.read": field('read = "account"'),
    "account.read unknown": field('read = ["spot"]'),
    "account.no key": without("api_key"),
    "account.no secret": without("api_secret"),
    "account.two secrets": field('private_key = { env = "KEY" }'),
    "account.key literal": field(f'api_key = "{KEY}"'),
    "account.key no table": field("api_key = 1"),
    "account.key env": field("api_key = { env = 1 }"),
    "account.key file": field("api_key = { file = 1 }"),
    "account.key command": field('api_key = { command = "pass" }'),
    "account.key keyring": field('api_key = { keyring = "binance" }'),
    "account.key in a reference": field(f'api_key = {{ env = "{KEY}" }}'),
    "account.passphrase": field('passphrase = { env = "KEY" }'),
    "account.warn": field("warn = true"),
    "account.warn no number": field('warn = "much"'),
    "account.alarm": field("alarm = 0"),
    "account.lines": field('warn = "1.2"\nalarm = "1.5"'),
    "key.variable": key('{ env = "NOTHING" }'),
    "key.file missing": key('{ file = "nothing" }'),
    "key.file empty": key('{ file = "empty" }', empty=("", 0o600)),
    "key.file for everybody": key('{ file = "open" }', open=(SECRET, 0o644)),
    "key.file of no home": key('{ file = "~nobody-of-this-name/x" }'),
    "key.command missing": key('{ command = ["./nothing"] }'),
    "key.command fails": key('{ command = ["false"] }'),
    "key.command silent": key('{ command = ["true"] }'),
    "key.command prints much": key('{ command = ["head", "-c", "100000", "/dev/zero"] }'),
    "key.command hangs": hanging,
    "key.one of two": keep_going,
    "key.private key no PEM": key('{ env = "SECRET" }', "private_key"),
    "key.keyring not installed": lambda stage: keyring(stage, "desk", None),
    "key.keyring knows nothing": lambda stage: keyring(stage, "desk", Keyring("keyring")),
    "key.keyring fails": lambda stage: keyring(stage, "locked", Keyring("keyring")),
}

FAILED: dict[str, Any] = {
    "at": AT,
    "label": "desk",
    "endpoint": "account",
    "error": "no answer",
    "error_type": "NoResponse",
}
EVENTS = told(
    reading=Reading(
        at=AT,
        label="desk",
        responses={},
        changed={"uni_mmr": Change(None, Decimal(2)), "account_equity": Change(Decimal(1), None)},
    ),
    reading_unchanged=Reading(at=AT, label="desk", responses={}, changed={}),
    status=StatusChanged(at=AT, label="desk", before=AccountStatus.NORMAL, after=AccountStatus.MARGIN_CALL),
    below=ThresholdCrossed(
        at=AT, label="desk", name="warn", threshold=Decimal("1.5"), below=True, uni_mmr=Decimal("1.4")
    ),
    above=ThresholdCrossed(at=AT, label="desk", name="warn", threshold=Decimal("1.5"), below=False, uni_mmr=Decimal(2)),
    stale=Stale(
        at=AT,
        label="desk",
        age=12.0,
        bound=10.0,
        reason="no answer",
        ages={"account": 12.0},
        stale_endpoints=("account",),
    ),
    stale_never_read=Stale(at=AT, label="desk", age=None, bound=10.0, reason="no answer"),
    stale_in_part=Stale(
        at=AT,
        label="desk",
        age=12.0,
        bound=10.0,
        reason="no answer",
        ages={"account": 1.0, "um_account": 12.0},
        stale_endpoints=("um_account",),
    ),
    fresh=Fresh(at=AT, label="desk", age=0.5),
    failed=AccountFailed(**FAILED, retry_at=AT + 5),
    failed_for_ever=AccountFailed(**FAILED, retry_at=None),
    refused=HostBlocked(at=AT, origin="https://papi.binance.com", until=AT + 30, banned=False),
    banned=HostBlocked(at=AT, origin="https://papi.binance.com", until=AT + 30, banned=True),
    open_again=HostUnblocked(at=AT, origin="https://papi.binance.com"),
    tight=BudgetTight(at=AT, pool="IP /papi", wanted=7000.0, available=5400.0, interval=40.0, is_tight=True),
    fits=BudgetTight(at=AT, pool="IP /papi", wanted=500.0, available=5400.0, interval=30.0, is_tight=False),
)
ENTRIES: dict[str, Scenario] = {
    "entry.started": entry(Started(at=AT, shard="1/2", since=None, previous_run=None, previous_number=0)),
    "entry.started again": entry(Started(at=AT, shard="1/2", since=AT - 60, previous_run="q", previous_number=7)),
    "entry.missed": entry(Missed(at=AT, shard="1/2", entries=3)),
    "entry.gap": entry(Gap(at=AT, shard="1/2", readings=2, events=1, vanished=3, since=AT - 60, until=AT)),
    "entry.unknown": entry(None),
}
WAITS: dict[str, Scenario] = {
    **{
        f"waits.{reason}": waits(reason=reason)
        for reason in ("gate", "responses", "probe", "pace", "store", "turn", "slot", "connection", "response", "retry")
    },
    "waits.minute": waits(reason="minute", used=6000),
    "waits.minute of others": waits(reason="minute", used=6000, external=4000),
    "waits.minute of others alone": waits(reason="minute", used=4000, external=4000),
    "waits.reserve": waits(reason="reserve", used=4000),
    "waits.reserve of others": waits(reason="reserve", used=4000, external=3000),
    "waits.gate for unknown": waits(reason="gate", seconds=None),
}
SCENARIOS = FILE | EVENTS | ENTRIES | WAITS
