"""Run every example of README.md and of the documentation, and compare its output with the page."""

from __future__ import annotations

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import sysconfig
import textwrap
import tomllib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from binance_pm import errors
from binance_pm.testing import Sandbox, running_sandbox
from tests.support.paths import ROOT

PAGES = ROOT / "docs" / "pages"
SOURCES = [ROOT / "README.md", *sorted(PAGES.rglob("*.md"))]
# Below the time limit of a test. On a cold disk cache, even pip takes twenty seconds.
LONGEST = 50.0
STORE = "BINANCE_PM_PUBLISH"
LANGUAGES = {"python", "sh", "toml", "json", "text", "yaml"}
"""YAML blocks are settings of Prometheus: tests/unit/metrics/test_dashboard.py checks them."""

# These commands need the package index and a fresh environment. The nox session `readme` runs both, .ci/run the second.
INSTALLS = "python3 -m pip --python .venv install "

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$\n?", re.MULTILINE | re.DOTALL
)
_RUNS_UNTIL_STOPPED = re.compile(r"^binance-pm sandbox(?!.*--help).*\Z", re.MULTILINE)


class Block(NamedTuple):
    """One fenced block of a page."""

    path: Path
    line: int
    language: str
    code: str
    output: str | None
    """The text block directly below: the expected output."""

    @property
    def id(self) -> str:
        """File and line, in the form that editors open."""
        return f"{self.path.relative_to(ROOT).as_posix()}:{self.line}"

    @property
    def is_test(self) -> bool:
        """Whether pytest runs the block."""
        return self.language == "python" and re.search(r"^(async )?def test_", self.code, re.MULTILINE) is not None

    @property
    def module(self) -> str:
        """The name of the block as a test module."""
        return f"test_{self.path.stem.replace('-', '_')}_{self.line}"


def blocks_of(path: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = path.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(text))
    blocks: list[Block] = []
    for place, match in enumerate(found):
        below = found[place + 1] if place + 1 < len(found) else None
        follows = below is not None and below["language"] == "text" and not text[match.end() : below.start()].strip()
        blocks.append(
            Block(
                path=path,
                line=text.count("\n", 0, match.start()) + 1,
                language=match["language"],
                code=textwrap.dedent(match["code"]),
                output=textwrap.dedent(below["code"]) if below is not None and follows else None,
            )
        )
    return blocks


BLOCKS = [block for source in SOURCES for block in blocks_of(source)]
TESTS = [block for block in BLOCKS if block.is_test]
PROGRAMS = [block for block in BLOCKS if block.language == "python" and not block.is_test]
COMMANDS = [block for block in BLOCKS if block.language == "sh" and INSTALLS not in block.code]
SETTINGS = [block for block in BLOCKS if block.language in {"toml", "json"}]


def each(blocks: list[Block]) -> pytest.MarkDecorator:
    """Return a mark that makes one test for each block."""
    return pytest.mark.parametrize("block", blocks, ids=[block.id for block in blocks])


def shape(text: str) -> list[str]:
    """Return the lines of a text without what differs between runs: numbers, addresses, spacing and order."""
    # A bar shows the numbers next to it.
    lines = (re.sub(r"\[[.= ]+\]", "[#]", re.sub(r"[-+]?\d[\d.,:]*", "#", line)) for line in text.splitlines())
    return sorted(" ".join(line.split()) for line in lines if line.strip())


@pytest.fixture
def pm() -> Generator[Sandbox, None, None]:
    """Start a local exchange on a socket."""
    with running_sandbox(download_seconds=0) as running:
        yield running


@pytest.fixture
def environment(pm: Sandbox) -> dict[str, str]:
    """Return the environment variables of a user whose account is one of the local exchange."""
    first = pm.accounts[0]
    return {
        "BINANCE_PM_BASE_URL": pm.base_url,
        "BINANCE_PM_API_KEY": first.api_key,
        "BINANCE_PM_API_SECRET": first.api_secret,
    }


@each(PROGRAMS)
def test_python(
    block: Block,
    environment: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    """A program runs unchanged, and prints the output below it."""
    if STORE in block.code:
        monkeypatch.setenv(STORE, request.getfixturevalue("valkey"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    # A program runs in its own process, with an unused budget.
    monkeypatch.setattr("binance_pm.budget._of_egress", {})
    program = tmp_path / "program.py"
    # With empty lines above the program, a traceback names the line of the page.
    program.write_text("\n" * block.line + block.code, encoding="utf-8")

    runpy.run_path(str(program), run_name="__main__")

    if block.output is not None:
        assert shape(capsys.readouterr().out) == shape(block.output)


@pytest.fixture(scope="module")
def pytest_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run all tests of the documentation with the settings of a user, and return the output of pytest."""
    folder = tmp_path_factory.mktemp("documented")
    settings = next(block.code for block in SETTINGS if "asyncio_mode" in block.code)
    (folder / "pyproject.toml").write_text(settings, encoding="utf-8")
    for block in TESTS:
        (folder / f"{block.module}.py").write_text("\n" * block.line + block.code, encoding="utf-8")
    loopback = ("--disable-socket", "--allow-unix-socket", "--allow-hosts=127.0.0.1,::1")
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-Werror", "-pno:cacheprovider", *loopback]
    done = subprocess.run(
        command, cwd=folder, env=_bare(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        timeout=LONGEST, text=True,
    )  # fmt: skip
    return done.stdout


@each(TESTS)
def test_test(block: Block, pytest_run: str) -> None:
    """A test passes under pytest without the settings of this project."""
    outcomes = re.findall(rf"^([A-Z]+) {block.module}\.py", pytest_run, re.MULTILINE)

    assert len(outcomes) >= len(re.findall(r"^(?:async )?def test_", block.code, re.MULTILINE)), pytest_run
    assert set(outcomes) == {"PASSED"}, pytest_run


@each(COMMANDS)
@pytest.mark.usefixtures("interruptible")
def test_sh(block: Block, environment: dict[str, str], tmp_path: Path) -> None:
    """A command prints the output below it without a terminal; a server stops on Ctrl-C."""
    forever = _RUNS_UNTIL_STOPPED.search(block.code.strip()) is not None
    bash = subprocess.Popen(
        ["/usr/bin/env", "bash", "-euo", "pipefail", "-c", block.code],
        cwd=tmp_path, env=_bare(tmp_path) | environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        first = _first_line(bash) if forever else ""
        if forever:
            os.killpg(bash.pid, signal.SIGINT)
        printed = first + bash.communicate(timeout=LONGEST)[0]
    finally:
        if bash.poll() is None:
            os.killpg(bash.pid, signal.SIGKILL)
            bash.communicate()

    assert bash.returncode == (130 if forever else 0), printed
    assert printed.strip()
    if block.output is not None:
        assert shape(printed) == shape(block.output)


@each(SETTINGS)
def test_settings(block: Block) -> None:
    """A block of configuration can be parsed."""
    assert tomllib.loads(block.code) if block.language == "toml" else json.loads(block.code)


def test_every_block_has_a_known_language() -> None:
    """Every block has a known language, so no example escapes its test."""
    assert {block.id: block.language for block in BLOCKS if block.language not in LANGUAGES} == {}


def test_only_the_installation_is_not_run_here() -> None:
    """Only two commands are not run here; the scripts that run them contain or read them unchanged."""
    skipped = [block for block in BLOCKS if block.language == "sh" and block not in COMMANDS]
    demo, check = (block.code for block in skipped)

    assert {block.path.name for block in skipped} == {"README.md"}
    assert demo.endswith(".venv/bin/binance-pm demo\n")
    assert check.endswith(".venv/bin/nox\n")
    assert f"\n{check}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert 'Path("README.md")' in (ROOT / "noxfile.py").read_text(encoding="utf-8")


def test_the_installation_leaves_the_system_alone() -> None:
    """The commands install into an environment without ensurepip: a managed Python may refuse anything else."""
    begin = "python3 binance_pm/version.py && python3 -m venv --without-pip .venv &&\n" + INSTALLS

    assert [block.code.startswith(begin) for block in BLOCKS if INSTALLS in block.code] == [True, True]


def test_links_of_the_readme_exist() -> None:
    """Every relative link names a file of the repository; mkdocs checks the links between pages."""
    links = re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))

    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_error_has_its_advice() -> None:
    """The table of errors has one row for each class, in the order of the tree in the module docstring."""
    table = (PAGES / "reference" / "errors.md").read_text(encoding="utf-8")
    tree = re.findall(r"^ *\* (\w+)", errors.__doc__ or "", re.MULTILINE)

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == tree


def _bare(home: Path) -> dict[str, str]:
    """Return an environment with the commands of this process but without its settings."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    # All packages are installed already; pip would ask the index for a newer pip.
    quiet = {"PATH": path, "HOME": str(home), "LC_ALL": "C.UTF-8", "PIP_NO_INDEX": "1"}
    # Compiled modules are kept only where this process keeps its own, not beside the sources.
    prefix = os.environ.get("PYTHONPYCACHEPREFIX")
    return quiet | ({"PYTHONPYCACHEPREFIX": prefix} if prefix else {"PYTHONDONTWRITEBYTECODE": "1"})


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()
