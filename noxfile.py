"""Everything that is checked: `nox` runs it all, `nox -s lint` one of it.

All of it is installed as `pylock.toml` says, so it passes next year with the versions that pass today. `nox -s newest`
and `nox -s lowest` run the tests with the newest releases and with the lowest that pyproject.toml allows. `nox -s
interop_node` is not among the default sessions, because npm needs a registry too.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nox

# It says so if this Python is too old.
runpy.run_path("binance_pm/version.py")

# Of the installers, uv alone compares the files that it installs with the hashes of constraints.
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
if HERE not in PYTHONS:
    PYTHONS.append(HERE)
nox.options.sessions = ["lint", "types", f"tests-{HERE}", "interop", "docs", "readme"]

# Each worker begins with a run of neighbours: what their module sets up is set up once. Who is done takes from others.
EVERY_CORE = ("--numprocesses", "logical", "--dist", "worksteal")

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYLOCK = Path("pylock.toml")
HEADER = """\
# Written by `nox -s lock`: versions and hashes of all that nox installs, for every Python and platform (PEP 751).
# Files are named without an address: they come from the index that your pip or uv is configured to use.
"""


def group(name: str) -> tuple[str, ...]:
    """The packages of a dependency group."""
    return nox.project.dependency_groups(PYPROJECT, name)


def install(session: nox.Session, *packages: str) -> None:
    """Install what is locked, the build of this project included, and nothing else."""
    locked = nox.project.load_toml(PYLOCK)["packages"]
    constraints = session.cache_dir / "locked.txt"
    constraints.write_text("".join(map(constraint, locked)), encoding="utf-8")
    files = (f"--constraints={constraints}", f"--build-constraints={constraints}", "--require-build-hashes")
    session.install(*packages, *files, env=index())
    known = {f"{package['name']}=={package['version']}" for package in locked}
    frozen = str(session.run("uv", "pip", "freeze", "--exclude-editable", silent=True)).split("\n")
    if foreign := [line for line in frozen if "==" in line and line not in known]:
        session.error(f"pylock.toml does not have {', '.join(foreign)}: run `nox -s lock`")


def constraint(package: dict[str, Any]) -> str:
    """One locked package as a line of a file of constraints."""
    marker = f" ; {package['marker']}" if "marker" in package else ""
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
    hashes = "".join(f" --hash=sha256:{file['hashes']['sha256']}" for file in files)
    return f"{package['name']}=={package['version']}{marker}{hashes}\n"


def index() -> dict[str, str]:
    """The index that pip is configured to use, as a variable for uv, which does not read pip's configuration."""
    if {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & os.environ.keys():
        return {}
    python = getattr(sys, "_base_executable", sys.executable)
    command = [python, "-m", "pip", "config", "list"]
    pip = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this very Python
    found = re.findall(r"^(?:global|install|:env:)\.index-url='(.+)'$", pip.stdout, re.MULTILINE)
    return {"UV_DEFAULT_INDEX": found[-1]} if found else {}


def compiled(session: nox.Session) -> dict[str, str]:
    """Variables that keep compiled modules, also if the user's environment says not to.

    Tests start hundreds of interpreters. Each of them would compile the package and its libraries again, which takes
    longer than most commands do.
    """
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(session.cache_dir.resolve() / "compiled")}


@nox.session
def lint(session: nox.Session) -> None:
    """Format and rules."""
    install(session, *group("lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Pyright, strict, over package and tests."""
    install(session, ".[all]", *group("types"))
    session.run("pyright")
    session.run("pyright", "--verifytypes", "binance_pm", "--ignoreexternal")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Every test, on every core and with branch coverage; arguments go to pytest instead."""
    install(session, "-e", ".[all]", *group("tests"))
    # Started before pytest: the package is a pytest plugin, so pytest itself imports it.
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *(session.posargs or EVERY_CORE), env=compiled(session))
    session.run("coverage", "combine", "--quiet")
    if not session.posargs:
        session.run("coverage", "report")


@nox.session
def newest(session: nox.Session) -> None:
    """Every test with the newest release of everything; arguments go to pytest."""
    session.install("--upgrade", "-e", ".[all]", *group("tests"), env=index())
    session.run("pytest", *(session.posargs or EVERY_CORE), env=compiled(session))


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Every test with the lowest releases that pyproject.toml allows; arguments go to pytest."""
    session.install("--resolution=lowest-direct", "-e", ".[all]", *group("tests"), env=index())
    session.run("pytest", *(session.posargs or EVERY_CORE), env=compiled(session))


@nox.session
def lock(session: nox.Session) -> None:
    """Write pylock.toml with the newest release of everything."""
    groups = [f"--group={name}" for name in PYPROJECT["dependency-groups"]]
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "pylock.toml")
        session.run(
            "uv", "pip", "compile", "pyproject.toml", "--universal", f"--python-version={PYTHONS[0]}", "--all-extras",
            *groups, "--format=pylock.toml", f"--output-file={written}", "--no-header", "--quiet",
            env=index(),
        )  # fmt: skip
        text = written.read_text(encoding="utf-8")
    PYLOCK.write_text(HEADER + re.sub(r'\burl = "[^"]*/([^"/]+)"', r'path = "\1"', text), encoding="utf-8")


@nox.session
def interop(session: nox.Session) -> None:
    """Clients of other authors against the local exchange; arguments go to pytest."""
    install(session, "-e", ".[sandbox]", *group("tests"), *group("interop"))
    session.run("pytest", "tests/interop", *session.posargs)


@nox.session
def interop_node(session: nox.Session) -> None:
    """Packages of npm against the local exchange; arguments go to pytest.

    They come from the registry in npm's configuration, in the versions and with the hashes of their lock file.
    """
    if not has_node():
        session.skip("node and npm are not installed")
    install(session, "-e", ".[sandbox]", *group("tests"))
    files = ("tests/interop/test_node.py", "tests/interop/test_node_streams.py")
    session.run("pytest", *files, *session.posargs, env=node_packages(session))


def has_node() -> bool:
    """Whether Node.js and npm are installed."""
    return bool(shutil.which("node") and shutil.which("npm"))


def node_packages(session: nox.Session) -> dict[str, str]:
    """Install the packages of npm; return the variable that names their directory."""
    folder = session.create_tmp()
    for file in ("package.json", "package-lock.json"):
        shutil.copy(Path("tests/interop/node", file), folder)
    options = ("--ignore-scripts", "--no-audit", "--no-fund")
    session.run("npm", "ci", f"--prefix={folder}", *options, external=True)
    return {"NODE_PATH": str(Path(folder, "node_modules"))}


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, into site/; whatever mkdocs warns of is an error."""
    install(session, ".[all]", *group("docs"))
    session.run("mkdocs", "build", "--strict", "-f", "docs/mkdocs.yml", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(venv_backend="none")
def readme(session: nox.Session) -> None:
    """Both commands of the README, as they stand, in a fresh copy; of what the second runs, the session `lint`.

    Between the two, the command that messages name for a missing extra.
    """
    text = Path("README.md").read_text(encoding="utf-8")
    demo, check = re.findall(r"^```sh\n(python3 .+?)^```$", text, re.MULTILINE | re.DOTALL)
    # The Python that nox itself was made with, as its user has it. It refuses to install outside of an environment, as
    # one does that the system manages.
    path = os.pathsep.join([str(Path(sys.base_prefix, "bin")), os.environ["PATH"]])
    environment = {"PATH": path, "PIP_REQUIRE_VIRTUALENV": "1", "NOXSESSION": "lint"}
    ignored = shutil.ignore_patterns(".git", *(line.strip("/") for line in Path(".gitignore").read_text().split()))
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(".", Path(folder, "checkout"), ignore=ignored)
        with session.chdir(copy):
            bash = ("bash", "-euo", "pipefail", "-c")
            printed = session.run(*bash, demo, env=environment, external=True, silent=True)
            extra = ".venv/bin/python -c 'from binance_pm.extras import installation as of; print(of(\"redis\"))'"
            session.run(*bash, f'eval "$({extra})"', env=environment, external=True, silent=True)
            session.run(*bash, check, env=environment, external=True)
    if len(re.findall(r"^account-\d\d +[A-Z]", str(printed), re.MULTILINE)) != 12:
        session.error(f"no table of twelve accounts was printed, but: {printed}")


@nox.session
def bench(session: nox.Session) -> None:
    """What a call costs here beside other clients, then a refresh, a scrape, a start; with --quick calls alone.

    With --write, the figures of calls go into the documentation and the list of targets.
    """
    install(session, "-e", ".[all]", *group("bench"))
    quick = [option for option in session.posargs if option != "--write"]
    if "--write" in session.posargs:
        session.run("python", "-m", "tests.benchmarks.record", *quick)
        return
    for module in ("speed", "footprint"):
        session.run("python", "-m", f"tests.benchmarks.{module}", *quick)
    calls = ("call_cost", "stall", "layers")
    others = ("dashboard", "scrape_cost", "first_picture")
    for module in calls if quick else calls + others:
        session.run("python", "-m", f"tests.benchmarks.{module}")


@nox.session
def screenshot(session: nox.Session) -> None:
    """The picture of the dashboard in the documentation, anew."""
    install(session, ".[cli]")
    session.run("python", "docs/screenshot.py")


@nox.session
def bench_streams(session: nox.Session) -> None:
    """User data streams and live accounts beside other clients: each target as met or missed, in about an hour.

    Arguments go to the benchmark, such as --quick or --only 1 7. Packages of npm take part if npm is installed.
    """
    install(session, "-e", ".[all]", *group("tests"), *group("interop"))
    environment = node_packages(session) if has_node() else {}
    session.run("python", "-m", "tests.benchmarks.streams", *session.posargs, env=environment)


@nox.session
def bench_budget(session: nox.Session) -> None:
    """The budget beside the limiters that people use today, in simulation; arguments go to it, such as --quick."""
    install(session, "-e", ".", *group("bench"))
    session.run("python", "-m", "tests.benchmarks.budget_table", *session.posargs)
