"""The command that installs an extra matches the origin of the package."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Generator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from binance_pm import extras
from binance_pm.extras import installation

URL = "https://git.example/binance-pm"


class Installed:
    """A distribution with a recorded origin."""

    def __init__(self, noted: dict[str, Any] | None) -> None:
        self._noted = noted

    def read_text(self, name: str) -> str | None:
        """Return the file of the origin, the only one."""
        assert name == "direct_url.json"
        return None if self._noted is None else json.dumps(self._noted)


@pytest.fixture(autouse=True)
def fresh() -> Generator[None]:
    """Clear the cached origin before and after a test."""
    installation.cache_clear()
    yield
    installation.cache_clear()


def command_for(
    monkeypatch: pytest.MonkeyPatch, noted: dict[str, Any] | None, *, python: str = "/venv/bin/python"
) -> str:
    """Return the command for an origin."""

    def distribution(_: str) -> Installed:
        return Installed(noted)

    monkeypatch.setattr(metadata, "distribution", distribution)
    monkeypatch.setattr(sys, "executable", python)
    return installation("redis")


@pytest.mark.parametrize(
    ("noted", "words"),
    [
        ({"url": "file:///home/me/binance-pm", "dir_info": {}}, "'/home/me/binance-pm[redis]'"),
        ({"url": "file:///home/me/my%20desk", "dir_info": {}}, "'/home/me/my desk[redis]'"),
        (
            {"url": "file:///home/me/binance-pm", "dir_info": {"editable": True}},
            "--editable '/home/me/binance-pm[redis]'",
        ),
        (
            {"url": URL, "vcs_info": {"vcs": "git", "commit_id": "0a1b2c", "requested_revision": "main"}},
            f"'binance-pm[redis] @ git+{URL}@0a1b2c'",
        ),
        (
            {"url": "file:///tmp/binance_pm-0.1.0-py3-none-any.whl", "archive_info": {}},
            "'binance-pm[redis] @ file:///tmp/binance_pm-0.1.0-py3-none-any.whl'",
        ),
    ],
    ids=["folder", "space", "editable", "git", "archive"],
)
def test_the_command_matches_the_origin(noted: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, editable or not; a commit; an archive."""
    assert command_for(monkeypatch, noted) == f"/venv/bin/python -m pip install {words}"


def test_without_a_record_the_checkout_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is imported from a checkout."""
    folder = Path(extras.__file__).parents[1]

    def distribution(_: str) -> Installed:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "distribution", distribution)

    assert (folder / "pyproject.toml").is_file()
    assert f"{folder}[redis]" in installation("redis")


def test_a_package_of_an_index_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No origin is recorded for a package from an index, and there is no checkout around it."""
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "binance_pm" / "extras.py"))

    assert command_for(monkeypatch, None) == "/venv/bin/python -m pip install 'binance-pm[redis]'"


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installer should not have recorded one."""
    noted = {"url": "https://me:hunter2@git.example/binance-pm", "vcs_info": {"vcs": "git", "commit_id": "0a1b2c"}}

    text = command_for(monkeypatch, noted)

    assert "hunter2" not in text
    assert "git+https://me@git.example/binance-pm@0a1b2c" in text


def test_uv_is_named_if_pip_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment created by uv has no pip; uv installs from outside."""

    def nothing(_: str) -> None:
        return None

    monkeypatch.setattr(extras, "find_spec", nothing)

    text = command_for(monkeypatch, {"url": "file:///home/me/binance-pm", "dir_info": {}})

    assert text == "uv pip install --python /venv/bin/python '/home/me/binance-pm[redis]'"


def test_metrics_name_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the ImportError names the command."""
    monkeypatch.setitem(sys.modules, "binance_pm.metrics.metrics", None)
    monkeypatch.delitem(sys.modules, "binance_pm.metrics", raising=False)

    with pytest.raises(ImportError, match=re.escape(f"metrics need the extra `metrics`: {installation('metrics')}")):
        __import__("binance_pm.metrics")


def test_every_message_uses_the_tested_command() -> None:
    """No message has its own command."""
    package = Path(extras.__file__).parent
    texts = {path.name: path.read_text(encoding="utf-8") for path in package.rglob("*.py") if path.name != "extras.py"}

    assert [name for name, text in texts.items() if re.search(r"pip install|binance-pm\[", text)] == []
