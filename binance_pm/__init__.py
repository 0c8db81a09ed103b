"""Asyncio SDK with rate-limit budgeting for Binance Portfolio Margin and Portfolio Margin Pro.

This project is not Binance's and is not endorsed by it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from binance_pm.api.account import Account, ProAccount, RiskUnit, SpanAccount, UmAccount, UmAsset, UmPosition
from binance_pm.api.connectivity import ServerTime
from binance_pm.attempt_event import AttemptEvent
from binance_pm.budget import (
    Admitted,
    Budget,
    BudgetEvent,
    LimitType,
    Plan,
    Pool,
    PoolPlan,
    PoolState,
    Priority,
    Refused,
    Waiting,
)
from binance_pm.client import Client
from binance_pm.endpoint import ENDPOINTS, Endpoint
from binance_pm.enums import AccountStatus, AccountType, PositionSide
from binance_pm.errors import (
    AuthenticationError,
    BudgetExceeded,
    CallInfo,
    ClockSkewError,
    ConfigurationError,
    ConnectError,
    DownloadFailed,
    ExchangeError,
    GateClosed,
    HistoryIncomplete,
    InvalidResponse,
    IpBanned,
    JournalError,
    NoResponse,
    NotDone,
    NotSent,
    OutcomeUnknown,
    PortfolioMarginError,
    RateLimited,
    RequestRejected,
    SessionClosed,
)
from binance_pm.session import Session
from binance_pm.transport.http import Timeouts
from binance_pm.version import VERSION

if TYPE_CHECKING:
    from binance_pm.budget.shared import SharedBudget
    from binance_pm.history import paginate
    from binance_pm.journal import JournalEntry, JournalReader, WriteEnded, WriteStarted, read_journal
    from binance_pm.stream.items import StreamDown, StreamGap
    from binance_pm.stream.policy import StreamSettings

__version__ = VERSION

__all__ = [
    "ENDPOINTS",
    "Account",
    "AccountStatus",
    "AccountType",
    "Admitted",
    "AttemptEvent",
    "AuthenticationError",
    "Budget",
    "BudgetEvent",
    "BudgetExceeded",
    "CallInfo",
    "Client",
    "ClockSkewError",
    "ConfigurationError",
    "ConnectError",
    "DownloadFailed",
    "Endpoint",
    "ExchangeError",
    "GateClosed",
    "HistoryIncomplete",
    "InvalidResponse",
    "IpBanned",
    "JournalEntry",
    "JournalError",
    "JournalReader",
    "LimitType",
    "NoResponse",
    "NotDone",
    "NotSent",
    "OutcomeUnknown",
    "Plan",
    "Pool",
    "PoolPlan",
    "PoolState",
    "PortfolioMarginError",
    "PositionSide",
    "Priority",
    "ProAccount",
    "RateLimited",
    "Refused",
    "RequestRejected",
    "RiskUnit",
    "ServerTime",
    "Session",
    "SessionClosed",
    "SharedBudget",
    "SpanAccount",
    "StreamDown",
    "StreamGap",
    "StreamSettings",
    "Timeouts",
    "UmAccount",
    "UmAsset",
    "UmPosition",
    "Waiting",
    "WriteEnded",
    "WriteStarted",
    "__version__",
    "paginate",
    "read_journal",
]


_LAZY = {
    "SharedBudget": "binance_pm.budget.shared",
    "JournalEntry": "binance_pm.journal",
    "JournalReader": "binance_pm.journal",
    "StreamDown": "binance_pm.stream.items",
    "StreamGap": "binance_pm.stream.items",
    "StreamSettings": "binance_pm.stream.policy",
    "WriteEnded": "binance_pm.journal",
    "WriteStarted": "binance_pm.journal",
    "paginate": "binance_pm.history",
    "read_journal": "binance_pm.journal",
}
"""What few programs need, by the module that has it."""


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
