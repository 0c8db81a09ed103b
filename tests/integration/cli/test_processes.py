"""Commands in their own processes: signals, closed streams, missing extras, and what is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from binance_pm.extras import installation
from tests.support.command import COMMAND, NO_KEYS, run_process, run_without


@pytest.mark.parametrize("shell", ["", "trap '' INT; "], ids=["", "SIGINT ignored"])
@pytest.mark.parametrize("arguments", [("sandbox",), ("demo", "--plain", "--no-once")], ids=["sandbox", "demo"])
def test_sigterm_ends_a_command(arguments: tuple[str, ...], shell: str) -> None:
    """The exit code is 143, even for a command in the background of a script, which ignores Ctrl-C."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", f'{shell}exec "$@"', "sh", *COMMAND, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    _, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (143, b"")


@pytest.mark.parametrize(
    "arguments", ["call um_account --sandbox", "demo --once", "demo --no-once", "--help", "doctor --sandbox"]
)
def test_a_closed_pipe_is_no_failure(arguments: str) -> None:
    """The command ends silently if its reader ends, such as ``head``, even if stdin is closed, too."""
    shell = ["/bin/sh", "-c", 'exec "$@" <&-', "sh"]
    process = subprocess.Popen([*shell, *COMMAND, *arguments.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=20)

    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize(("arguments", "code"), [("call ping --sandbox", 0), ("demo --once", 0), ("nope", 2)])
def test_streams_that_the_shell_closed_are_no_failure(arguments: str, code: int) -> None:
    """The exit code is the same as with open streams."""
    shell = ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh"]

    assert subprocess.run([*shell, *COMMAND, *arguments.split()], timeout=20, check=False).returncode == code


@pytest.mark.parametrize("arguments", ["call ping --sandbox", "demo --once", "demo --no-once"])
def test_output_that_cannot_be_written_is_a_failure(arguments: str) -> None:
    """One line says why."""
    unwritable = os.open(os.devnull, os.O_RDONLY)
    try:
        done = subprocess.run(
            [*COMMAND, *arguments.split()], stdout=unwritable, stderr=subprocess.PIPE, timeout=20, check=False
        )
    finally:
        os.close(unwritable)

    assert (done.returncode, done.stderr) == (1, b"binance-pm: Bad file descriptor\n")


def test_a_failure_without_a_reader_keeps_its_exit_code() -> None:
    """The reader of stderr has ended."""
    process = subprocess.Popen([*COMMAND, "call", "um_account"], stderr=subprocess.PIPE, env=NO_KEYS)
    assert process.stderr is not None
    process.stderr.close()

    assert process.wait(timeout=20) == 1


@pytest.mark.parametrize(
    ("module", "extra", "arguments"),
    [
        ("cyclopts", "cli", "demo"),
        ("starlette", "cli", "demo"),
        ("redis", "redis", "tail redis://h"),
        ("redis", "redis", "watch --accounts x --publish redis://h"),
        ("prometheus_client", "metrics", "watch --accounts x --metrics 9464"),
    ],
)
def test_a_missing_extra_is_named(module: str, extra: str, arguments: str) -> None:
    """One line says how to install the extra."""
    ended = run_without(module, *arguments.split())

    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert installation(extra) in ended.err


@pytest.mark.parametrize(
    ("option", "not_loaded"),
    [
        ("--version", {"starlette", "uvicorn", "textual", "rich", "cyclopts", "httpx"}),
        ("--help", {"starlette", "uvicorn", "textual"}),
    ],
)
def test_help_and_version_load_neither_the_local_exchange_nor_the_dashboard(option: str, not_loaded: set[str]) -> None:
    """A new interpreter runs the module, as the script does."""
    code = (
        f"import runpy, sys; sys.argv[1:] = [{option!r}]\n"
        "try: runpy.run_module('binance_pm', run_name='__main__')\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    ended = run_process(command=[sys.executable, "-c", code])

    assert ended.out
    assert "binance_pm.cli" in ended.err
    assert not_loaded.isdisjoint(ended.err.split())
