"""Portfolio Margin Pro with its user data stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from binance_pm.api.pro import Pro

if TYPE_CHECKING:
    from binance_pm.stream.policy import StreamSettings
    from binance_pm.stream.stream import EventStream


class ProClient(Pro):
    """Portfolio Margin Pro, as ``client.pro``."""

    def stream(self, settings: StreamSettings | None = None) -> EventStream:
        """Return the user data stream of Portfolio Margin Pro, to be opened with ``async with``.

        The stream carries the risk of the account: `PmProAccountUpdate` every 5 seconds, `RiskLevelChange`, and
        ``uniMMRDrop`` as an `UnknownEvent`. Orders, positions and balances of such an account come on the streams of
        the ordinary products, which this package does not open. See `Client.stream`.

        Args:
            settings: intervals and limits; the defaults suit the exchange.

        Raises:
            ConfigurationError: the extra `stream` is missing, or the session cannot carry a stream.
        """
        from binance_pm.stream.stream import EventStream  # noqa: PLC0415 - needs an extra

        client: Any = self.call
        return EventStream(client.__self__, "pro", settings)
