"""The accounts file: the accounts, the endpoints read for each, and the sources of their keys; never the keys.

A file is TOML with a table ``[[accounts]]`` for each account and an optional ``base_url`` above them::

    [[accounts]]
    label = "desk-1"
    product = "pm"
    api_key = { env = "DESK_1_KEY" }
    api_secret = { command = ["pass", "show", "binance/desk-1"] }
    warn = "2.0"

All mistakes in the file are reported together, each with its line and account.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar, cast, get_args

import msgspec

from binance_pm.endpoint import ENDPOINTS, Endpoint
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.fleet.products import HEADLINES, PRODUCTS, ProductName
from binance_pm.fleet.thresholds import threshold_value, thresholds_of
from binance_pm.hosts import check_url
from binance_pm.wire import Model

T = TypeVar("T")

Source = Literal["env", "file", "command", "keyring"]

_CALL: Final = CallInfo("Fleet.from_toml")
_LONGEST_LABEL: Final = 64
_FIELDS: Final = (
    "label",
    "product",
    "read",
    "api_key",
    "api_secret",
    "private_key",
    "passphrase",
    "warn",
    "alarm",
    "stream",
)
# The format of every API key and HMAC secret of the exchange.
_KEY: Final = re.compile(r"[A-Za-z0-9]{64}")
_ADVICE: Final = 'give its source, such as { env = "NAME" }'


class Reference(NamedTuple):
    """The source of a key."""

    source: Source
    words: tuple[str, ...]
    """The variable, the path, the program and its arguments, or the service and the name."""


class AccountEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One account of the file."""

    label: str
    line: int
    """Line number of the account in the file."""
    product: ProductName
    read: tuple[str, ...]
    """Names of endpoints."""
    api_key: Reference
    secret: Reference
    is_private_key: bool
    """Whether the secret is a private key rather than an HMAC secret."""
    passphrase: Reference | None
    warn: Decimal | None
    alarm: Decimal | None
    stream: bool = False
    """Whether to open the user data stream of the account."""


class Problem(NamedTuple):
    """The mistakes in one account of the file."""

    label: str
    """The account's label; ``#3`` for the third account if its label is missing or invalid."""
    line: int
    text: str


class AccountsFile(NamedTuple):
    """The content of an accounts file."""

    path: Path
    entries: list[AccountEntry]
    problems: list[Problem]
    base_url: str | None = None
    """URL of both hosts, if they are not Binance's."""

    @property
    def urls(self) -> dict[str, Any]:
        """The URLs that the file sets, as arguments of `Client`; empty if the file sets none."""
        return {"papi_url": self.base_url, "sapi_url": self.base_url} if self.base_url else {}


def read_accounts(path: Path) -> AccountsFile:
    """Read the file and collect the mistakes in single accounts.

    Raises:
        ConfigurationError: the file cannot be read, is not TOML, or has no accounts.
    """
    text, tables, base_url = _tables(path)
    lines = _header_lines(text, len(tables))
    entries: list[AccountEntry] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for place, (table, line) in enumerate(zip(tables, lines, strict=True), 1):
        label = _or_none(_label, table.get("label")) or f"#{place}"
        entry, faults = _entry(table, line)
        if label in seen:
            faults.append(f"the account of line {seen[label]} has the same label")
        seen.setdefault(label, line)
        if entry is None or faults:
            problems.append(Problem(label, line, "; ".join(faults)))
        else:
            entries.append(entry)
    return AccountsFile(path, entries, problems, base_url)


def part_of(file: AccountsFile, number: int, shards: int) -> AccountsFile:
    """Return the accounts of a file that one of several processes watches.

    Raises:
        ConfigurationError: ``number`` is not from 1 to ``shards``.
    """
    try:
        ours = set(shard([one.label for one in (*file.entries, *file.problems)], number, shards))
    except ValueError as error:
        raise ConfigurationError(_CALL, str(error)) from None
    return file._replace(
        entries=[entry for entry in file.entries if entry.label in ours],
        problems=[problem for problem in file.problems if problem.label in ours],
    )


def refusal(path: Path, problems: Iterable[Problem]) -> ConfigurationError:
    """Return one error for all mistakes in the accounts of a file."""
    mistakes = "; ".join(f"line {line} [{label}]: {text}" for label, line, text in problems)
    return ConfigurationError(_CALL, f"{path}: {mistakes}")


def shard(labels: Iterable[str], number: int, shards: int) -> list[str]:
    """Return the labels that one of several processes watches, in the order given.

    Every label belongs to exactly one process, determined by its text and the number of processes alone. If a process
    is added, each label stays with its process or moves to the new one. If the last process is removed, only its labels
    move.

    Args:
        labels: the labels of all accounts.
        number: number of the process, from 1.
        shards: number of processes.

    Raises:
        ValueError: ``number`` is not from 1 to ``shards``.
    """
    if not 1 <= number <= shards:
        raise ValueError(f"there is no shard {number} of {shards}: shards are numbered from 1")

    def home(label: str) -> int:
        # Rendezvous hashing: the process with the highest hash for the label.
        return max(range(1, shards + 1), key=lambda number: hashlib.sha256(f"{number}:{label}".encode()).digest())

    return [label for label in labels if home(label) == number]


def check_read(names: object) -> tuple[str, ...]:
    """Return the endpoints to read for an account.

    Raises:
        ValueError: an endpoint does not exist or does not return a snapshot of an account, an endpoint is named twice,
            or not exactly one of them returns uniMMR.
    """
    if not isinstance(names, list | tuple) or not names:
        raise ValueError('read is not a list of endpoints, such as ["account", "um_account"]')
    chosen = [_endpoint_name(name) for name in cast("Iterable[object]", names)]
    if len(set(chosen)) < len(chosen):
        raise ValueError("read names an endpoint twice")
    if sum(name in HEADLINES for name in chosen) != 1:
        raise ValueError(f"read must name exactly one of {', '.join(HEADLINES)}, which return uniMMR and status")
    return tuple(chosen)


def _tables(path: Path) -> tuple[str, list[Mapping[str, Any]], str | None]:
    if "\0" in str(path):
        raise ConfigurationError(_CALL, "the path contains a null character")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(_CALL, f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(_CALL, f"{path} is not UTF-8") from None
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, ValueError, ArithmeticError, RecursionError) as error:
        # The text of the error may quote a secret from the file; its position is enough.
        place = re.search(r"\(at ([\w ,]+)\)$", str(error))
        where = f" (at {place[1]})" if place else ""
        raise ConfigurationError(_CALL, f"{path} is not TOML{where}") from None
    if unknown := [_shown(name) for name in document if name not in {"accounts", "base_url"}]:
        raise ConfigurationError(_CALL, f"{path}: unknown: {', '.join(unknown)}; expected base_url and [[accounts]]")
    tables: object = document.get("accounts")
    if not isinstance(tables, list) or not tables:
        raise ConfigurationError(_CALL, f"{path} has no [[accounts]]")
    if not all(isinstance(table, dict) for table in cast("list[object]", tables)):
        raise ConfigurationError(_CALL, f"{path}: accounts is not a list of tables: write [[accounts]] above each")
    return text, cast("list[Mapping[str, Any]]", tables), _base_url(path, document.get("base_url"))


def _base_url(path: Path, value: object) -> str | None:
    if value is None:
        return None
    try:
        return check_url(value if isinstance(value, str) else "", allow_custom_host=False)
    except ValueError as error:
        raise ConfigurationError(_CALL, f"{path}: base_url: {error}") from None


_HEADER: Final = re.compile(
    r"""^[ \t]*(\[\[[ \t]*(accounts|"accounts"|'accounts')[ \t]*\]\]|accounts[ \t]*=)""", re.MULTILINE
)


def _header_lines(text: str, accounts: int) -> list[int]:
    """Return the line of each account; the first line for all if they are not written as ``[[accounts]]``."""
    places = [match.start() for match in _HEADER.finditer(text)]
    if len(places) > accounts:
        # A multi-line string may contain text that looks like a header: the lines above are then not valid TOML.
        places = [place for place in places if _or_none(tomllib.loads, text[:place]) is not None]
    lines = [text.count("\n", 0, place) + 1 for place in places]
    return lines if len(lines) == accounts else [next(iter(lines), 1)] * accounts


def _entry(table: Mapping[str, Any], line: int) -> tuple[AccountEntry | None, list[str]]:
    """Return the entry, or all mistakes in the table."""
    expected = ", ".join(_FIELDS)
    faults = [f"{_shown(name)} is unknown: expected {expected}" for name in table if name not in _FIELDS]

    def attempt(function: Callable[..., T], *arguments: object) -> T | None:
        try:
            return function(*arguments)
        except ValueError as error:
            faults.append(str(error))
            return None

    label = attempt(_label, table.get("label"))
    product = attempt(_product, table.get("product"))
    read = attempt(check_read, table["read"]) if "read" in table else PRODUCTS[product or "pm"].read
    api_key = attempt(_reference, "api_key", table.get("api_key"))
    name = attempt(_secret_name, table)
    secret = attempt(_reference, name, table[name]) if name else None
    passphrase = attempt(_reference, "passphrase", table["passphrase"]) if "passphrase" in table else None
    stream = attempt(_switch, "stream", table.get("stream", False))
    warn, alarm = (attempt(threshold_value, table.get(which), which) for which in ("warn", "alarm"))
    if not faults:
        attempt(thresholds_of, warn, alarm)
    if passphrase is not None and name == "api_secret":
        faults.append("passphrase is given without a private_key")
    if faults or not (label and product and read and api_key and secret):
        return None, faults
    entry = AccountEntry(
        label=label,
        line=line,
        product=product,
        read=read,
        api_key=api_key,
        secret=secret,
        is_private_key=name == "private_key",
        passphrase=passphrase,
        warn=warn,
        alarm=alarm,
        stream=bool(stream),
    )
    return entry, []


def _label(value: object) -> str:
    if value is None:
        raise ValueError("label is missing")
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > _LONGEST_LABEL:
        raise ValueError(f"label is not a printable string of 1 to {_LONGEST_LABEL} characters")
    if _KEY.fullmatch(value):
        raise ValueError("label has the format of a key: take it out of the file")
    return value


def _switch(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is not true or false")
    return value


def _product(value: object) -> ProductName:
    if value is None:
        raise ValueError(f"product is missing: give one of {', '.join(PRODUCTS)}")
    if not isinstance(value, str) or value not in PRODUCTS:
        raise ValueError(f"product is not one of {', '.join(PRODUCTS)}")
    return cast("ProductName", value)


def _secret_name(table: Mapping[str, object]) -> str:
    names = [name for name in ("api_secret", "private_key") if name in table]
    if len(names) != 1:
        raise ValueError(f"give either api_secret or private_key: {'both are' if names else 'neither is'} given")
    return names[0]


def _reference(name: str, value: object) -> Reference:
    if value is None:
        raise ValueError(f"{name} is missing: {_ADVICE}")
    if isinstance(value, str):
        raise ValueError(f"{name} is given literally: {_ADVICE}, and take it out of the file")
    table: Mapping[str, object] = cast("Mapping[str, object]", value) if isinstance(value, dict) else {}
    if len(table) != 1 or next(iter(table)) not in get_args(Source):
        raise ValueError(f"{name} must be a table with exactly one of {', '.join(get_args(Source))}")
    source, place = next(iter(table.items()))
    if not (words := _words(source, place)):
        raise ValueError(f"{name}: {source} must be {_WORDS[source]}")
    # Arguments of a program may legitimately have the format of a key.
    if any(map(_KEY.fullmatch, words[:1] if source == "command" else words)):
        raise ValueError(f"{name}: {source} has the format of a key itself: {_ADVICE}, and take it out of the file")
    return Reference(cast("Source", source), words)


_WORDS: Final = {
    "env": "the name of a variable",
    "file": "a path",
    "command": 'a list of strings, the program first, such as ["pass", "show", "desk-1"]',
    "keyring": "a table of service and name",
}


def _words(source: str, place: Any) -> tuple[str, ...]:
    """Return the words of a reference; empty if the source does not accept them."""
    match source, place:
        case "env" | "file", str():
            words = [place]
        case "command", list():
            words = cast("list[Any]", place)
        case "keyring", {"service": service, "name": name, **others} if not others:
            words = [service, name]
        case _:
            words = []
    # A program may be given empty arguments.
    must_be_given = words[:1] if source == "command" else words
    is_valid = all(isinstance(word, str) and "\0" not in word for word in words) and all(must_be_given)
    return tuple(words) if is_valid else ()


def _endpoint_name(name: object) -> str:
    endpoint: Endpoint[Any] | None = ENDPOINTS.get(name) if isinstance(name, str) else None
    if endpoint is None or not _is_account_read(endpoint):
        known = sorted(known for known, candidate in ENDPOINTS.items() if _is_account_read(candidate))
        raise ValueError(f"read names {_shown(name)}: expected {', '.join(known)}")
    return endpoint.name


def _is_account_read(endpoint: Endpoint[Any]) -> bool:
    """Return whether an endpoint reads one snapshot of an account and needs no arguments."""
    needed = [one for one in endpoint.parameters.values() if one.default is one.empty]
    # A list type, such as list[UmOrder], is not a class.
    is_snapshot = inspect.isclass(endpoint.returns) and issubclass(endpoint.returns, Model) and endpoint.page is None
    return endpoint.is_signed and not endpoint.is_write and not needed and is_snapshot and _accepts_nothing(endpoint)


def _accepts_nothing(endpoint: Endpoint[Any]) -> bool:
    """Return whether the checks of an endpoint accept a call without arguments."""
    try:
        return endpoint.check is None or endpoint.check({}) is None
    except ValueError:
        return False


def _shown(name: object) -> str:
    """Return a name from the file, unless the name could be a secret in the wrong place."""
    return name if isinstance(name, str) and re.fullmatch(r"[\w.-]{1,32}", name) else "something"


def _or_none(function: Callable[[Any], T], value: object) -> T | None:
    try:
        return function(value)
    except ValueError:
        return None
