"""``binance-pm plan``; tests/messages has the texts of the verdicts and of wrong usage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ACCOUNTS = """
[[accounts]]
label = "{label}"
product = "{product}"
api_key = {{ env = "NOT_READ" }}
api_secret = {{ env = "NOT_READ" }}
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return a file of thirty accounts of Portfolio Margin and two of each other product, without their keys."""
    products = ["pm"] * 30 + ["pm_pro", "span"] * 2
    tables = [ACCOUNTS.format(label=f"desk-{n}", product=product) for n, product in enumerate(products)]
    path = tmp_path / "accounts.toml"
    path.write_text("".join(tables), encoding="utf-8")
    return str(path)


def tables_of(out: str) -> list[list[list[str]]]:
    """Return the words of each row of each table of an output that fits 80 columns."""
    assert max(map(len, out.splitlines())) <= 80
    return [[line.split() for line in table.splitlines()[1:]] for table in out.split("\n\n")[:-1]]


def test_a_fixed_interval_is_compared_with_each_pool(run: Any) -> None:
    """A pool of a single account is used by one account."""
    ended = run("plan", "--accounts", "40", "--every", "15", "um_account", "pro_account")

    assert (ended.code, ended.err) == (0, "")
    assert tables_of(ended.out) == [
        [
            ["IP", "/papi", "6,000", "5,510", "800", "14.5%"],
            ["IP", "/sapi/v1/portfolio/account", "12,000", "11,030", "800", "7.3%"],
            ["UID", "/sapi/v1/portfolio/account", "180,000", "165,590", "20", "0.0%"],
        ]
    ]
    assert "2.18 s" in ended.out


def test_the_shortest_interval_fits(run: Any) -> None:
    """Every longer interval fits; a shorter one does not."""
    ended = [run("plan", "--accounts=40", f"--every={n}", "um_account", "account") for n in (10.8, 10.9, 11)]

    assert [one.code for one in ended] == [1, 0, 0]
    assert "--every 10.9s" in " ".join(ended[0].out.split())


@pytest.mark.parametrize(("every", "fits"), [("5", False), ("15", True)])
def test_json(run: Any, every: str, fits: bool) -> None:
    """The plan is one object, with the same exit code."""
    ended = run("plan", "--accounts", "40", "--every", every, "um_account", "account", "--json")

    plan = json.loads(ended.out)
    (pool,) = plan.pop("pools")
    shortest = pytest.approx(10.889, abs=1e-3)
    assert ended.code == int(not fits)
    assert plan == {"fits": fits, "accounts": 40, "every": float(every), "shortest": shortest}
    assert (pool["pool"], pool["limit"]) == ("IP /papi", 6_000)
    assert pool["share"] == pool["needed"] / pool["available"] == pytest.approx(plan["shortest"] / plan["every"])


@pytest.mark.parametrize(
    ("every", "seconds"), [("7", 7.0), ("7s", 7.0), ("7.5s", 7.5), ("500ms", 0.5), ("2m", 120.0), ("0.001", 0.001)]
)
def test_intervals_have_units(run: Any, every: str, seconds: float) -> None:
    """The default unit is the second."""
    assert json.loads(run("plan", "--accounts", "1", "--every", every, "--json").out)["every"] == seconds


@pytest.mark.parametrize(
    ("product", "pools"),
    [
        ((), ["IP /papi"]),
        (("--product", "pm"), ["IP /papi"]),
        (("--product", "pm_pro"), ["IP /sapi/v1/portfolio/account", "UID /sapi/v1/portfolio/account"]),
        (("--product", "span"), ["IP /sapi/v2/portfolio/account"]),
    ],
)
def test_the_endpoints_of_a_product_are_the_default(run: Any, product: tuple[str, ...], pools: list[str]) -> None:
    """The default product is Portfolio Margin."""
    plan = json.loads(run("plan", "--accounts", "40", "--every", "15", *product, "--json").out)

    assert [pool["pool"] for pool in plan["pools"]] == pools


def test_each_account_of_a_file_reads_the_endpoints_of_its_product(run: Any, path: str) -> None:
    """No key is read."""
    ended = run("plan", "--accounts", path, "--every", "5s")

    (rows,) = tables_of(ended.out)
    assert ended.code == 1
    assert [[*row[:2], row[-2]] for row in rows] == [
        ["IP", "/papi", "9,000"],
        ["IP", "/sapi/v1/portfolio/account", "120"],
        ["UID", "/sapi/v1/portfolio/account", "60"],
        ["IP", "/sapi/v2/portfolio/account", "120"],
    ]
    assert run("plan", "--accounts", path, "--every", "9s").code == 0


def test_an_adaptive_plan_has_the_intervals_of_a_watch(run: Any, path: str) -> None:
    """The table has the intervals of calm accounts, of five in danger, and of all in danger."""
    ended = run("plan", "--accounts", path)

    intervals, pools = tables_of(ended.out)
    assert (ended.code, ended.err) == (0, "")
    # The five whose readings take most are in danger: they share what polls may use with the others.
    assert intervals == [
        ["account,", "um_account", "30", "15", "2.02", "30.2", "9.07"],
        ["pro_account", "2", "15", "-", "15", "1"],
        ["span_account", "2", "15", "-", "15", "1"],
    ]
    assert pools[0] == ["IP", "/papi", "6,000", "5,510", "3,000", "54.4%"]


def test_an_adaptive_plan_fits_if_the_ceiling_holds(run: Any) -> None:
    """The verdict names the interval that a calm account gets instead of the ceiling."""
    ended = run("plan", "--accounts", "200")

    assert ended.code == 1
    assert "20,000" in ended.out
    assert "60.5 s" in ended.out
    assert run("plan", "--accounts", "200", "--ceiling", "61").code == 0


def test_json_of_an_adaptive_plan(run: Any, path: str) -> None:
    """The plan is one object with the bounds of the options."""
    plan = json.loads(run("plan", "--accounts", path, "--floor", "2", "--ceiling", "30", "--json").out)

    assert [plan[name] for name in ("fits", "accounts", "floor", "ceiling", "few")] == [True, 34, 2, 30, 5]
    assert [(group["read"], group["accounts"], group["calm"]) for group in plan["groups"]] == [
        (["account", "um_account"], 30, 30),
        (["pro_account"], 2, 30),
        (["span_account"], 2, 30),
    ]


def test_streams_show_what_they_save(run: Any, path: str) -> None:
    """The plan shows the saved weight of each pool; listen keys of Pro accounts use another pool."""
    ended = run("plan", "--accounts", path, "--streams")
    plan = json.loads(run("plan", "--accounts", path, "--streams", "--json").out)

    _, pools = tables_of(ended.out)
    saved = {pool["pool"]: pool["saved"] for pool in plan["pools"]}
    # 30 accounts of weight 25 four times a minute, then twice a minute and with a confirmation.
    assert saved["IP /papi"] == 30 * (25 * 4 - 25 * 2 - 1)
    assert {row[0] + " " + row[1]: row[-1] for row in pools}["IP /papi"] == "1,470"
    assert saved["IP /fapi"] == -4
    assert plan["saved"] == sum(saving for name, saving in saved.items() if name.startswith("IP"))
    assert "unstreamed" not in plan


@pytest.mark.parametrize(
    ("arguments", "verdict"),
    [
        (("10",), "each is read every 30 s"),
        (("10", "--product", "pm_pro"), "all figures come from user data streams"),
        (("1",), "of 1 account save 49 per minute"),
        (("400",), "does not fit"),
    ],
)
def test_the_verdict_with_streams(run: Any, arguments: tuple[str, ...], verdict: str) -> None:
    """A calm account is read half as often; a Pro account is not read at all."""
    assert verdict in " ".join(run("plan", "--streams", "--accounts", *arguments).out.split())


def test_an_account_of_a_file_may_have_a_stream(run: Any, tmp_path: Path) -> None:
    """The plan has its own row for accounts with streams."""
    path = tmp_path / "accounts.toml"
    streamed = ACCOUNTS.format(label="a", product="pm") + "stream = true\n"
    path.write_text(streamed + ACCOUNTS.format(label="b", product="pm"), encoding="utf-8")

    plan = json.loads(run("plan", "--accounts", str(path), "--json").out)

    assert [(group["stream"], group["calm"]) for group in plan["groups"]] == [(True, 30), (False, 15)]
    assert plan["saved"] == 49


def test_the_shards_of_a_file_are_disjoint(run: Any, path: str) -> None:
    """Together they contain every account once."""
    shards = [json.loads(run("plan", "--accounts", path, "--shard", f"{n}/3", "--json").out) for n in (1, 2, 3)]

    assert sum(shard["accounts"] for shard in shards) == 34
    assert all(0 < shard["accounts"] < 34 for shard in shards)


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("FILE", "--shard=4/3"), 1, "4 of 3"),
        (("FILE", "--shard=9/999"), 1, "this shard"),
        (("FILE", "--shard=x"), 2, "--shard 'x'"),
        (("FILE", "--floor=9", "--ceiling=3"), 1, "0 < floor <= ceiling <= 900"),
        (("FILE", "--ceiling=901"), 1, "0 < floor <= ceiling <= 900"),
        (("FILE", "um_account"), 2, "--product"),
        (("NONE", "--every=1"), 1, "cannot be read"),
        (("1", "--every=1", "nope", "--json"), 2, "'nope'"),
        (("1", "--every=1h"), 2, '"1h" for --every'),
        (("1", "--every=-1"), 2, '"-1" for --every. Must be >= 0.001.'),
        (("1", "--every=nan"), 2, '"nan" for --every. Must be <= 86400.'),
        (("1", "--every=1441m"), 2, '"1441m" for --every. Must be <= 86400.'),
        (("1", "--every=1", "--ceiling=9"), 2, "--every"),
        (("1", "--every=1", "--streams"), 2, "--every excludes --streams"),
        (("-1", "--every=1"), 2, '"-1" for --accounts. Must be >= 1.'),
    ],
    ids=str,
)
def test_invalid_options(run: Any, path: str, arguments: tuple[str, ...], code: int, why: str) -> None:
    """One line on stderr says what is wrong."""
    places = {"FILE": path, "NONE": f"{path}.none"}
    ended = run("plan", f"--accounts={places.get(arguments[0], arguments[0])}", *arguments[1:])

    assert (ended.code, ended.out, ended.err.count("\n")) == (code, "", 1)
    assert why in ended.err


def test_mistakes_in_a_file_are_reported(run: Any, tmp_path: Path) -> None:
    """The line names the account."""
    path = tmp_path / "accounts.toml"
    path.write_text(ACCOUNTS.format(label="desk", product="spot"), encoding="utf-8")

    assert "line 2 [desk]" in run("plan", "--accounts", str(path)).err
