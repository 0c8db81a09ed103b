"""The account of a command: an account of a file, chosen by its label, or the account of the environment's keys."""

from __future__ import annotations

import os
from pathlib import Path

from binance_pm.client import Client
from binance_pm.environment import environment_stream_url, environment_urls
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.fleet.accounts import read_accounts, refusal
from binance_pm.fleet.keys import open_entries


async def client_of(label: str, accounts: Path | None) -> Client:
    """Return a client for the account with a label; the client is not open yet.

    Args:
        label: the label in the accounts file; without a file, the label to give to the account of the environment.
        accounts: the accounts file; None for the keys of the environment.

    Raises:
        ConfigurationError: the file has no such account, or a key cannot be read.
    """
    if accounts is None:
        return Client.from_env(label=label)
    file = read_accounts(_expanded(accounts))
    chosen = [entry for entry in file.entries if entry.label == label]
    problems = [problem for problem in file.problems if problem.label == label]
    if not chosen and not problems:
        # An account with a mistake belongs to the file, too.
        labels = ", ".join(each.label for each in (*file.entries, *file.problems))
        raise ConfigurationError(CallInfo("--accounts"), f"{file.path} has no account {label}. Its accounts: {labels}")
    options = environment_urls(os.environ) | environment_stream_url(os.environ) | file.urls
    clients, more = await open_entries(
        file._replace(entries=chosen), session=None, options=options, environment=os.environ
    )
    if problems or more:
        raise refusal(file.path, [*problems, *more])
    return clients[label]


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigurationError(CallInfo("--accounts"), f"the home directory in the path {path} is unknown") from None
