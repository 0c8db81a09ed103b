"""Scrapes of metrics as Prometheus makes them."""

from __future__ import annotations

from typing import NamedTuple

import httpx
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

PREFIX = "binance_pm_"


class Series(NamedTuple):
    """One line of a scrape."""

    name: str
    """Without the package's prefix."""
    labels: dict[str, str]
    value: float


class Scrape:
    """The content of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.series = [
            Series(sample.name.removeprefix(PREFIX), sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]

    def all(self, name: str, **labels: str) -> list[Series]:
        """Return the series of a name that have the labels."""
        return [one for one in self.series if one.name == name and labels.items() <= one.labels.items()]

    def get(self, name: str, **labels: str) -> float | None:
        """Return the value of the one series with the labels, or None if there is none."""
        found = self.all(name, **labels)
        assert len(found) <= 1, found
        return found[0].value if found else None


def scrape(registry: CollectorRegistry) -> Scrape:
    """Collect a registry in this thread."""
    return Scrape(generate_latest(registry).decode())


async def scrape_over_http(port: int) -> Scrape:
    """Scrape a server on this machine."""
    async with httpx.AsyncClient() as http:
        response = await http.get(f"http://127.0.0.1:{port}/metrics", timeout=20)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(response.text)
