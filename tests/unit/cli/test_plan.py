"""``binance-pm plan``, as its user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


class TestPlan:
    """``binance-pm plan``."""

    def test_what_does_not_fit(self, run: Any) -> None:
        """A line for each pool and a line of verdict, in 80 columns; the exit code tells as well."""
        ended = run("plan", "--accounts", "40", "--every", "5", "um_account", "account")

        table, verdict = ended.out.split("\n\n")
        rows = [line.split() for line in table.splitlines()]
        assert (ended.code, ended.err, max(map(len, ended.out.splitlines())) <= 80) == (1, "", True)
        assert rows[0] == ["weight", "a", "minute", "limit", "available", "needed", "share"]
        assert rows[1:] == [["IP", "/papi", "6,000", "5,510", "12,000", "217.8%"]]
        assert " ".join(verdict.split()) == (
            "It does not fit: it needs 12,000 a minute, polls may use 5,510 of 6,000: every 10.9 s fits, or adaptive."
        )

    def test_the_interval_that_it_names_fits(self, run: Any) -> None:
        """So does every longer one; a shorter one does not."""
        codes = [run("plan", "--accounts=40", f"--every={n}", "um_account", "account").code for n in (10.8, 10.9, 11)]

        assert codes == [1, 0, 0]

    def test_each_pool_has_a_line(self, run: Any) -> None:
        """An account's own pools are drawn on by one account."""
        ended = run("plan", "--accounts", "40", "--every", "15", "um_account", "pro_account")

        lines = ended.out.splitlines()
        assert [line.split()[:5] for line in lines[1:4]] == [
            ["IP", "/papi", "6,000", "5,510", "800"],
            ["IP", "/sapi/v1/portfolio/account", "12,000", "11,030", "800"],
            ["UID", "/sapi/v1/portfolio/account", "180,000", "165,590", "20"],
        ]
        assert max(map(len, lines)) <= 80
        assert lines[-1] == "It fits; the shortest interval is 2.18 s."

    @pytest.mark.parametrize(("every", "fits"), [("5", False), ("15", True)])
    def test_json(self, run: Any, every: str, fits: bool) -> None:  # noqa: FBT001 - pytest's parameters are positions
        """One object, and the exit code of the table."""
        ended = run("plan", "--accounts", "40", "--every", every, "um_account", "account", "--json")

        said = json.loads(ended.out)
        (pool,) = said.pop("pools")
        assert ended.code == int(not fits)
        assert said == {
            "fits": fits,
            "accounts": 40,
            "every": float(every),
            "shortest": pytest.approx(10.889, abs=1e-3),
        }
        assert (pool["pool"], pool["limit"]) == ("IP /papi", 6_000)
        assert pool["share"] == pool["needed"] / pool["available"] == pytest.approx(said["shortest"] / said["every"])

    @pytest.mark.parametrize(
        ("every", "seconds"), [("7", 7.0), ("7s", 7.0), ("7.5s", 7.5), ("500ms", 0.5), ("2m", 120.0)]
    )
    def test_intervals_have_units(self, run: Any, every: str, seconds: float) -> None:
        """Seconds where none is named."""
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
    def test_a_products_picture_is_read(self, run: Any, product: tuple[str, ...], pools: list[str]) -> None:
        """Where no endpoint is named."""
        said = json.loads(run("plan", "--accounts", "40", "--every", "15", *product, "--json").out)

        assert [pool["pool"] for pool in said["pools"]] == pools

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (
                ("1", "--every=1", "um_account", "nope"),
                "There is no endpoint 'nope': binance-pm call --help lists them.",
            ),
            (("1", "--every=1", "nope", "--json"), "There is no endpoint 'nope': binance-pm call --help lists them."),
            (("1", "--every=soon"), 'Invalid value "soon" for --every. Such as 5, 5s, 500ms or 2m.'),
            (("1", "--every=1h"), 'Invalid value "1h" for --every. Such as 5, 5s, 500ms or 2m.'),
            (
                ("1", "--every=1", "--floor=1"),
                "--every is the same for all: --floor and --ceiling are for a plan without",
            ),
            (
                ("1", "um_account", "--product=pm"),
                "--product stands for the endpoints that are read of it: name one or",
            ),
            (("1", "--shard=1/2"), "--shard takes a part of an accounts file: give its path to --accounts."),
            (("a.toml", "um_account"), "An accounts file says itself what is read: leave out endpoints and --product."),
            (
                ("a.toml", "--product=pm"),
                "An accounts file says itself what is read: leave out endpoints and --product.",
            ),
            (("a.toml", "--shard=x"), "--shard 'x' is not of the form i/n, such as 2/3."),
        ],
        ids=str,
    )
    def test_wrong_usage(self, run: Any, arguments: tuple[str, ...], why: str) -> None:
        """One line says what is wrong."""
        ended = run("plan", "--accounts", *arguments)

        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert ended.err.startswith(f"binance-pm: {why}")


ACCOUNTS = """
[[accounts]]
label = "{label}"
product = "{product}"
api_key = {{ env = "NOT_READ" }}
api_secret = {{ env = "NOT_READ" }}
"""


class TestPlanOfFile:
    """``binance-pm plan`` for an accounts file, and without an interval."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> str:
        """Thirty accounts of Portfolio Margin and two of the other products each; their keys are nowhere."""
        products = ["pm"] * 30 + ["pm_pro", "span"] * 2
        tables = [ACCOUNTS.format(label=f"desk-{n}", product=product) for n, product in enumerate(products)]
        path = tmp_path / "accounts.toml"
        path.write_text("".join(tables), encoding="utf-8")
        return str(path)

    def test_at_an_interval(self, run: Any, path: str) -> None:
        """Each account reads what its product needs; no key is opened."""
        ended = run("plan", "--accounts", path, "--every", "5s")

        rows = [line.split() for line in ended.out.splitlines()[1:5]]
        assert (ended.code, max(map(len, ended.out.splitlines())) <= 80) == (1, True)
        assert [[*row[:2], row[-2]] for row in rows] == [
            ["IP", "/papi", "9,000"],
            ["IP", "/sapi/v1/portfolio/account", "120"],
            ["UID", "/sapi/v1/portfolio/account", "60"],
            ["IP", "/sapi/v2/portfolio/account", "120"],
        ]
        assert run("plan", "--accounts", path, "--every", "9s").code == 0

    def test_as_it_would_be_watched(self, run: Any, path: str) -> None:
        """How often the calm ones, those in danger and all are read, and what a minute of it takes."""
        ended = run("plan", "--accounts", path)

        intervals, pools, verdict = ended.out.split("\n\n")
        rows = [line.split() for line in intervals.splitlines()]
        assert (ended.code, ended.err, max(map(len, ended.out.splitlines())) <= 80) == (0, "", True)
        assert " ".join(rows[0]) == "seconds between readings accounts calm 5 in danger others all in danger"
        # The five whose readings take most are in danger: they share what polls may use with the others.
        assert rows[1] == ["account,", "um_account", "30", "15", "2.02", "30.2", "9.07"]
        assert rows[2:] == [["pro_account", "2", "15", "-", "15", "1"], ["span_account", "2", "15", "-", "15", "1"]]
        assert pools.splitlines()[1].split() == ["IP", "/papi", "6,000", "5,510", "3,000", "54.4%"]
        assert verdict == "It fits: while all are calm, each is read every 15 s.\n"

    def test_more_than_fits(self, run: Any) -> None:
        """Of a number too; the exit code tells that the ceiling does not hold."""
        ended = run("plan", "--accounts", "200")

        assert (ended.code, ended.err, max(map(len, ended.out.splitlines())) <= 80) == (1, "", True)
        assert " ".join(ended.out.split("\n\n")[2].split()) == (
            "It does not fit: it needs 20,000 a minute, a watch plans 4,959 of 6,000: even while all are calm, some "
            "are read every 60.5 s."
        )
        assert run("plan", "--accounts", "200", "--ceiling", "61").code == 0

    def test_json(self, run: Any, path: str) -> None:
        """The same as one object."""
        said = json.loads(run("plan", "--accounts", path, "--floor", "2", "--ceiling", "30", "--json").out)

        assert (said["fits"], said["accounts"], said["floor"], said["ceiling"], said["few"]) == (True, 34, 2, 30, 5)
        assert [(group["read"], group["accounts"], group["calm"]) for group in said["groups"]] == [
            (["account", "um_account"], 30, 30),
            (["pro_account"], 2, 30),
            (["span_account"], 2, 30),
        ]

    def test_a_part_of_it(self, run: Any, path: str) -> None:
        """The parts are all of it together."""
        parts = [json.loads(run("plan", "--accounts", path, "--shard", f"{n}/3", "--json").out) for n in (1, 2, 3)]

        assert sum(part["accounts"] for part in parts) == 34
        assert all(0 < part["accounts"] < 34 for part in parts)

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            (("--shard", "4/3"), "there is no shard 4 of 3"),
            (("--floor", "9", "--ceiling", "3"), "0 < floor <= ceiling <= 900"),
            (("--ceiling", "901"), "0 < floor <= ceiling <= 900"),
            (("--shard", "9/999"), "this shard has none of the accounts"),
        ],
    )
    def test_what_cannot_be(self, run: Any, path: str, arguments: tuple[str, ...], why: str) -> None:
        """One line says why."""
        ended = run("plan", "--accounts", path, *arguments)

        assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
        assert why in ended.err

    def test_a_file_that_is_wrong(self, run: Any, tmp_path: Path) -> None:
        """All that is wrong with it, in one line; and one that is not there."""
        path = tmp_path / "accounts.toml"
        path.write_text(ACCOUNTS.format(label="desk", product="spot"), encoding="utf-8")

        assert "line 2 [desk]: product is not one of pm, pm_pro, span" in run("plan", "--accounts", str(path)).err
        assert "cannot be read" in run("plan", "--accounts", str(tmp_path / "none.toml")).err
