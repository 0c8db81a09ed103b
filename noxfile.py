"""Everything that is checked: `nox` runs it all, `nox -s tests` one of it."""

from __future__ import annotations

import re
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests", "interop", "docs", "readme"]

# Each worker begins with a run of neighbours: what their module sets up is set up once. Who is done takes from others.
EVERY_CORE = ("--numprocesses", "logical", "--dist", "worksteal")

PYPROJECT = nox.project.load_toml("pyproject.toml")


def group(name: str) -> tuple[str, ...]:
    """The packages of a dependency group."""
    return nox.project.dependency_groups(PYPROJECT, name)


@nox.session
def lint(session: nox.Session) -> None:
    """Format and rules."""
    session.install(*group("lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Pyright, strict, over package and tests."""
    session.install(".[all]", *group("types"))
    session.run("pyright")
    session.run("pyright", "--verifytypes", "binance_pm", "--ignoreexternal")


@nox.session
def tests(session: nox.Session) -> None:
    """Every test, on every core and with branch coverage; arguments go to pytest instead."""
    session.install("-e", ".[all]", *group("tests"))
    # Started before pytest: the package is a pytest plugin, so pytest itself imports it.
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *(session.posargs or EVERY_CORE))
    session.run("coverage", "combine", "--quiet")
    if not session.posargs:
        session.run("coverage", "report")


@nox.session
def interop(session: nox.Session) -> None:
    """Other people's clients against the local exchange; arguments go to pytest."""
    session.install("-e", ".[sandbox]", *group("tests"), *group("interop"))
    session.run("pytest", "tests/interop", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, into site/; whatever mkdocs warns of is an error."""
    session.install(".[all]", *group("docs"))
    session.run("mkdocs", "build", "--strict", "-f", "docs/mkdocs.yml", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(venv_backend="venv")
def readme(session: nox.Session) -> None:
    """The first command of the README, as it stands, in an environment that has nothing yet."""
    text = Path("README.md").read_text(encoding="utf-8")
    command = re.findall(r"^```sh\n(.+?)^```$", text, re.MULTILINE | re.DOTALL)[0]
    session.log(command.strip())
    printed = session.run("bash", "-euo", "pipefail", "-c", command, external=True, silent=True)
    if len(re.findall(r"^account-\d\d +[A-Z]", str(printed), re.MULTILINE)) != 12:
        session.error(f"no table of twelve accounts was printed, but: {printed}")


@nox.session
def bench(session: nox.Session) -> None:
    """What a call costs here beside other clients, then a refresh, a scrape, a start; with --quick calls alone."""
    session.install("-e", ".[all]", *group("bench"))
    for module in ("speed", "footprint"):
        session.run("python", "-m", f"tests.benchmarks.{module}", *session.posargs)
    calls = ("call_cost", "stall")
    others = ("dashboard", "scrape_cost", "first_picture")
    for module in calls if session.posargs else calls + others:
        session.run("python", "-m", f"tests.benchmarks.{module}")


@nox.session
def screenshot(session: nox.Session) -> None:
    """The picture of the dashboard in the documentation, anew."""
    session.install(".[cli]")
    session.run("python", "docs/screenshot.py")


@nox.session
def bench_budget(session: nox.Session) -> None:
    """The budget beside the limiters that people use today, in simulation; arguments go to it, such as --quick."""
    session.install("-e", ".", *group("bench"))
    session.run("python", "-m", "tests.benchmarks.budget_table", *session.posargs)
