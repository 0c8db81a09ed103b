"""Reading of the keys that the accounts file refers to: blocking reads run in a thread, and each has a time limit."""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, Final, NamedTuple, TypeVar

import anyio
import anyio.to_thread

from binance_pm.client import Client
from binance_pm.errors import ConfigurationError
from binance_pm.extras import installation
from binance_pm.fleet.accounts import AccountEntry, AccountsFile, Problem, Reference, Source
from binance_pm.fleet.processes import end_process
from binance_pm.session import Session
from binance_pm.signing import LARGEST_KEY, Secret, is_pem, key_form, read_key
from binance_pm.wakeup import waker

T = TypeVar("T")

LONGEST: Final = 30.0
"""Time limit in seconds for reading one key: a keyring or a password manager may ask the user."""
_CONCURRENT: Final = 8


async def open_entries(
    file: AccountsFile,
    *,
    session: Session | None,
    options: Mapping[str, Any],
    environment: Mapping[str, str],
    longest: float = LONGEST,
) -> tuple[dict[str, Client], list[Problem]]:
    """Return a client for each account of the file, by label, and the problems of accounts without a client.

    Args:
        file: the accounts.
        session: the session that the clients share.
        options: further arguments of `Client`.
        environment: the environment.
        longest: time limit in seconds for reading one key.
    """
    clients: dict[str, Client] = {}
    problems: list[Problem] = []
    limiter = anyio.Semaphore(_CONCURRENT)

    async def open_one(entry: AccountEntry) -> None:
        async with limiter:
            try:
                keys = await read_keys(entry, file.path.parent, environment, longest=longest)
                clients[entry.label] = await _client(entry, keys, session, options)
            except ConfigurationError as error:
                problems.append(Problem(entry.label, entry.line, error.reason))
            except ValueError as error:
                problems.append(Problem(entry.label, entry.line, str(error)))

    async with anyio.create_task_group() as tasks:
        for entry in file.entries:
            tasks.start_soon(open_one, entry)
    return clients, sorted(problems, key=lambda problem: problem.line)


class AccountKeys(NamedTuple):
    """The keys that the references of an account lead to, without surrounding white space."""

    api_key: Secret
    secret: Secret
    passphrase: Secret | None


async def read_keys(
    entry: AccountEntry, folder: Path, env: Mapping[str, str], *, longest: float = LONGEST
) -> AccountKeys:
    """Read the keys of one account.

    Args:
        entry: the account.
        folder: the folder of the accounts file.
        env: the environment.
        longest: time limit in seconds for reading one key.

    Raises:
        ValueError: a key cannot be read; the text gives the reason and contains no part of the key.
    """

    async def read(name: str, reference: Reference) -> Secret:
        source, words = reference
        try:
            with anyio.fail_after(longest):
                value = await _value(name, source, words, folder, env)
        except TimeoutError:
            raise ValueError(f"{name}: the {source} did not respond within {longest:g} s") from None
        if not value.strip():
            raise ValueError(f"{name}: {_EMPTY[source].format(*words)}")
        return Secret(value.strip())

    return AccountKeys(
        await read("api_key", entry.api_key),
        await read("private_key" if entry.is_private_key else "api_secret", entry.secret),
        entry.passphrase and await read("passphrase", entry.passphrase),
    )


async def _client(
    entry: AccountEntry, keys: AccountKeys, session: Session | None, options: Mapping[str, Any]
) -> Client:
    key, secret, passphrase = keys

    def make() -> Client:
        # Not a partial, because its repr would show the arguments.
        return Client(
            key.reveal().decode(errors="surrogateescape"),
            secret.reveal(),
            passphrase=passphrase and passphrase.reveal(),
            label=entry.label,
            session=session,
            **options,
        )

    if not entry.is_private_key:
        return make()
    if not is_pem(secret.reveal()):
        raise ValueError(f"private_key is {key_form(secret.reveal()) or 'not PEM'}")
    # Decrypting a private key is slow by design.
    return await anyio.to_thread.run_sync(make, abandon_on_cancel=True)


_EMPTY: Final[Mapping[Source, str]] = {
    "env": "the variable {0} is not set",
    "file": "the file {0} is empty",
    "command": "the command {0} printed nothing",
    "keyring": "the keyring has no key named {1} of the service {0}",
}


async def _value(name: str, source: Source, words: tuple[str, ...], folder: Path, env: Mapping[str, str]) -> bytes:
    match source:
        case "env":
            return os.fsencode(env.get(words[0], ""))
        case "file":
            return await _aside(_file, name, folder, words[0])
        case "command":
            return await _command(name, words, folder)
        case "keyring":
            return await _aside(_keyring, name, *words)


async def _aside(function: Callable[..., T], *arguments: object) -> T:
    """Run a function that may block forever in a daemon thread, so that the program can exit meanwhile."""
    outcome: Future[T] = Future()
    is_done = anyio.Event()
    wake = waker(is_done.set)

    def work() -> None:
        try:
            outcome.set_result(function(*arguments))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller
            outcome.set_exception(error)
        wake()

    Thread(target=work, name="binance-pm key", daemon=True).start()
    await is_done.wait()
    return outcome.result()


def _file(name: str, folder: Path, path: str) -> bytes:
    try:
        place = folder / Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{name}: the home directory in the path {path} is unknown") from None
    return read_key(place, f"{name}: the file", is_secret=name != "api_key")


async def _command(name: str, words: tuple[str, ...], folder: Path) -> bytes:
    """Return the output of a program, run without a shell; stderr may contain secrets and is discarded."""
    try:
        process = await anyio.open_process(
            words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, start_new_session=True
        )
    except OSError as error:
        raise ValueError(f"{name}: the command {words[0]} cannot be run: {error.strerror}") from None
    assert process.stdout is not None  # noqa: S101 - for the type checker
    printed, is_done = bytearray(), False
    try:
        with suppress(anyio.EndOfStream):
            while len(printed) <= LARGEST_KEY:
                printed += await process.stdout.receive()
        if len(printed) <= LARGEST_KEY:
            await process.wait()
            is_done = True
    finally:
        with anyio.CancelScope(shield=True):
            await end_process(process, kill=not is_done)
    if not is_done:
        raise ValueError(f"{name}: the command {words[0]} printed more than {LARGEST_KEY} bytes, the longest key")
    if process.returncode:
        raise ValueError(f"{name}: the command {words[0]} ended with status {process.returncode}")
    return bytes(printed)


def _keyring(name: str, service: str, user: str) -> bytes:
    try:
        keyring: Any = importlib.import_module("keyring")
    except ImportError:
        raise ValueError(f"{name}: a keyring needs the extra `keyring`: {installation('keyring')}") from None
    try:
        found: str | None = keyring.get_password(service, user)
    except Exception as error:  # noqa: BLE001 - backends raise their own errors, which may quote a secret
        raise ValueError(f"{name}: the keyring failed with {type(error).__name__}") from None
    return (found or "").encode(errors="surrogateescape")
