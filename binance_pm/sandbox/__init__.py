"""A strict local exchange that simulates Binance Portfolio Margin, without a key or a network.

Binance has no Portfolio Margin testnet. This package checks signatures, timestamps and parameters, counts weight by the
clock minute, refuses requests, bans clients, matches orders, keeps balances, positions and loans, and produces faults
on demand, for demos and tests.

    with serve(Exchange()) as url:
        ...  # any client, pointed at url

In memory, ``create_app(exchange)`` is an ASGI application. Amounts, accounts and keys are generated from a seed: the
same seed generates the same exchange.
"""

from __future__ import annotations

from binance_pm.sandbox.account import SimulatedAccount
from binance_pm.sandbox.app import create_app
from binance_pm.sandbox.exchange import Exchange
from binance_pm.sandbox.faults import WRITE_FAULTS, Fault
from binance_pm.sandbox.server import serve
from binance_pm.sandbox.stream_faults import StreamFault
from binance_pm.sandbox.streams import StreamRules

__all__ = [
    "WRITE_FAULTS",
    "Exchange",
    "Fault",
    "SimulatedAccount",
    "StreamFault",
    "StreamRules",
    "create_app",
    "serve",
]
