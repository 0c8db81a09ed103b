"""``binance-pm sandbox``: the local exchange, for programs in any language."""

from __future__ import annotations

import os
import shlex
import threading
from pathlib import Path
from typing import Final

import msgspec

from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.fleet.products import BY_ACCOUNT_TYPE
from binance_pm.sandbox import Exchange, SimulatedAccount, serve

_MARK: Final = "# Written by `binance-pm sandbox`, which may overwrite this file.\n"


def run(*, port: int, accounts: int, seed: int, keys: bool, accounts_file: Path | None, json: bool) -> int:
    """Serve until Ctrl-C.

    Raises:
        ConfigurationError: the path of the accounts file belongs to another file.
        OSError: listening on the port failed, or the accounts file cannot be written.
    """
    exchange = Exchange(accounts=accounts, seed=seed)
    if accounts_file is not None:
        _check_ours(accounts_file)
    with serve(exchange, port=port) as base_url:
        if accounts_file is not None:
            _write(accounts_file, base_url, exchange.accounts)
        text = _as_json(base_url, exchange.accounts)
        if not json:
            text = _as_text(base_url, exchange.accounts, keys=keys, accounts_file=accounts_file)
        print(text, flush=True)
        threading.Event().wait()
    return 0


def _as_text(base_url: str, accounts: list[SimulatedAccount], *, keys: bool, accounts_file: Path | None) -> str:
    """Return the text to print; the lines to paste come last, because earlier lines may have scrolled away."""
    first, *others = accounts
    lines: list[str] = []
    if keys:
        for account in others:
            lines += [f"# {account.label}: HMAC", f"{account.hmac.api_key} {account.hmac.secret}", ""]
        for key in (first.ed25519, first.rsa):
            lines += [f"# {first.label}: {key.kind}", key.api_key, key.secret.strip(), ""]
    else:
        lines += ["--keys also prints private keys and the keys of the other accounts. --accounts-file FILE"]
        lines += ["writes a file of all accounts for `binance-pm watch --accounts FILE`.", ""]
    lines += [
        f"The local exchange listens at {base_url} until Ctrl-C.",
        "Its keys are generated and work nowhere else. Paste into another terminal:",
        "",
        f"# {first.label}: HMAC",
        f"export BINANCE_PM_BASE_URL={base_url}",
        f"export BINANCE_PM_API_KEY={first.hmac.api_key}",
        f"export BINANCE_PM_API_SECRET={first.hmac.secret}",
    ]
    if accounts_file is not None:
        lines += [
            "",
            f"# all {len(accounts)} accounts",
            f"binance-pm watch --accounts {shlex.quote(str(accounts_file))}",
        ]
    return "\n".join(lines)


def _as_json(base_url: str, accounts: list[SimulatedAccount]) -> str:
    listed = [
        {
            "label": account.label,
            "keys": [{"kind": key.kind, "apiKey": key.api_key, "secret": key.secret} for key in account.keys],
        }
        for account in accounts
    ]
    return msgspec.json.encode({"baseUrl": base_url, "accounts": listed}).decode()


def _check_ours(path: Path) -> None:
    """Check that no file of another program would be overwritten.

    Raises:
        ConfigurationError: the file or its folder of keys exists and was not written by a local exchange.
    """
    try:
        # A symbolic link, or a path that is not a regular file, is not ours either.
        is_ours = not path.is_symlink() and path.is_file() and path.read_bytes().startswith(_MARK.encode())
    except OSError as error:
        raise _cannot_write(path, error) from error
    for place in (path, _folder_of(path)):
        if not is_ours and os.path.lexists(place):
            what = f"{place} exists and was not written by a local exchange"
            raise ConfigurationError(CallInfo("--accounts-file"), what, advice="Name another file.")


def _write(path: Path, base_url: str, accounts: list[SimulatedAccount]) -> None:
    """Write the accounts file, and next to the file a folder with the key files that it refers to."""
    folder = _folder_of(path)
    text = f'{_MARK}base_url = "{base_url}"\n'
    files: dict[str, str] = {}
    for account in accounts:
        product = BY_ACCOUNT_TYPE[account.account_type].name
        text += f'\n[[accounts]]\nlabel = "{account.label}"\nproduct = "{product}"\n'
        for name, value in (("api_key", account.hmac.api_key), ("api_secret", account.hmac.secret)):
            file = f"{account.label}.{name}"
            files[file] = value
            text += f"{name} = {{ file = {msgspec.json.encode(f'{folder.name}/{file}').decode()} }}\n"
    try:
        # The accounts file comes first: its mark identifies the folder as ours even if writing is not completed.
        _write_private(path, text)
        folder.mkdir(mode=0o700, exist_ok=True)
        for file, value in files.items():
            _write_private(folder / file, value)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _folder_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.keys")


def _write_private(path: Path, text: str) -> None:
    """Write a new file that only its owner may read."""
    path.unlink(missing_ok=True)
    path.touch(0o600, exist_ok=False)
    path.write_text(text, encoding="utf-8")


def _cannot_write(path: Path, error: OSError) -> OSError:
    return OSError(error.errno, f"cannot write {path}: {error.strerror}")
