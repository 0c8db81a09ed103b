"""Every message that a user may see, pinned in one place: ``tests/messages/messages.txt``.

``UPDATE_MESSAGES=1 python -m pytest tests/messages`` writes the file again. A changed text is then one changed line in
a diff, and no other test has to know it.
"""

from __future__ import annotations

import ast
import difflib
import gc
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

import binance_pm
from tests.messages import arguments, checks, command, doctor, fleet, responses, running
from tests.messages.stage import Scenario, Stage, observe

GOLDEN: Final = Path(__file__).parent / "messages.txt"
PACKAGE: Final = Path(binance_pm.__file__).parent
AREAS = arguments, checks, responses, fleet, running, doctor, command
SCENARIOS: dict[str, Scenario] = {name: scenario for area in AREAS for name, scenario in area.SCENARIOS.items()}

UNPINNED: Final[Mapping[str, str]] = {
    "the server chose \0, which tls offers. Let tls offer http/1.1 or nothing": "needs a server that speaks HTTP/2",
    "See the message.": "stands in a base class that is never raised",
    "See the exchange's list of error codes.": "stands in a base class that is never raised",
    "the request contains a character that is not allowed": "whatever would be so is refused before",
    "the transport was closed": "a session says itself that it was closed",
    "no thread can be started": "the cause says it in its own words: too many threads",
    "the server closed it at once": "only if the server closes before the handshake is seen to be over",
    ", with args": "stands in an error of Redis, and is cut off",
    "No scrape can be accepted: \0": "needs a machine without file descriptors: integration/metrics/test_server.py",
    "A message of the shared budget failed.": "a fault of the package itself: unit/budget/test_store_worker.py",
    "the transport was closed before the response was complete": "a session says itself that it was closed",
}
"""Messages without a scenario, as in the source, and why."""


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.__name__.rpartition(".")[2])
def test_messages(area: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scenario gives the text of the file."""
    said: dict[str, str] = {}
    # Leftovers of a failure, such as a child process, are collected after the event loop.
    monkeypatch.setattr(sys, "unraisablehook", _ignore)
    for number, (name, scenario) in enumerate(area.SCENARIOS.items()):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            for variable in os.environ:
                if re.search(r"_proxy$|^SSL_CERT|^BINANCE_PM_|^COLUMNS$", variable, re.IGNORECASE):
                    patch.delenv(variable)
            said[name] = observe(scenario, Stage(folder, patch))
        assert said[name], f"{name} says nothing"
    gc.collect()
    if os.environ.get("UPDATE_MESSAGES"):
        _pin(said)
    pinned = _pinned()
    diff = "\n".join(
        line
        for name, text in said.items()
        for line in difflib.unified_diff(pinned.get(name, "").splitlines(), text.splitlines(), name, name, lineterm="")
    )
    assert not diff, f"UPDATE_MESSAGES=1 pins what is said now:\n{diff}"


def _ignore(_: object) -> None:
    """Ignore the error."""


def _pinned() -> dict[str, str]:
    """Return the texts of the file, by scenario."""
    sections = re.split(r"^# ", GOLDEN.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {name: text.strip("\n") for name, _, text in (section.partition("\n") for section in sections)}


def _pin(said: Mapping[str, str]) -> None:
    """Write these texts to the file, without ended scenarios."""
    known = {**(_pinned() if GOLDEN.exists() else {}), **said}
    texts = [f"# {name}\n{known[name]}\n" for name in SCENARIOS if name in known]
    GOLDEN.write_text("\n".join(texts), encoding="utf-8")


def test_only_scenarios_are_pinned() -> None:
    """The file has one part for each scenario, in order."""
    assert list(_pinned()) == list(SCENARIOS)


def test_every_message_is_pinned() -> None:
    """Each text that the package raises, logs or reports is in the file, or listed with a reason."""
    pinned = GOLDEN.read_text(encoding="utf-8")
    missing = {text: place for text, place in _texts() if not re.search(_pattern(text), pinned)}

    assert {text: place for text, place in missing.items() if text not in UNPINNED} == {}
    assert UNPINNED.keys() <= missing.keys(), "no longer an exception"


_LOGS = {"info", "warning", "error", "exception"}
# Texts of the local exchange, and of the dashboard, whose screens are pinned in tests/cli/screens.
_OTHERS = ("sandbox/facts.py", "cli/dashboard/")
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
