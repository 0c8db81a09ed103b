"""pylock.toml: the packages that nox installs are locked for every platform, as is nox in the README."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.pylock import Package, Pylock
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

TEXT = (ROOT / "pylock.toml").read_text(encoding="utf-8")
LOCK = Pylock.from_dict(tomllib.loads(TEXT))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS: dict[str, list[Any]] = PYPROJECT["dependency-groups"]

PLATFORMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    "macos": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
    "windows": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
}
PLACES = [
    pytest.param(
        platform | {"python_version": python, "python_full_version": f"{python}.9", "implementation_name": "cpython"},
        id=f"{name}-{python}",
    )
    for name, platform in PLATFORMS.items()
    for python in ("3.11", "3.12", "3.13", "3.14")
]


def direct() -> Iterator[Requirement]:
    """Return all requirements of pyproject.toml: extras, groups and the build."""
    project = PYPROJECT["project"]
    extras = (line for lines in project["optional-dependencies"].values() for line in lines)
    grouped = (line for lines in GROUPS.values() for line in lines if isinstance(line, str))
    for line in (*project["dependencies"], *extras, *grouped, *PYPROJECT["build-system"]["requires"]):
        if not line.startswith("binance-pm["):
            yield Requirement(line)


def applies(marker: Marker | None, place: dict[str, str]) -> bool:
    """Whether the package is installed in that environment."""
    return marker is None or marker.evaluate({"extra": "", **place})


def files_of(package: Package) -> list[Any]:
    """Return the candidate files."""
    return [*(package.wheels or ()), *([package.sdist] if package.sdist else ())]


@pytest.mark.parametrize("place", PLACES)
def test_every_requirement_is_locked_once(place: dict[str, str]) -> None:
    """For each platform and Python, one version that pyproject.toml allows."""
    locked = {
        requirement: [
            package.version
            for package in LOCK.packages
            if package.name == canonicalize_name(requirement.name) and applies(package.marker, place)
        ]
        for requirement in direct()
        if applies(requirement.marker, place)
    }

    wrong = {
        str(requirement): versions
        for requirement, versions in locked.items()
        if len(versions) != 1 or versions[0] is None or versions[0] not in requirement.specifier
    }
    assert wrong == {}


def test_every_file_has_a_hash() -> None:
    """Another file of the same name is refused."""
    assert all(files_of(package) for package in LOCK.packages)
    hashes = [file.hashes.get("sha256", "") for package in LOCK.packages for file in files_of(package)]

    assert [text for text in hashes if not re.fullmatch("[0-9a-f]{64}", text)] == []


def test_no_index_url_is_locked() -> None:
    """Files come from the configured index of the machine."""
    assert "://" not in TEXT
    assert [package.name for package in LOCK.packages if package.index is not None] == []


def test_the_python_versions_are_those_of_the_package() -> None:
    """The lock file is for every Python that the package allows, and the build refuses an older one."""
    assert LOCK.requires_python == SpecifierSet(PYPROJECT["project"]["requires-python"])
    assert PYPROJECT["tool"]["hatch"]["version"]["source"] == "code"


def test_the_readme_installs_the_locked_nox() -> None:
    """Its command names exact versions of everything that it installs, those of the group."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = re.findall(r"install ((?:[a-z]+==[\w.]+ ?)+)", readme)

    assert [installed.split() for installed in command] == [GROUPS["nox"]]
