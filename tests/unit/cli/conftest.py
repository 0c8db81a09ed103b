"""Fixtures of the tests of the command."""

from __future__ import annotations

from tests.support.command import run as run  # noqa: PLC0414 - a fixture
