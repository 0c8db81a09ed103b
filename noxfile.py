"""Everything that is checked: `nox` runs it all, `nox -s tests` one of it."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["lint", "types", "tests", "interop", "docs"]

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


@nox.session
def tests(session: nox.Session) -> None:
    """Every test, with branch coverage; arguments go to pytest."""
    session.install("-e", ".[all]", *group("tests"))
    # Started before pytest: the package is a pytest plugin, so pytest itself imports it.
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    if not session.posargs:
        session.run("coverage", "report")


@nox.session
def interop(session: nox.Session) -> None:
    """Other people's clients against the local exchange; arguments go to pytest."""
    session.install("-e", ".[sandbox]", *group("tests"), *group("interop"))
    session.run("pytest", "tests/interop", *session.posargs)
