"""For the sections about downloads."""

# Imports that this module does not use are for the sections of messages.txt.
# pyright: reportUnusedImport=false
from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec

from binance_pm import Budget, Client, Session
from binance_pm.downloads import DownloadProgress
from binance_pm.sandbox import Exchange, Fault, create_app, serve
from binance_pm.transport.httpx import asgi_transport
from tests.messages.stage import Stage, errors_of
from tests.support.clocks import FakeClock
from tests.support.raw_server import answering, http, serve_raw

LINK, FILE = "/papi/v1/um/trade/asyn/id", "/um-trade.csv"
DAY = 86_400_000
TODAY = 1_800_000_000_000


@asynccontextmanager
async def opened(*faults: Fault) -> AsyncGenerator[tuple[Client, str]]:
    """Provide a client of an exchange in virtual time, which makes files at once, and the URL of the exchange."""
    clock = FakeClock()
    exchange = Exchange(accounts=1, clock=clock, sleep=clock.sleep, download_seconds=0)
    exchange.inject(*faults)
    account = exchange.accounts[0]
    with serve(exchange) as url:
        session = Session(budget=Budget(monotonic=clock, wall=clock, sleep=clock.sleep))
        async with Client(account.api_key, account.api_secret, session=session, attempts=1, papi_url=url) as client:
            yield client, url


async def saving(stage: Stage, *faults: Fault, **options: Any) -> list[Exception]:
    """Return what saving the trades of a day raises."""
    options = {"to": stage.folder / "trades.csv"} | options
    async with opened(*faults) as (client, _):
        return await errors_of(lambda: client.um.download_trades(TODAY - DAY, TODAY, **options))


async def ranges(stage: Stage, *arguments: dict[str, Any]) -> list[Exception]:
    """Return what saving the trades of unusual ranges raises."""
    path = stage.folder / "trades.csv"
    async with opened() as (client, _):
        return await errors_of(*(partial(client.um.download_trades, to=path, **given) for given in arguments))


def linked(url: str, **changes: object) -> Fault:
    """Let the exchange respond with this link."""
    fields = {
        "downloadId": "1",
        "status": "completed",
        "url": url,
        "s3Link": None,
        "notified": True,
        "expirationTimestamp": TODAY,
        "isExpired": None,
    }
    return Fault(path=LINK, body=msgspec.json.encode(fields | changes), times=None)


async def from_binance(stage: Stage, link: str) -> list[Exception]:
    """Return what a link of an exchange that is not on this machine raises."""
    exchange = Exchange(accounts=1, download_seconds=0)
    exchange.inject(msgspec.structs.replace(linked(link), status=200))
    account = exchange.accounts[0]
    session = Session(http=asgi_transport(create_app(exchange)), budget=Budget())
    async with Client(account.api_key, account.api_secret, session=session) as client:
        return await errors_of(lambda: client.um.download_trades(to=stage.folder / "trades.csv", download_id="1"))


async def received(stage: Stage, answer: bytes, **options: Any) -> list[Exception]:
    """Return what a file server with this answer causes."""
    with serve_raw(answering(answer)) as server:
        return await saving(stage, linked(f"{server.place}/x"), **options)


def fail_when_prepared(progress: DownloadProgress) -> None:
    """Fail as a caller's function may."""
    if progress.state == "preparing":
        raise RuntimeError("of the caller")
