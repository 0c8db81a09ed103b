"""States of accounts and limits at a fixed time, without a fleet."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from binance_pm import AccountStatus, LimitType
from binance_pm.api.account import Account, UmAccount, UmAsset, UmPosition
from binance_pm.budget import Pool, PoolState, Priority, Waiting
from binance_pm.cli.dashboard.history import History
from binance_pm.enums import PositionSide
from binance_pm.fleet import AccountSnapshot, Reading, TimedResponse
from binance_pm.fleet.state import FleetState, GateState

NOON = 1_800_014_400.0
"""12:00:00Z of some day."""
HOST = "https://papi.binance.com"
MARGINS = ("1.6180", "1.7320", "1.9", "2.0001", "2.2360", "2.4999", "2.7182", "3.1415", "4.2", "5.5", "8", "1234.5678")


def responses(
    uni_mmr: str, *, status: AccountStatus = AccountStatus.NORMAL, at: float = NOON
) -> dict[str, TimedResponse]:
    """Return the responses of both endpoints of an account with an equity of 100,000."""
    margin = Decimal(100_000) / Decimal(uni_mmr)
    now, zero = int(1000 * NOON), Decimal("0.00000000")
    account = Account(
        uni_mmr=Decimal(uni_mmr),
        account_equity=Decimal("100000.12345678"),
        actual_equity=Decimal("101000.00000000"),
        account_initial_margin=round(2 * margin, 8),
        account_maint_margin=round(margin, 8),
        account_status=status,
        virtual_max_withdraw_amount=Decimal("900.00000000"),
        total_available_balance=None,
        total_margin_open_loss=None,
        update_time=now,
    )
    asset = UmAsset(
        asset="USDT",
        cross_wallet_balance=Decimal("90000.00000000"),
        cross_un_pnl=Decimal("-123.45000000"),
        maint_margin=round(margin, 8),
        initial_margin=round(2 * margin, 8),
        position_initial_margin=round(2 * margin, 8),
        open_order_initial_margin=zero,
        update_time=now,
    )
    held = [_position("BTCUSDT", "1.50000000", "-345.67000000"), _position("ETHUSDT", "-20.00000000", "222.22000000")]
    return {"account": TimedResponse(account, at), "um_account": TimedResponse(UmAccount([asset], held), at)}


def _position(symbol: str, amount: str, profit: str) -> UmPosition:
    return UmPosition(
        symbol=symbol,
        initial_margin=Decimal("4000.00000000"),
        maint_margin=Decimal("2000.00000000"),
        unrealized_profit=Decimal(profit),
        position_side=PositionSide.BOTH,
        position_amt=Decimal(amount),
        update_time=int(1000 * NOON),
        notional=Decimal(amount) * 40_000,
    )


def account(label: str, uni_mmr: str | None = "3", *, age: float | None = 1.5, **other: Any) -> AccountSnapshot:
    """Return an account that was read ``age`` seconds ago, or never if its uniMMR is None."""
    status = other.get("status", AccountStatus.NORMAL)
    read = responses(uni_mmr, status=status, at=NOON - (age or 0.0)) if uni_mmr else {}
    main = read["account"].response if read else None
    assert main is None or isinstance(main, Account)
    figures: dict[str, Any] = {
        "label": label,
        "product": "pm",
        "responses": read,
        "status": main and main.account_status,
        "uni_mmr": main and main.uni_mmr,
        "account_equity": main and main.account_equity,
        "account_maint_margin": main and main.account_maint_margin,
        "unrealized_profit": main and Decimal("-123.45"),
        "thresholds": {},
        "crossed": (),
        "age": age if uni_mmr else None,
        "ages": dict.fromkeys(("account", "um_account"), age if uni_mmr else None),
        "interval": 15.0,
        "max_age": 20.0,
        "is_stale": False,
        "error": "",
        "retry_at": None,
    }
    if "is_stale" in other and "ages" not in other:
        figures["stale_endpoints"] = ("account", "um_account") if other["is_stale"] else ()
    return AccountSnapshot(**(figures | other))


def calm() -> list[AccountSnapshot]:
    """Return twelve fresh accounts above every threshold."""
    return [account(f"desk-{place:02}", margin, age=place / 2) for place, margin in enumerate(MARGINS, 1)]


def changed(snapshots: list[AccountSnapshot], **by_label: dict[str, Any] | AccountSnapshot) -> list[AccountSnapshot]:
    """Return the accounts with changes by label, such as ``desk_03={"age": 9.0}``, or replaced."""

    def one(snapshot: AccountSnapshot) -> AccountSnapshot:
        new = by_label.get(snapshot.label.replace("-", "_"), {})
        if isinstance(new, AccountSnapshot):
            return new
        ages = {"ages": dict.fromkeys(snapshot.ages, new["age"])} if "age" in new else {}
        return msgspec.structs.replace(snapshot, **(ages | new))

    return [one(snapshot) for snapshot in snapshots]


def pools(
    used: int = 1234, *, closed: float = 0.0, external: int = 0, waiting: int = 0, waiting_for: Waiting | None = None
) -> list[PoolState]:
    """Return the pools of an IP and of two accounts."""
    figures: dict[str, Any] = {"in_flight": 0, "external": 0, "closed": 0.0, "waiting": dict.fromkeys(Priority, 0)}
    ip: dict[str, Any] = {
        "pool": Pool(HOST, "papi", LimitType.IP),
        "limit": 6000,
        "used": used,
        "in_flight": 25,
        "cap": 5980,
        "reserve": 600,
        "external": external,
        "closed": closed,
        "waiting": {Priority.ORDER: 0, Priority.POLL: waiting, Priority.BACKGROUND: 0},
        "waiting_for": waiting_for,
    }
    of_accounts: list[dict[str, Any]] = [
        {
            "pool": Pool(
                "https://api.binance.com", "sapi", LimitType.UID, f"desk-{place}", "/sapi/v1/portfolio/account"
            ),
            "limit": 180_000,
            "used": 5 * place,
            "cap": 179_000,
            "reserve": 9_000,
        }
        for place in (1, 2)
    ]
    return [PoolState(**(figures | pool)) for pool in (ip, *of_accounts)]


def fleet_state(
    accounts: list[AccountSnapshot], *, limits: list[PoolState] | None = None, gates: list[GateState] | None = None
) -> FleetState:
    """Return the state at noon."""
    return FleetState(at=NOON, accounts=accounts, pools=pools() if limits is None else limits, gates=gates or [])


def history_of(accounts: list[AccountSnapshot]) -> History:
    """Return a history in which the uniMMR of every account that was read has fallen."""
    history = History()
    for snapshot in accounts:
        for step in range(8, -1, -1) if snapshot.uni_mmr else ():
            assert snapshot.uni_mmr is not None
            read = responses(str(snapshot.uni_mmr * (100 + step) / 100))
            history.receive(Reading(label=snapshot.label, at=NOON - 2 * step, responses=read, changed={}))
    return history
