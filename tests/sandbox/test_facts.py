"""The facts hang together, and stand on their own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from binance_pm import sandbox
from binance_pm.sandbox import answers, facts

SOURCES = sorted(Path(sandbox.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("endpoint", facts.ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_every_endpoint_has_one_answer(endpoint: facts.Endpoint) -> None:
    """A row of facts has its answer, in the table that fits its security."""
    tables = {True: answers.OF_ACCOUNT, False: answers.PUBLIC}

    found = [signed for signed, table in tables.items() if (endpoint.method, endpoint.path) in table]

    assert found == [endpoint.signed]


def test_no_answer_lacks_its_facts() -> None:
    """Nothing is answered of which no fact is known."""
    known = {(endpoint.method, endpoint.path) for endpoint in facts.ENDPOINTS}

    assert known == answers.PUBLIC.keys() | answers.OF_ACCOUNT.keys()


@pytest.mark.parametrize("endpoint", facts.ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_weights_are_of_known_pools(endpoint: facts.Endpoint) -> None:
    """Every endpoint charges pools that exist."""
    assert endpoint.weights.keys() <= facts.POOLS.keys()


@pytest.mark.parametrize(
    ("path", "weights"),
    [
        ("/sapi/v2/portfolio/account", {"sapi-ip": 5}),
        ("/sapi/v1/portfolio/account", {"sapi-ip": 5, "sapi-uid": 5}),
        ("/papi/v2/um/account", {"papi": 5}),
        ("/papi/v1/account", {"papi": 20}),
        ("/papi/v1/ping", {"papi": 1}),
        ("/papi/v1/time", {"papi": 1}),
        ("/api/v3/ping", {"api": 1}),
        ("/api/v3/time", {"api": 1}),
    ],
)
def test_documented_weights(path: str, weights: dict[str, int]) -> None:
    """An endpoint weighs what its page says."""
    assert [endpoint.weights for endpoint in facts.ENDPOINTS if endpoint.path == path] == [weights]


def test_documented_limits() -> None:
    """The pools are as large as the pages say."""
    limits = {name: pool.limit for name, pool in facts.POOLS.items()}

    assert limits == {"papi": 6000, "api": 6000, "sapi-ip": 12_000, "sapi-uid": 180_000}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_imports_nothing_of_the_client(source: Path) -> None:
    """The sandbox judges the client, so it shares no code with it."""
    nodes = list(ast.walk(ast.parse(source.read_text())))
    named = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]

    foreign = [name for name in named if name.startswith("binance_pm") and not name.startswith("binance_pm.sandbox")]

    assert foreign == []


def test_public_names_are_sorted_and_there() -> None:
    """What the package exports exists, in order."""
    assert sorted(sandbox.__all__) == sandbox.__all__
    assert all(hasattr(sandbox, name) for name in sandbox.__all__)
