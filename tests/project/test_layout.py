"""Imports point one way, cost little, and load only what is needed."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec
import pytest

import binance_pm
from binance_pm import ENDPOINTS, errors
from binance_pm.enums import OpenEnum
from binance_pm.wire import Model
from tests.support.paths import ROOT

PACKAGE = Path(binance_pm.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

_ORDER = """
version extras files threads enums limits hosts amounts finite quick_check rows decoding wire signing client_ids
settings clock wakeup listeners transport resolution downloads errors environment arguments egress redis_client budget
page classify retry descriptions paging argument_types endpoint declaration api attempt_event session journal_file
journal call resolve downloading base_client stream client history fleet metrics doctor sandbox testing pytest_plugin
cli __main__
"""
# A part may import those before it, and its own modules.
ORDER = _ORDER.split()

CORE = {"anyio", "msgspec", "sniffio"}
_EXTRAS = """
cryptography cyclopts httptools keyring prometheus_client pyarrow pytest redis rich starlette textual trio uvicorn
uvloop websockets
"""
EXTRAS = set(_EXTRAS.split())


class Import(NamedTuple):
    """The module of one import statement."""

    module: str
    at_once: bool
    """Whether importing the file runs the import, not only calling a function or checking types."""


@cache
def source_of(file: str) -> str:
    """Return the text of a file of the package."""
    return (PACKAGE / file).read_text(encoding="utf-8")


@cache
def tree_of(file: str) -> ast.Module:
    """Return the syntax tree of a file of the package."""
    return ast.parse(source_of(file))


@cache
def imports(file: str) -> list[Import]:
    """Return every module that a file of the package imports."""
    return list(_imports(tree_of(file), at_once=True))


def _imports(node: ast.AST, *, at_once: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names):
                yield from (Import(name.name, at_once) for name in names)
            case ast.ImportFrom(module, names, level):
                assert level == 0, "imports are absolute"
                # "from binance_pm.budget import pools" may import a module of that name.
                yield from (Import(f"{module}.{name.name}", at_once) for name in names)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.If(ast.Name("TYPE_CHECKING")):
                yield from _imports(child, at_once=False)
            case _:
                yield from _imports(child, at_once=at_once)


def part_of(file: str) -> str:
    """Return the part of the package that a file belongs to."""
    return file.partition("/")[0].removesuffix(".py")


def root_of(module: str) -> str:
    """Return the distribution's module, such as ``httpx``."""
    return module.partition(".")[0]


def parts_imported(file: str) -> set[str]:
    """Return the parts of the package that a file imports."""
    return {found.module.split(".")[1] for found in imports(file) if root_of(found.module) == "binance_pm"}


@pytest.mark.parametrize("file", [file for file in FILES if file != "__init__.py"])
def test_imports_point_one_way(file: str) -> None:
    """A part of the package imports only what lies below it."""
    part = part_of(file)
    assert part in ORDER, "say where the new part belongs"

    assert parts_imported(file) <= set(ORDER[: ORDER.index(part) + 1])


BUDGET = [file for file in FILES if part_of(file) == "budget"]


@pytest.mark.parametrize("file", BUDGET)
def test_the_budget_knows_neither_http_nor_error_classification(file: str) -> None:
    """The budget receives facts, and can be tested and shared without a transport."""
    assert parts_imported(file).isdisjoint({"transport", "classify"})


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith("budget/shared/")])
def test_only_a_shared_budget_needs_the_store(file: str) -> None:
    """Only the package's top level and ``binance-pm watch`` create a shared budget."""
    users = {file for found in imports(file) if found.module.startswith("binance_pm.budget.shared")}

    assert users <= {"__init__.py", "cli/watch.py"}


@pytest.mark.parametrize("file", [file for file in FILES if part_of(file) == "api"])
def test_declarations_import_little(file: str) -> None:
    """A topic contains Structs and declarations, and knows nothing of how calls are made."""
    assert parts_imported(file) <= {
        "api",
        "client_ids",
        "declaration",
        "downloads",
        "endpoint",
        "enums",
        "limits",
        "paging",
        "resolution",
        "wire",
    }


@pytest.mark.parametrize("file", [file for file in FILES if part_of(file) == "sandbox"])
def test_the_sandbox_imports_nothing_of_the_client(file: str) -> None:
    """The local exchange has its own facts, so that it does not repeat a mistake of the client."""
    assert parts_imported(file) <= {"sandbox"}


@pytest.mark.parametrize("file", [file for file in FILES if part_of(file) not in {"sandbox", "testing", "cli"}])
def test_the_client_imports_nothing_of_the_sandbox(file: str) -> None:
    """Only the parts that join the two, for tests and the command line, know both."""
    assert "sandbox" not in parts_imported(file)


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("httpx", "transport/httpx.py"),
        ("httpcore", "transport/httpx.py transport/httpcore.py"),
        ("httptools", "transport/direct.py"),
        ("textual", "cli/dashboard/app.py"),
        ("websockets", "sandbox/websocket.py stream/websocket.py"),
    ],
)
def test_one_file_imports_each_library(library: str, home: str) -> None:
    """The libraries for requests and for drawing can be replaced in one file each."""
    users = {file for file in FILES for found in imports(file) if root_of(found.module) == library}

    assert users <= set(home.split())


OWN_EXTRA = {"transport/direct.py", "stream/websocket.py"}
"""Files whose import needs an extra."""


@pytest.mark.parametrize("file", FILES)
def test_the_core_needs_no_extra(file: str) -> None:
    """Except in parts that are extras themselves, extras are imported on use."""
    if part_of(file) in {"cli", "metrics", "sandbox", "testing", "pytest_plugin"} or file in OWN_EXTRA:
        return
    loaded = {root_of(found.module) for found in imports(file) if found.at_once}

    foreign = loaded - set(sys.stdlib_module_names) - {"binance_pm", "__future__"}
    assert foreign <= CORE | (
        {"httpcore", "httpx"} if file in {"transport/httpx.py", "transport/httpcore.py"} else set()
    )


LONGEST_FILE, LONGEST_FUNCTION = 500, 40


def test_no_file_is_too_long() -> None:
    """A file is read as a whole."""
    lengths = {file: source_of(file).count("\n") for file in FILES}

    assert {file for file, lines in lengths.items() if lines > LONGEST_FILE} == set()


def test_no_function_is_too_long() -> None:
    """Docstrings, comments and empty lines do not count."""
    functions = (
        (f"{file} {node.name}", _lines_of_code(node, source_of(file).splitlines()))
        for file in FILES
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )

    assert {name for name, lines in functions if lines > LONGEST_FUNCTION} == set()


def _lines_of_code(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    texts = (node for node in ast.walk(function) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    told = {line for text in texts for line in range(text.lineno, (text.end_lineno or 0) + 1)}
    code = set(range(function.lineno, (function.end_lineno or 0) + 1)) - told
    return sum(not re.fullmatch(r"\s*(#.*)?", lines[line - 1]) for line in code)


def test_imports_form_no_cycle() -> None:
    """Neither at import time, nor in functions and for types."""
    at_once = {file: _files_imported(file, at_once_only=True) for file in FILES}
    any_time = {file: _files_imported(file, at_once_only=False) for file in FILES}

    assert _cycles(at_once) == set()
    assert _cycles(any_time) == set()


def _files_imported(file: str, *, at_once_only: bool) -> set[str]:
    """Return the files of the package that a file imports."""
    wanted = [found.module for found in imports(file) if found.at_once or not at_once_only]
    return {_file_of(module) for module in wanted if root_of(module) == "binance_pm"} - {file}


def _file_of(module: str) -> str:
    """Return the file of a module, or of the module that contains a name."""
    path = "/".join(module.split(".")[1:])
    places = (f"{one}{end}" for one in (path, path.rpartition("/")[0]) for end in (".py", "/__init__.py"))
    return next((place for place in places if place in FILES), "__init__.py")


def _cycles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Return the groups of files that import each other."""
    reach = {file: _reached(file, graph) for file in graph}
    groups = {frozenset(other for other in reach[file] if file in reach[other]) for file in graph}
    return {group for group in groups if len(group) > 1}


def _reached(file: str, graph: dict[str, set[str]]) -> set[str]:
    found, new = set[str](), {file}
    while new:
        new = {following for one in new for following in graph[one]} - found
        found |= new
    return found


def test_no_two_classes_have_the_same_name() -> None:
    """One class name has one meaning."""
    names = Counter(node.name for file in FILES for node in ast.walk(tree_of(file)) if isinstance(node, ast.ClassDef))

    assert {name for name, times in names.items() if times > 1} == set()


def python(code: str, **environment: str) -> str:
    """Return the output of a new interpreter."""
    command = [sys.executable, "-c", code]
    # Coverage would cost more than what is measured here.
    unwatched = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=unwatched | environment)
    return done.stdout


def test_importing_loads_no_extra() -> None:
    """``import binance_pm`` loads no module of an extra, except those that httpx loads."""
    loaded = python(
        "import sys, anyio, httpx, msgspec\n"
        "before = set(sys.modules)\n"
        "import binance_pm\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})",
    ).split()

    assert "binance_pm" in loaded
    assert EXTRAS.isdisjoint(loaded)
    assert "binance_pm.sandbox" not in loaded


def test_the_direct_engine_does_not_load_httpx() -> None:
    """Not even to check the type of an argument that is not given."""
    loaded = python(
        "import asyncio, sys, binance_pm\n"
        "from binance_pm.budget import Budget\n"
        "async def main():\n"
        "    async with binance_pm.Session(budget=Budget()) as session, binance_pm.Client(session=session):\n"
        "        print(session.engine, *sys.modules)\n"
        "asyncio.run(main())",
    ).split()

    assert loaded[0] == "direct"
    assert {"httpx", "httpcore", "trio"}.isdisjoint(loaded)


def test_declarations_do_not_load_the_budget() -> None:
    """A topic imports nothing that makes calls, apart from what the top of the package imports."""
    loaded = python(
        "import importlib, pkgutil, sys, types\n"
        f"top = sys.modules['binance_pm'] = types.ModuleType('binance_pm'); top.__path__ = [{str(PACKAGE)!r}]\n"
        "for module in pkgutil.iter_modules(importlib.import_module('binance_pm.api').__path__):\n"
        "    importlib.import_module(f'binance_pm.api.{module.name}')\n"
        "print(*(name.split('.')[1] for name in sys.modules if name.startswith('binance_pm.')))",
    ).split()

    assert "declaration" in loaded
    assert {"budget", "session", "client"}.isdisjoint(loaded)


@pytest.mark.parametrize(
    ("module", "used"),
    [
        ("um", "um"),
        ("margin", "margin"),
        ("pro", "pro"),
        ("funds", "auto_collection"),
        ("streams", "create_listen_key"),
    ],
)
def test_what_few_programs_need_is_loaded_on_first_use(module: str, used: str) -> None:
    """``import binance_pm`` loads no namespace; the first use of one loads it, and so does that of some methods."""
    is_loaded = f"print('binance_pm.api.{module}' in sys.modules)"
    loaded = python(f"import sys, binance_pm\n{is_loaded}\nbinance_pm.Client().{used}\n{is_loaded}").split()

    assert loaded == ["False", "True"]


def test_a_known_endpoint_is_found_without_all_topics() -> None:
    """Only the first read of an endpoint that is not known yet imports every topic."""
    loaded = python("import sys, binance_pm\nprint('ping' in binance_pm.ENDPOINTS, 'binance_pm.api.um' in sys.modules)")

    assert loaded.split() == ["True", "False"]


def test_reading_the_registry_loads_every_topic() -> None:
    """The registry is complete on first access as a whole."""
    topics = {path.stem for path in (PACKAGE / "api").glob("*.py")} - {"__init__"}

    loaded = python("import sys, binance_pm\nlist(binance_pm.ENDPOINTS)\nprint(*sys.modules)").split()
    assert {f"binance_pm.api.{topic}" for topic in topics} <= set(loaded)


def test_the_list_of_extras_is_complete() -> None:
    """Every library of an extra must not be loaded by importing the package."""
    required = importlib.metadata.requires("binance-pm") or []
    named = {line.split(";")[0].split(">")[0].split("[")[0].strip() for line in required if "extra ==" in line}

    assert {name.replace("-", "_") for name in named} - {"binance_pm"} <= EXTRAS


def brought_by(extra: str) -> set[str]:
    """Return the libraries of an extra, with those of the extras that it includes."""
    extras = PROJECT["optional-dependencies"]
    brought: set[str] = set()
    for requirement in extras[extra]:
        name, _, others = re.split(r"[<>=;]", requirement)[0].partition("[")
        if name == "binance-pm":
            brought = brought.union(*map(brought_by, others.rstrip("]").split(",")))
        else:
            brought.add(name.replace("-", "_"))
    return brought


@pytest.mark.parametrize(
    ("extra", "parts"),
    [("cli", {"cli", "testing", "sandbox"}), ("sandbox", {"testing", "sandbox"}), ("metrics", {"metrics"})],
)
def test_an_extra_installs_what_its_parts_import(extra: str, parts: set[str]) -> None:
    """No second extra is needed."""
    used = {root_of(found.module) for file in FILES if part_of(file) in parts for found in imports(file)}
    foreign = used - set(sys.stdlib_module_names) - {"binance_pm", "__future__"} - CORE

    assert foreign
    assert foreign <= brought_by(extra)


FEWEST_PROCESSES, MOST_PROCESSES = 5, 40

# httpx loads its command line with click, rich and pygments if they are installed: not counted for httpx.
# Otherwise a garbage collection of other objects may fall into this package's part.
MEASURE = """
import gc, sys, time
sys.modules["click"] = None
start = time.process_time()
import anyio, httpx, msgspec
alone = time.process_time() - start
gc.collect()
middle = time.process_time()
import binance_pm
print(alone, time.process_time() - middle)
"""


def test_importing_costs_little(tmp_path: Path) -> None:
    """Importing takes at most a quarter more than importing httpx, msgspec and anyio alone."""
    # Installed packages have cached bytecode; the cache may be off here, so a separate one is used.
    environment = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    python(MEASURE, **environment)
    shares: list[float] = []

    # Other programs slow both parts of a process down alike: their ratio stays, and the median drops interruptions.
    for _ in range(MOST_PROCESSES):
        alone, added = map(float, python(MEASURE, **environment).split())
        shares.append(added / alone)
        if len(shares) >= FEWEST_PROCESSES and median(shares) <= 0.25:
            break

    assert median(shares) <= 0.25, shares


LAZY = {
    "JournalEntry",
    "JournalReader",
    "SharedBudget",
    "StreamDown",
    "StreamGap",
    "StreamSettings",
    "WriteEnded",
    "WriteStarted",
    "paginate",
    "read_journal",
}
"""What is loaded on access."""


def public() -> set[str]:
    """Return the names of the package that are neither modules nor private."""
    names = {name for name, value in inspect.getmembers(binance_pm) if not inspect.ismodule(value)}
    return {name for name in names if not name.startswith("_")} - {"annotations", "TYPE_CHECKING", "VERSION"} | LAZY


def test_all_is_complete_and_sorted() -> None:
    """The top level exports everything that it holds, each once: constants first, then everything by name."""
    assert binance_pm.__all__ == sorted(public() | {"__version__"}, key=lambda name: (not name.isupper(), name))


@pytest.mark.parametrize("name", binance_pm.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    """An exported name exists and, if possible, has a docstring."""
    value = getattr(binance_pm, name)

    assert value is not None
    assert not callable(value) or inspect.getdoc(value)


def subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    """Return every subclass of the given class in the package."""
    for child in kind.__subclasses__():
        if child.__module__.startswith("binance_pm."):
            yield child
            yield from subclasses(child)


def test_everything_for_users_is_public() -> None:
    """Errors and general enumerations are exported at the top; Structs are imported from their topic."""
    met = {errors.PortfolioMarginError, *subclasses(errors.PortfolioMarginError)}
    met |= {kind for kind in subclasses(OpenEnum) if kind.__module__ == OpenEnum.__module__}

    assert {kind.__name__ for kind in met} <= set(binance_pm.__all__)


# Reading the registry loads every topic.
MODELS = list(subclasses(Model)) if list(ENDPOINTS) else []


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_responses_are_frozen_and_strict_about_missing_fields(kind: type[Model]) -> None:
    """A response is immutable, ignores new fields, and invents no missing ones."""
    config = kind.__struct_config__

    assert (config.frozen, config.forbid_unknown_fields, config.array_like) == (True, False, False)
    assert all(field.required or field.default is None for field in msgspec.structs.fields(kind))


def test_structs_have_unique_names() -> None:
    """No two Structs have the same name."""
    assert len({kind.__name__ for kind in MODELS}) == len(MODELS)


def test_the_package_announces_its_version_and_its_types() -> None:
    """The version in the code is the installed one, and type checkers of users read the annotations."""
    assert binance_pm.__version__ == importlib.metadata.version("binance-pm")
    assert (PACKAGE / "py.typed").is_file()
