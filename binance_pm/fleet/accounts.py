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
from binance_pm.fleet.shard import shard
from binance_pm.fleet.thresholds import threshold_value, thresholds_of
from binance_pm.hosts import check_url
from binance_pm.wire import Model

T = TypeVar("T")

Source = Literal["env", "file", "command", "keyring"]

_CALL: Final = CallInfo("Fleet.from_toml")
_LONGEST_LABEL: Final = 64
_FIELDS: Final = ("label", "product", "read", "api_key", "api_secret", "private_key", "passphrase", "warn", "alarm")
# The format of every API key and HMAC secret of the exchange.
_KEY: Final = re.compile(r"[A-Za-z0-9]{64}")
_REFERENCE: Final = 'name where it is, such as { env = "NAME" }'


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


class Problem(msgspec.Struct, frozen=True):
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
    told = "; ".join(f"line {line} [{label}]: {text}" for label, line, text in map(msgspec.structs.astuple, problems))
    return ConfigurationError(_CALL, f"{path}: {told}")


def check_read(names: object) -> tuple[str, ...]:
    """Return the endpoints to read for an account.

    Raises:
        ValueError: an endpoint does not exist or does not return a snapshot of an account, an endpoint is named twice,
            or not exactly one of them returns uniMMR.
    """
    if not isinstance(names, list | tuple) or not names:
        raise ValueError('read is no list of endpoints: give one such as ["account", "um_account"]')
    chosen = [_endpoint_name(name) for name in cast("Iterable[object]", names)]
    if len(set(chosen)) < len(chosen):
        raise ValueError("read names an endpoint twice")
    if sum(name in HEADLINES for name in chosen) != 1:
        raise ValueError(f"read must name exactly one of {', '.join(HEADLINES)}: it tells uniMMR and status")
    return tuple(chosen)


def _tables(path: Path) -> tuple[str, list[Mapping[str, Any]], str | None]:
    if "\0" in str(path):
        raise ConfigurationError(_CALL, "the path has a null character in it")
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
        what = f"{', '.join(unknown)} is not known: there are base_url and [[accounts]] alone"
        raise ConfigurationError(_CALL, f"{path}: {what}")
    tables: object = document.get("accounts")
    if not isinstance(tables, list) or not tables:
        raise ConfigurationError(_CALL, f"{path} has no [[accounts]]")
    if not all(isinstance(table, dict) for table in cast("list[object]", tables)):
        raise ConfigurationError(_CALL, f"{path}: accounts is no list of tables: write [[accounts]] above each")
    return text, cast("list[Mapping[str, Any]]", tables), _base_url(path, document.get("base_url"))


def _base_url(path: Path, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ConfigurationError(_CALL, f"{path}: base_url is no text")
    try:
        return check_url(value, allow_custom_host=False)
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
    faults = [f"{_shown(name)} is not known: there are {', '.join(_FIELDS)}" for name in table if name not in _FIELDS]

    def parse(reader: Callable[[object], T], value: object) -> T | None:
        try:
            return reader(value)
        except ValueError as error:
            faults.append(str(error))
            return None

    label = parse(_label, table.get("label"))
    product = parse(_product, table.get("product"))
    read = parse(check_read, table["read"]) if "read" in table else PRODUCTS[product or "pm"].read
    api_key = parse(_reference_of("api_key"), table.get("api_key"))
    name = parse(_secret_name, table)
    secret = parse(_reference_of(name), table[name]) if name else None
    opening = parse(_reference_of("passphrase"), table["passphrase"]) if "passphrase" in table else None
    warn, alarm = (parse(_line_of(which), table.get(which)) for which in ("warn", "alarm"))
    if not faults:
        parse(lambda _: thresholds_of(warn, alarm), None)
    if opening is not None and name == "api_secret":
        faults.append("passphrase opens a private_key, and there is none")
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
        passphrase=opening,
        warn=warn,
        alarm=alarm,
    )
    return entry, []


def _label(value: object) -> str:
    if value is None:
        raise ValueError("label is missing")
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > _LONGEST_LABEL:
        raise ValueError(f"label is no printable text of 1 to {_LONGEST_LABEL} characters")
    if _KEY.fullmatch(value):
        raise ValueError("label has the form of a key: take it out of the file")
    return value


def _product(value: object) -> ProductName:
    if value is None:
        raise ValueError(f"product is missing: give one of {', '.join(PRODUCTS)}")
    if not isinstance(value, str) or value not in PRODUCTS:
        raise ValueError(f"product is none of {', '.join(PRODUCTS)}")
    return cast("ProductName", value)


def _secret_name(table: object) -> Literal["api_secret", "private_key"]:
    names = [name for name in ("api_secret", "private_key") if name in cast("Mapping[str, object]", table)]
    if len(names) != 1:
        there = "both of them are" if names else "none of them is"
        raise ValueError(f"give api_secret or private_key: {there} there")
    return cast("Literal['api_secret', 'private_key']", names[0])


def _line_of(name: str) -> Callable[[object], Decimal | None]:
    return lambda value: threshold_value(value, name)


def _reference_of(name: str) -> Callable[[object], Reference]:
    return lambda value: _reference(name, value)


def _reference(name: str, value: object) -> Reference:
    if value is None:
        raise ValueError(f"{name} is missing: {_REFERENCE}")
    if isinstance(value, str):
        raise ValueError(f"{name} is given literally: {_REFERENCE}, and take it out of the file")
    table: Mapping[str, object] = cast("Mapping[str, object]", value) if isinstance(value, dict) else {}
    if len(table) != 1 or next(iter(table)) not in get_args(Source):
        raise ValueError(f"{name} must be a table with exactly one of {', '.join(get_args(Source))}")
    source, told = next(iter(table.items()))
    if not (words := _words(source, told)):
        raise ValueError(f"{name}: {source} must be {_WORDS[source]}")
    # Arguments of a program may legitimately have the format of a key.
    if any(map(_KEY.fullmatch, words[:1] if source == "command" else words)):
        raise ValueError(f"{name}: {source} has the form of a key itself: {_REFERENCE}, and take it out of the file")
    return Reference(cast("Source", source), words)


_WORDS: Final = {
    "env": "the name of a variable",
    "file": "a path",
    "command": 'a list of texts, the program first, such as ["pass", "show", "desk-1"]',
    "keyring": "a table of service and name",
}


def _words(source: str, told: object) -> tuple[str, ...]:
    """Return the words of a reference; empty if the source does not accept them."""
    match source, told:
        case "env" | "file", str():
            words: list[object] = [told]
        case "command", list():
            words = cast("list[object]", told)
        case "keyring", dict():
            table = cast("dict[str, object]", told)
            words = [table["service"], table["name"]] if set(table) == {"service", "name"} else []
        case _:
            words = []
    texts = tuple(word for word in words if isinstance(word, str) and "\0" not in word)
    # A program may be given empty arguments.
    named = texts[:1] if source == "command" else texts
    return texts if len(texts) == len(words) and all(named) else ()


def _endpoint_name(name: object) -> str:
    endpoint: Endpoint[Any] | None = ENDPOINTS.get(name) if isinstance(name, str) else None
    if endpoint is None or not _is_account_read(endpoint):
        known = sorted(known for known, candidate in ENDPOINTS.items() if _is_account_read(candidate))
        raise ValueError(f"read names {_shown(name)}: there are {', '.join(known)}")
    return endpoint.name


def _is_account_read(endpoint: Endpoint[Any]) -> bool:
    """Return whether an endpoint reads one snapshot of an account and needs no arguments."""
    needed = [one for one in endpoint.parameters.values() if one.default is one.empty]
    # A list type, such as list[UmOrder], is not a class.
    is_answer = inspect.isclass(endpoint.returns) and issubclass(endpoint.returns, Model)
    # A query whose arguments are checked reads a range of time, or needs one of several ids.
    is_whole = not needed and endpoint.check is None
    return endpoint.is_signed and not endpoint.is_write and is_whole and is_answer


def _shown(name: object) -> str:
    """Return a name from the file, unless the name could be a secret in the wrong place."""
    return name if isinstance(name, str) and re.fullmatch(r"[\w.-]{1,32}", name) else "something"


def _or_none(function: Callable[[Any], T], value: object) -> T | None:
    try:
        return function(value)
    except ValueError:
        return None
