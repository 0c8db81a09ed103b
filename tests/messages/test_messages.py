"""Every message that a user may see, pinned in one place: ``tests/messages/messages.txt``.

Each section of the file is an expression and what it says. The expression is evaluated with the names of the module in
front of it, and with ``stage``. ``UPDATE_MESSAGES=1 python -m pytest tests/messages`` writes the texts again: a changed
text is then one changed line in a diff, and no other test depends on it.
"""

from __future__ import annotations

import ast
import difflib
import gc
import os
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest

import binance_pm
from tests.messages.stage import Stage, observe

GOLDEN: Final = Path(__file__).parent / "messages.txt"
PACKAGE: Final = Path(binance_pm.__file__).parent


def _pinned() -> dict[str, str]:
    """Return the texts of the file, by module and expression."""
    sections = re.split(r"^# ", GOLDEN.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {name: text.strip("\n") for name, _, text in (section.partition("\n") for section in sections)}


AREAS = sorted({name.partition(": ")[0] for name in _pinned()})

UNPINNED: Final[Mapping[str, str]] = {
    "the server chose \0, which tls offers. Let tls offer http/1.1 or nothing": "needs a server that speaks HTTP/2",
    "See the message.": "stands in a base class that is never raised",
    "See the exchange's list of error codes.": "stands in a base class that is never raised",
    "the request contains a character that is not allowed": "whatever would be so is refused before",
    "the transport was closed": "a session says itself that it was closed",
    "the task was cancelled before the thread began": "the task has got its cancellation, and not this error",
    "no thread can be started": "the cause says it in its own words: too many threads",
    "the server closed it at once": "only if the server closes before the handshake is seen to be over",
    ", with args": "stands in an error of Redis, and is cut off",
    "No scrape can be accepted: \0": "needs a machine without file descriptors: integration/metrics/test_server.py",
    "A message of the shared budget failed.": "a fault of the package itself: unit/budget/test_store_worker.py",
    "plain http would show the link to the proxy \0": "the exchange is refused before, for the same reason",
    "the transport was closed before the response was complete": "a session says itself that it was closed",
}
"""Messages without a scenario, as in the source, and why."""


@pytest.mark.parametrize("area", AREAS)
def test_messages(area: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each expression says the text of the file."""
    # Leftovers of a failure, such as a child process, are collected after the event loop.
    monkeypatch.setattr(sys, "unraisablehook", _ignore)
    pinned = {name: text for name, text in _pinned().items() if name.startswith(f"{area}: ")}
    said: dict[str, str] = {}
    for number, name in enumerate(pinned):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            for variable in os.environ:
                if re.search(r"_proxy$|^SSL_CERT|^BINANCE_PM_|^COLUMNS$", variable, re.IGNORECASE):
                    patch.delenv(variable)
            said[name] = _said(area, name.removeprefix(f"{area}: "), Stage(folder, patch))
        assert said[name], f"{name} says nothing"
    gc.collect()
    if os.environ.get("UPDATE_MESSAGES"):
        texts = [f"# {name}\n{said.get(name, text)}\n" for name, text in _pinned().items()]
        GOLDEN.write_text("\n".join(texts), encoding="utf-8")
        return
    diff = "\n".join(
        line
        for name, text in said.items()
        for line in difflib.unified_diff(pinned[name].splitlines(), text.splitlines(), name, name, lineterm="")
    )
    assert not diff, f"UPDATE_MESSAGES=1 pins what is said now:\n{diff}"


def _ignore(_: object) -> None:
    pass


def _said(area: str, expression: str, stage: Stage) -> str:
    known = vars(import_module(f"tests.messages.{area}")) | {"stage": stage}
    return observe(lambda: eval(expression, known), stage)  # noqa: S307 - an expression of this folder


def test_every_message_is_pinned() -> None:
    """Each text that the package raises, logs or reports is in the file, or listed with a reason."""
    pinned = GOLDEN.read_text(encoding="utf-8")
    missing = {text: place for text, place in _texts() if not re.search(_pattern(text), pinned)}

    assert [f"{place}: {text}" for text, place in missing.items() if text not in UNPINNED] == []
    assert UNPINNED.keys() <= missing.keys(), "no longer an exception"


_LOGS = {"info", "warning", "error", "exception"}
# Texts of the local exchange, and of the dashboard, whose screens are pinned in tests/unit/cli/screens.
_OTHERS = ("sandbox/facts.py", "sandbox/order_", "sandbox/app.py", "cli/dashboard/")
_HOLE = "\0"


def _texts() -> Iterator[tuple[str, str]]:
    """Return every text that is raised, logged or reported, with its place; fields are gaps."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name.startswith(_OTHERS):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for text in _texts_of(node):
                # One word is a name, such as that of an endpoint.
                if re.search(r"\w\W* \W*\w", text):
                    yield text, f"{name}:{getattr(node, 'lineno', 0)}"


def _texts_of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Raise(exc=ast.Call() as call):
            yield from _literals(call)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="_log"), attr=attribute)) if attribute in _LOGS:
            for text in _literals(node.args[0]):
                yield re.sub(r"%[-\d.]*[a-z]", _HOLE, text)
        case ast.Call(func=ast.Name(id=name)) if re.search(
            r"Error|Exceeded|Closed|Response|Failed$|^Check|^CallInfo$", name
        ):
            yield from _literals(node)
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if (
            node.value is not None and re.fullmatch(r"(what|why|advice|text|reason|cause|_advice|_[A-Z_]*ADVICE)", name)
        ):
            yield from _literals(node.value)
        case _:
            pass


def _literals(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            parts = (part.value if isinstance(part, ast.Constant) else _HOLE for part in values)
            yield "".join(map(str, parts))
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _literals(child)


def _pattern(text: str) -> str:
    """Return a pattern for the text with any values in its gaps."""
    return ".*".join(re.escape(part.strip(" .")) for part in text.strip(f" .{_HOLE}").split(_HOLE))
