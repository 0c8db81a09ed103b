"""Diagnosis of the setup of an account: key, network path to the exchange, permissions, product, budget.

`check` defines the results, `targets` the accounts and their keys. `key` checks a key, `network` the path to a host,
`clock` the time, `account` the responses to signed reads, and `limits` the budget. `stream_watch` observes user data
streams, `stream_facts` holds the observations, `stream_checks` and `stream_events` check them, and
`stream_examination` runs these steps for all accounts. `examination` runs all checks. The checks only read; those of
streams also create or extend the listen key.
"""

from __future__ import annotations

from binance_pm.doctor.check import Check, CheckName, StreamCheckName, Verdict
from binance_pm.doctor.examination import examine
from binance_pm.doctor.stream_examination import StreamOptions
from binance_pm.doctor.targets import Target, target_from_environment, targets_from_file

__all__ = [
    "Check",
    "CheckName",
    "StreamCheckName",
    "StreamOptions",
    "Target",
    "Verdict",
    "examine",
    "target_from_environment",
    "targets_from_file",
]
