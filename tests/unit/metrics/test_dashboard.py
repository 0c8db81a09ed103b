"""The dashboard and the alert rules ask for what a scrape tells: every name, every label, every value."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from binance_pm.fleet import Fleet, Member, Reading
from binance_pm.metrics import Metrics
from binance_pm.testing import Fault, sandbox
from tests.support.paths import DOCS
from tests.support.scrape import PREFIX, Scrape, scrape

PAGE = (DOCS / "pages" / "how-to" / "metrics.md").read_text(encoding="utf-8")
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))

SELECTOR = re.compile(r"\b([a-z_][a-z0-9_:]*)\s*(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
WORDS = {"by", "without", "on", "ignoring", "or", "and", "unless", "offset", "bool"}
FUNCTIONS = {"absent", "count", "histogram_quantile", "increase", "max", "rate", "sum"}
OF_PROMETHEUS = {"up": {"job", "instance"}}


class Query(NamedTuple):
    """One expression, and where it stands."""

    place: str
    expression: str
    legend: str = ""

    @property
    def bare(self) -> str:
        """Without what is neither a name nor a label: ranges, offsets and groupings."""
        without = GROUPING.sub(" ", re.sub(r"\[[^]]*\]|offset \w+", " ", self.expression))
        return re.sub(r'"[^"]*"(?![^{]*\})', " ", without)

    @property
    def selectors(self) -> list[tuple[str, list[tuple[str, str, str]]]]:
        """The metrics asked for, each with its matchers: label, operator, value."""
        found = [(match[1], MATCHER.findall(match[2] or "")) for match in SELECTOR.finditer(self.bare)]
        return [(name, matchers) for name, matchers in found if name not in WORDS | FUNCTIONS]

    @property
    def grouped(self) -> set[str]:
        """The labels that it groups or joins by."""
        return {label.strip() for match in GROUPING.finditer(self.expression) for label in match[1].split(",")} - {""}

    @property
    def shown(self) -> set[str]:
        """The labels in its legend, or in the alert's text."""
        return set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", self.legend))


def of_the_dashboard() -> Iterator[Query]:
    """What every panel asks."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield Query(panel["title"], target["expr"], target.get("legendFormat", ""))


def of_the_rules() -> Iterator[Query]:
    """What every alert of the documentation asks."""
    for text in re.split(r"^ *- alert: ", PAGE, flags=re.MULTILINE)[1:]:
        rule = text.partition("```")[0]
        (expression,) = re.findall(r"^ *expr: (.+)$", rule, re.MULTILINE)
        yield Query(rule.splitlines()[0], expression, rule)


QUERIES = [*of_the_dashboard(), *of_the_rules()]


@pytest.fixture(scope="module")
def scraped() -> Scrape:
    """A fleet on the local exchange, of every product, of which a reading failed."""

    async def main() -> Scrape:
        metrics = Metrics()
        products = "pm", "pm_pro", "span"
        async with sandbox(in_memory=True, accounts=3) as pm:
            session = pm.session()
            pm.inject(Fault(path="/papi/v2/um/account", status=503, code=-1008, msg="Request throttled"))
            members = [
                Member(pm.client(place, session=session), product=product, read=("span_account", "um_account"))
                for place, product in enumerate(products)
            ]
            unread = {member.client.label for member in members}
            async with Fleet(members, floor=0.05, ceiling=0.1) as fleet:
                metrics.watch(fleet)
                async for event in fleet.watch(warn="1.5", alarm="1.2"):
                    metrics.receive(event)
                    if isinstance(event, Reading):
                        unread.discard(event.label)
                    if not unread:
                        return scrape(metrics.registry)
        raise AssertionError("the watch ended by itself")

    return asyncio.run(main())


@pytest.fixture(scope="module")
def exported(scraped: Scrape) -> dict[str, dict[str, set[str]]]:
    """Every series, by name with the package's prefix: its labels, and the values that they have."""
    known: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, labels, _ in scraped.series:
        for label, value in labels.items():
            known[PREFIX + name][label].add(value)
        known[PREFIX + name]["job"].add("binance-pm")
    return known


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
def test_what_is_asked_for_is_exported(query: Query, exported: dict[str, dict[str, set[str]]]) -> None:
    """Names, labels of matchers, and the values that they are compared with."""
    assert query.selectors
    for name, matchers in query.selectors:
        if name in OF_PROMETHEUS:
            assert {label for label, _, _ in matchers} <= OF_PROMETHEUS[name]
            continue
        assert name in exported
        for label, operator, value in matchers:
            assert label in exported[name]
            assert value == "$account" or operator in {"=", "!="}
            assert value == "$account" or value in exported[name][label]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
def test_labels_that_are_grouped_by_and_shown_are_exported(
    query: Query, exported: dict[str, dict[str, set[str]]]
) -> None:
    """Each belongs to every metric of the expression; a legend shows only what grouping has left."""
    for name, _ in query.selectors:
        labels = OF_PROMETHEUS[name] if name in OF_PROMETHEUS else set(exported[name])
        assert query.grouped <= labels
        assert query.shown <= labels
    if " by (" in query.expression:
        assert query.shown <= query.grouped


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
def test_the_brackets_of_an_expression_match(query: Query) -> None:
    """Nothing that Prometheus would refuse at sight."""
    opened: list[str] = []
    for character in re.sub(r'"[^"]*"', "", query.expression):
        if character in "([{":
            opened.append(character)
        elif character in ")]}":
            assert opened.pop() + character in {"()", "[]", "{}"}

    assert opened == []


def test_counters_are_asked_for_their_increase(exported: dict[str, dict[str, set[str]]]) -> None:
    """What a counter has counted since its start says nothing."""
    names = [name for name in exported if name.endswith(("_total", "_bucket"))]

    for query in QUERIES:
        for name in names:
            for match in re.finditer(rf"\b{name}\b", query.expression):
                assert re.search(r"\b(rate|increase)\($", query.expression[: match.start()])


def test_every_metric_is_on_the_page_and_no_other(scraped: Scrape) -> None:
    """By name and labels, as the tables say."""
    named: dict[str, set[str]] = {}
    for head, body in re.findall(r"^\| of (.*?) \|.*\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE):
        for row in body.splitlines():
            cell = row.split("|")[1]
            extra = re.search(r"\((.*)\)", cell)
            own: set[str] = set(re.findall(r"`(\w+)`", extra[1] if extra else ""))
            for name in re.findall(r"`(\w+)`", cell.partition("(")[0]):
                named[name] = own | set(re.findall(r"`(\w+)`", head))
    told: dict[str, set[str]] = defaultdict(set)
    for name, labels, _ in scraped.series:
        if not name.startswith("process_"):
            told[re.sub(r"_(bucket|count|sum)$", "", name)] |= labels.keys() - {"le"}

    assert named == told


def test_every_query_of_the_dashboard_has_its_place() -> None:
    """Panels do not cover each other, and each leads to the data source that was chosen."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        place = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & place
        assert at["x"] + at["w"] <= 24
        taken |= place
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}

    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_variables_of_the_dashboard_are_defined(exported: dict[str, dict[str, set[str]]]) -> None:
    """And filled from what is exported."""
    defined = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(DASHBOARD["panels"])))

    assert used == set(defined)
    (found,) = re.findall(r"^label_values\((\w+), (\w+)\)$", defined["account"]["query"]["query"])
    assert found[1] in exported[found[0]]


def test_the_table_renames_the_columns_that_it_asks_for() -> None:
    """One for each query."""
    (table,) = [panel for panel in DASHBOARD["panels"] if panel["type"] == "table"]
    (organize,) = [one["options"] for one in table["transformations"] if one["id"] == "organize"]
    columns = {f"Value #{target['refId']}" for target in table["targets"]} | {"account", "status"}

    assert set(organize["renameByName"]) | {"Value #B"} == columns
    assert {one["matcher"]["options"] for one in table["fieldConfig"]["overrides"]} <= set(
        organize["renameByName"].values()
    )
    assert table["options"]["sortBy"][0]["displayName"] in organize["renameByName"].values()
