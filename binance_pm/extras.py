"""How to install an extra of this package, from the same source as the package itself."""

from __future__ import annotations

import json
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

_NAME: Final = "binance-pm"


@cache
def installation(extra: str) -> str:
    """Return the command that installs an extra into this Python, from any current folder.

    The package need not be on an index: the command names the folder, archive or repository of the installed package.
    """
    return installing(*_source(extra))


def installing(*words: str) -> str:
    """Return the command that installs packages from an index into this Python, from any current folder."""
    import shlex  # noqa: PLC0415 - it takes a while to load, and only this function needs it

    python = sys.executable or "python3"
    if find_spec("pip") is None:
        return shlex.join(["uv", "pip", "install", "--python", python, *words])
    return shlex.join([python, "-m", "pip", "install", *words])


def _source(extra: str) -> list[str]:
    """Return the arguments for the installer."""
    named = f"{_NAME}[{extra}]"
    direct = _direct_url()
    if direct is None:
        folder = Path(__file__).resolve().parents[1]
        return [f"{folder}[{extra}]" if (folder / "pyproject.toml").is_file() else named]
    url = _without_password(direct["url"])
    match direct:
        case {"dir_info": {"editable": True}}:
            return ["--editable", f"{_path(url)}[{extra}]"]
        case {"dir_info": _}:
            return [f"{_path(url)}[{extra}]"]
        case {"vcs_info": {"vcs": vcs, "commit_id": commit}}:
            return [f"{named} @ {vcs}+{url}@{commit}"]
        case _:
            return [f"{named} @ {url}"]


def _direct_url() -> dict[str, Any] | None:
    """Return the installer's record of the package's origin; None if it came from an index, or was not installed."""
    from importlib import metadata  # noqa: PLC0415 - it takes a while to load, and only this function needs it

    try:
        noted = metadata.distribution(_NAME).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    return None if noted is None else json.loads(noted)


def _path(url: str) -> str:
    from urllib.request import url2pathname  # noqa: PLC0415 - it takes a while to load, and only this function needs it

    return url2pathname(urlsplit(url).path)


def _without_password(url: str) -> str:
    """Return the URL without a password. Installers record no passwords; a message never shows one in any case."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=user.partition(":")[0] + at + host)) if ":" in user else url
