"""The dashboard and the alert rules use metrics, labels and values that a scrape contains."""

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
from binance_pm.stream.items import StreamCounts
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
OF_PROMETHEUS: dict[str, dict[str, set[str]]] = {"up": {"job": set(), "instance": set()}}


class Query(NamedTuple):
    """One expression, and the panel or alert that contains it."""

    place: str
    expression: str
    legend: str = ""

    @property
    def selectors(self) -> list[tuple[str, list[tuple[str, str, str]]]]:
        """The selected metrics, each with its matchers: label, operator, value."""
        bare = GROUPING.sub(" ", re.sub(r"\[[^]]*\]|offset \w+", " ", self.expression))
        bare = re.sub(r'"[^"]*"(?![^{]*\})', " ", bare)
        found = [(match[1], MATCHER.findall(match[2] or "")) for match in SELECTOR.finditer(bare)]
        return [(name, matchers) for name, matchers in found if name not in WORDS | FUNCTIONS]

    @property
    def grouped(self) -> set[str]:
        """The labels that the expression groups or joins by."""
        return {label.strip() for match in GROUPING.finditer(self.expression) for label in match[1].split(",")} - {""}

    @property
    def shown(self) -> set[str]:
        """The labels in the legend of the panel, or in the text of the alert."""
        return set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", self.legend))


def queries() -> Iterator[Query]:
    """Return the queries of every panel, and of every alert of the documentation."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield Query(panel["title"], target["expr"], target.get("legendFormat", ""))
    for text in re.split(r"^ *- alert: ", PAGE, flags=re.MULTILINE)[1:]:
        rule = text.partition("```")[0]
        (expression,) = re.findall(r"^ *expr: (.+)$", rule, re.MULTILINE)
        yield Query(rule.splitlines()[0], expression, rule)


QUERIES = list(queries())


class OpenStream:
    """A user data stream, which the local exchange in memory does not have."""

    label, product = "desk", "pm"
    is_open = is_up = True
    age, queued, duplicates = 1.0, 0, 0
    counts = StreamCounts()


@pytest.fixture(scope="module")
def scraped() -> Scrape:
    """Return a scrape of a fleet on the local exchange with an account of every product and a failed reading."""

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
            stream: Any = OpenStream()
            async with Fleet(members, floor=0.05, ceiling=0.1) as fleet:
                metrics.watch(fleet)
                metrics.watch_stream(stream)
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
    """Return the labels of every metric, and the values of each label."""
    known: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, labels, _ in scraped.series:
        for label, value in labels.items():
            known[PREFIX + name][label].add(value)
        known[PREFIX + name]["job"].add("binance-pm")
    return known


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
def test_a_query_uses_exported_metrics_and_labels(query: Query, exported: dict[str, dict[str, set[str]]]) -> None:
    """Matchers compare with exported values, and a legend shows only labels that grouping leaves."""
    assert query.selectors
    for name, matchers in query.selectors:
        known = exported.get(name) or OF_PROMETHEUS[name]
        assert {label for label, _, _ in matchers} | query.grouped | query.shown <= known.keys()
        for label, operator, value in matchers:
            assert value == "$account" or (operator in {"=", "!="} and (not known[label] or value in known[label]))
    assert " by (" not in query.expression or query.shown <= query.grouped
    brackets = re.sub(r'"[^"]*"|[^()[\]{}]', "", query.expression)
    while brackets != (brackets := re.sub(r"\(\)|\[\]|\{\}", "", brackets)):
        pass
    assert brackets == ""


def test_queries_of_counters_use_their_increase(exported: dict[str, dict[str, set[str]]]) -> None:
    """The value of a counter since its start has no meaning."""
    names = [name for name in exported if name.endswith(("_total", "_bucket"))]

    for query in QUERIES:
        for name in names:
            for match in re.finditer(rf"\b{name}\b", query.expression):
                assert re.search(r"\b(rate|increase)\($", query.expression[: match.start()])


def test_every_metric_is_on_the_page_and_no_other(scraped: Scrape) -> None:
    """The tables list every name with its labels."""
    named: dict[str, set[str]] = {}
    for head, body in re.findall(r"^\| of (.*?) \|.*\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE):
        for row in body.splitlines():
            cell = row.split("|")[1]
            extra = re.search(r"\((.*)\)", cell)
            own: set[str] = set(re.findall(r"`(\w+)`", extra[1] if extra else ""))
            for name in re.findall(r"`(\w+)`", cell.partition("(")[0]):
                named[name] = own | set(re.findall(r"`(\w+)`", head))
    listed: dict[str, set[str]] = defaultdict(set)
    for name, labels, _ in scraped.series:
        if not name.startswith("process_"):
            listed[re.sub(r"_(bucket|count|sum)$", "", name)] |= labels.keys() - {"le"}

    assert named == listed


def test_panels_do_not_overlap() -> None:
    """Each panel has its own id and uses the chosen data source."""
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
    """The choice of accounts comes from an exported metric."""
    defined = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(DASHBOARD["panels"])))

    assert used == set(defined)
    (found,) = re.findall(r"^label_values\((\w+), (\w+)\)$", defined["account"]["query"]["query"])
    assert found[1] in exported[found[0]]


def test_the_table_renames_the_columns_of_its_queries() -> None:
    """Formats and sorting refer to the new names."""
    (table,) = [panel for panel in DASHBOARD["panels"] if panel["type"] == "table"]
    (organize,) = [one["options"] for one in table["transformations"] if one["id"] == "organize"]
    columns = {f"Value #{target['refId']}" for target in table["targets"]} | {"account", "status"}

    assert set(organize["renameByName"]) | {"Value #B"} == columns
    assert {one["matcher"]["options"] for one in table["fieldConfig"]["overrides"]} <= set(
        organize["renameByName"].values()
    )
    assert table["options"]["sortBy"][0]["displayName"] in organize["renameByName"].values()
