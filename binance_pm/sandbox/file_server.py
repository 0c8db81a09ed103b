"""The server of the files of downloads, which is not on the exchange's host and knows no keys."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec

from binance_pm.sandbox.messages import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable

    from binance_pm.sandbox.settings import Download

LOCAL_HOST = "127.0.0.2"
"""The file server's host if the exchange runs in memory."""

_DENIED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"


class FileArrival(msgspec.Struct, kw_only=True):
    """A request that arrived at the file server, complete, so that a test can look for keys in it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    """Names in lower case."""


class FileServer:
    """Where links of files lead.

    Args:
        seconds: how long the exchange needs to make a file.

    Attributes:
        seconds: the same.
        place: host and port. Without a running server, the host does not exist.
        requests: the requests that arrived, oldest first.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        self.seconds = seconds
        self.place = "files.binance.example"
        self.requests: list[FileArrival] = []

    def reply(self, request: FileArrival, downloads: Iterable[Download], now: float) -> Reply:
        """Return the file that a link names, or a refusal."""
        token = parse_qs(request.query).get("X-Sig", [""])[0]
        for download in downloads:
            if (download.token, download.path) == (token, request.path) and download.ready <= now < download.expires:
                return Reply(headers={"Content-Type": "text/csv"}, body=download.content)
        return Reply(status=403, headers={"Content-Type": "application/xml"}, body=_DENIED)
