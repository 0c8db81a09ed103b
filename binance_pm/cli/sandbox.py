"""``binance-pm sandbox``: the local exchange, for programs in any language."""

from __future__ import annotations

import threading

import msgspec

from binance_pm.sandbox import Account, Exchange, serve


def run(*, port: int, accounts: int, seed: int, json: bool) -> int:
    """Serve until Ctrl-C."""
    exchange = Exchange(accounts=accounts, seed=seed)
    with serve(exchange, port=port) as base_url:
        print(_as_json(base_url, exchange.accounts) if json else _as_text(base_url, exchange.accounts), flush=True)
        threading.Event().wait()
    return 0


def _as_text(base_url: str, accounts: list[Account]) -> str:
    first, *others = accounts
    lines = [
        f"The local exchange answers at {base_url} until Ctrl-C. Its keys are made up and work nowhere else.",
        "",
        f"# {first.label}: HMAC",
        f"export BINANCE_PM_BASE_URL={base_url}",
        f"export BINANCE_PM_API_KEY={first.hmac.api_key}",
        f"export BINANCE_PM_API_SECRET={first.hmac.secret}",
    ]
    for key in (first.ed25519, first.rsa):
        lines += ["", f"# {first.label}: {key.kind}", f"export BINANCE_PM_API_KEY={key.api_key}", key.secret.strip()]
    for account in others:
        lines += ["", f"# {account.label}: HMAC", f"{account.hmac.api_key} {account.hmac.secret}"]
    return "\n".join(lines)


def _as_json(base_url: str, accounts: list[Account]) -> str:
    listed = [
        {
            "label": account.label,
            "keys": [{"kind": key.kind, "apiKey": key.api_key, "secret": key.secret} for key in account.keys],
        }
        for account in accounts
    ]
    return msgspec.json.encode({"baseUrl": base_url, "accounts": listed}).decode()
