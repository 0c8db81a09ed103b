"""What mkdocs fills in from the package itself: a page asks with ``<!-- generated: endpoints -->``."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import sys
from collections.abc import Callable
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final, TypeGuard, get_args

import msgspec

from binance_pm import errors as tree
from binance_pm.cli.app import run
from binance_pm.client import Client
from binance_pm.endpoint import ENDPOINTS, Endpoint
from binance_pm.limits import LIMITS, LimitType

_PLACE: Final = re.compile(r"^<!-- generated: (\w+)(?: ([\w -]+))? -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs with every page."""
    return _PLACE.sub(lambda place: _MAKERS[place[1]](place[2] or ""), markdown)


def endpoints(_: str) -> str:
    """Return the table of all endpoints."""
    rows = [_row(endpoint) for endpoint in sorted(ENDPOINTS.values(), key=lambda one: (one.path, one.method))]
    return "\n".join(
        ["| method of `Client` | verb | path | weight | requires | response |", "|---|---|---|---|---|---|", *rows]
    )


def namespaces(_: str) -> str:
    """Return every class of endpoints that is an attribute of the client, for mkdocstrings."""
    names = sorted({name.partition(".")[0] for name in ENDPOINTS if "." in name})
    classes = {name: attrgetter(name)(Client) for name in names}
    options = "    options:\n      heading_level: 3\n      inherited_members: true\n      show_root_full_path: false"
    return "\n\n".join(f"## `client.{name}`\n\n::: {_path(one)}\n{options}" for name, one in classes.items())


def answers(_: str) -> str:
    """Return every module that declares responses or enumerations of them, for mkdocstrings."""
    # Reading the registry loads every module.
    modules = sorted(name for name in sys.modules if name.startswith("binance_pm.api.")) if len(ENDPOINTS) else []
    return "\n\n".join(filter(None, map(_module, modules)))


def errors(_: str) -> str:
    """Every class of error in the order of the tree, for mkdocstrings."""
    names = re.findall(r"^ *\* (\w+)", inspect.getdoc(tree) or "", re.MULTILINE)
    return "\n\n".join(_class(f"{tree.__name__}.{name}") for name in names)


def help_of(command: str) -> str:
    """What a command prints when asked for its help."""
    os.environ["COLUMNS"] = "80"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        run([*command.split(), "--help"])
    lines = (line.rstrip() for line in said.getvalue().strip().splitlines())
    return "```text\n" + "\n".join(lines) + "\n```"


_MAKERS: Final[dict[str, Callable[[str], str]]] = {
    "answers": answers,
    "endpoints": endpoints,
    "errors": errors,
    "namespaces": namespaces,
    "help": help_of,
}

_SECURITY: Final = {"NONE": "nothing", "MARKET_DATA": "key", "USER_STREAM": "key"}


def _row(endpoint: Endpoint[Any]) -> str:
    namespace, _, method = endpoint.name.rpartition(".")
    owner = _path(attrgetter(namespace)(Client)) if namespace else "binance_pm.Client"
    cells = [
        f"[`{endpoint.name}`][{owner}.{method}]" + (" (deprecated)" if endpoint.deprecated else ""),
        endpoint.method,
        f"`{endpoint.path}`",
        "<br>".join(_weight(endpoint, limit_type) for limit_type in endpoint.weights),
        _SECURITY.get(endpoint.security, "key, signature"),
        _link(endpoint.returns) + (f", or one with `{endpoint.one_with}`" if endpoint.one else ""),
    ]
    return f"| {' | '.join(cells)} |"


def _path(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__name__}"


def _weight(endpoint: Endpoint[Any], limit_type: LimitType) -> str:
    weights, limit = endpoint.weights[limit_type], LIMITS[endpoint.family, limit_type]
    others = "".join(f", {weight} without `{name}`" for name, weight in weights.without.items())
    whole = "this endpoint" if limit.each_path else f"all `/{endpoint.family}`"
    return f"{weights.weight}{others} of {limit.limit} a minute ({limit_type}, {whole})"


def _link(returns: object) -> str:
    inner = get_args(returns)
    if inner:
        return f"list of {_link(inner[0])}"
    if isinstance(returns, type) and issubclass(returns, msgspec.Struct):
        return f"[`{returns.__name__}`][{returns.__module__}.{returns.__name__}]"
    return f"`{returns}`"


def _module(name: str) -> str:
    """Return a heading and the classes of a module, or an empty text if the module has none."""
    title = (inspect.getdoc(sys.modules[name]) or name).splitlines()[0].rstrip(".")
    shown = [f"{name}.{kind.__name__}" for kind in vars(sys.modules[name]).values() if _is_shown(kind, name)]
    return "\n\n".join([f"## {title}", *map(_class, shown)]) if shown else ""


def _is_shown(kind: object, module: str) -> TypeGuard[type[Any]]:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct | StrEnum) and kind.__module__ == module


def _class(path: str) -> str:
    options = {"heading_level": 3, "show_root_full_path": False, "inherited_members": False}
    if ".api." in path:
        options["show_if_no_docstring"] = True
    return "\n".join([f"::: {path}", "    options:", *(f"      {name}: {value}" for name, value in options.items())])
