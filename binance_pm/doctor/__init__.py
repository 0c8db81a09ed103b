"""What is wrong between here and an account: the key, the way to the exchange, permissions, product, budget.

`check` is what is told, `subjects` are the accounts and their keys, `key` looks at a key, `way` at the way to a host,
`clock` at the time, `account` at what the exchange says to a signed read, `limits` at the budget; `examination` joins
them. It reads, and changes nothing.
"""

from __future__ import annotations

from binance_pm.doctor.check import Check, CheckName, Verdict
from binance_pm.doctor.examination import examine
from binance_pm.doctor.targets import Target, target_from_environment, targets_from_file

__all__ = [
    "Check",
    "CheckName",
    "Target",
    "Verdict",
    "examine",
    "target_from_environment",
    "targets_from_file",
]
