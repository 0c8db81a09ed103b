"""The connection to the exchange, and the exchange's time."""

from __future__ import annotations

from binance_pm.declaration import EndpointGroup, get
from binance_pm.wire import Milliseconds, Model


class Empty(Model, frozen=True):
    """An empty response: the exchange did what the call asked for."""


class ServerTime(Model, frozen=True):
    """The exchange's clock."""

    server_time: Milliseconds
    """Milliseconds since the epoch."""


class ConnectivityApi(EndpointGroup):
    """Endpoints that need no key."""

    @get("/papi/v1/ping", weights=1, security="NONE")
    async def ping(self) -> Empty:
        """An empty response from the Portfolio Margin host: a test of the connection.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/market-data (read 2026-11-29)
        """
        ...

    @get("/api/v3/ping", weights=1, security="NONE")
    async def pro_ping(self) -> Empty:
        """An empty response from the Portfolio Margin Pro host: a test of the connection.

        Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints (read 2026-11-29)
        """
        ...

    @get("/papi/v1/time", weights=1, security="NONE")
    async def server_time(self) -> ServerTime:
        """The clock of the Portfolio Margin host.

        The exchange does not document this endpoint; it responded on 2026-06-11, and many clients rely on it.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/general-info (read 2026-11-29)
        """
        ...

    @get("/api/v3/time", weights=1, security="NONE")
    async def pro_server_time(self) -> ServerTime:
        """The clock of the Portfolio Margin Pro host.

        Source: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-endpoints (read 2026-11-29)
        """
        ...
