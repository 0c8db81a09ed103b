"""The accounts that are examined, and the sources of their keys."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import anyio
import msgspec

from binance_pm.doctor.check import Check
from binance_pm.environment import environment_keys
from binance_pm.errors import ConfigurationError
from binance_pm.fleet.accounts import AccountEntry, Reference, read_accounts
from binance_pm.fleet.keys import read_keys
from binance_pm.fleet.products import ProductName
from binance_pm.signing import Secret, read_key

_KEY_SECONDS: Final = 10.0
_AT_ONCE: Final = 8


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An account and its key; no textual representation shows the key."""

    label: str = ""
    """Label of the account; empty if there is only one account."""
    origin: str
    """Text that names the sources of key and secret."""
    api_key: Secret
    """The API key, hidden in every textual representation."""
    secret: Secret
    """An HMAC secret, or a private key in PEM."""
    is_private_key: bool = False
    """Whether the secret was given as a private key."""
    passphrase: Secret | None = None
    """Passphrase of an encrypted private key; None if there is none."""
    product: ProductName | None = None
    """The expected product; None if any product is accepted."""
    read: tuple[str, ...] = ("account", "span_account", "pro_account")
    """Endpoints that are read; one must succeed, or all of them if the product is given."""

    @property
    def fingerprint(self) -> str:
        """A digest of the API key, which distinguishes keys without revealing them."""
        return hashlib.sha256(self.api_key.reveal()).hexdigest()[:8]


def target_from_environment(environment: Mapping[str, str] | None = None) -> Target | Check:
    """Return the account whose keys are in the environment, or a failed check; see `Client.from_env`."""
    env = os.environ if environment is None else environment
    try:
        keys = environment_keys(env)
        secret = keys["api_secret"]
        name = "BINANCE_PM_PRIVATE_KEY_FILE" if isinstance(secret, Path) else "BINANCE_PM_API_SECRET"
        held = read_key(secret, "the private key file") if isinstance(secret, Path) else secret
    except ConfigurationError as error:
        is_twice = error.reason.startswith("both")
        advice = "Unset one." if is_twice else "Set the variable. Without a key: binance-pm doctor --sandbox."
        return Check("configuration", "", "failed", error.reason, advice)
    except ValueError as error:
        return Check("configuration", "", "failed", str(error), "Name a file that only you can read.")
    passphrase = keys["passphrase"]
    return Target(
        origin=f"BINANCE_PM_API_KEY and {name}",
        api_key=Secret(keys["api_key"]),
        secret=Secret(held),
        is_private_key=isinstance(secret, Path),
        passphrase=None if passphrase is None else Secret(passphrase),
    )


async def targets_from_file(path: Path, environment: Mapping[str, str] | None = None) -> list[Target | Check]:
    """Return the accounts of a file, each with its keys, or a failed check for an account with a mistake.

    Accounts with mistakes in the file come first, then the others in the order of the file.

    Raises:
        ConfigurationError: the file cannot be read, is not TOML, or has no accounts.
    """
    file = read_accounts(path)
    env = os.environ if environment is None else environment
    found: dict[int, Target | Check] = {}
    places = anyio.Semaphore(_AT_ONCE)

    async def open_one(place: int, entry: AccountEntry) -> None:
        async with places:
            found[place] = await _target(entry, path.parent, env)

    async with anyio.create_task_group() as tasks:
        for place, entry in enumerate(file.entries):
            tasks.start_soon(open_one, place, entry)
    faulty = [
        Check("configuration", label, "failed", f"line {line}: {text}", f"Correct line {line} of {path}.")
        for label, line, text in file.problems
    ]
    return [*faulty, *(found[place] for place in sorted(found))]


async def _target(entry: AccountEntry, folder: Path, env: Mapping[str, str]) -> Target | Check:
    try:
        api_key, secret, passphrase = await read_keys(entry, folder, env, longest=_KEY_SECONDS)
    except ValueError as error:
        advice = f"Provide the key, or correct the account at line {entry.line} of the file."
        return Check("configuration", entry.label, "failed", f"line {entry.line}: {error}", advice)
    return Target(
        label=entry.label,
        origin=f"{_place(entry.api_key)} and {_place(entry.secret)}",
        api_key=api_key,
        secret=secret,
        is_private_key=entry.is_private_key,
        passphrase=passphrase,
        product=entry.product,
        read=entry.read,
    )


def _place(reference: Reference) -> str:
    source, words = reference
    match source:
        case "env":
            return words[0]
        case "file":
            return f"the file {words[0]}"
        case "command":
            # The arguments may contain a secret.
            return f"the command {words[0]}"
        case "keyring":
            return f"the keyring's {' '.join(words)}"
