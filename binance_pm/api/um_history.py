"""Histories and downloads of USD-M futures."""

from __future__ import annotations

from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, Unpack, cast

from msgspec import field

from binance_pm.api.checks import time_range
from binance_pm.api.futures import Income
from binance_pm.api.orders import QueryOptions, Window
from binance_pm.declaration import Namespace, get
from binance_pm.enums import OpenEnum
from binance_pm.limits import Priority
from binance_pm.paging import ByTime
from binance_pm.wire import Model, Time

if TYPE_CHECKING:
    from typing import Protocol

    from binance_pm.downloads import DownloadedFile, DownloadKind, DownloadOptions

    class DownloadCaller(Protocol):
        """A client that can save files besides making calls."""

        async def download(
            self,
            kind: DownloadKind,
            start_time: Time | None,
            end_time: Time | None,
            to: str | PathLike[str],
            **options: Unpack[DownloadOptions],
        ) -> tuple[DownloadedFile, ...]:
            """Have files prepared and save them."""
            ...


UmIncomeType: TypeAlias = Literal[
    "TRANSFER",
    "WELCOME_BONUS",
    "REALIZED_PNL",
    "FUNDING_FEE",
    "COMMISSION",
    "INSURANCE_CLEAR",
    "REFERRAL_KICKBACK",
    "COMMISSION_REBATE",
    "API_REBATE",
    "CONTEST_REWARD",
    "CROSS_COLLATERAL_TRANSFER",
    "OPTIONS_PREMIUM_FEE",
    "OPTIONS_SETTLE_PROFIT",
    "INTERNAL_TRANSFER",
    "DELIVERED_SETTELMENT",
    "COIN_SWAP_DEPOSIT",
    "COIN_SWAP_WITHDRAW",
    "POSITION_LIMIT_INCREASE_FEE",
]
"""The income types that can be requested."""


class DownloadStatus(OpenEnum):
    """The state of a download."""

    PROCESSING = "processing"
    """The file is being made: ask again later."""
    COMPLETED = "completed"
    """The link can be used."""


class DownloadId(Model, frozen=True):
    """The id of a download that the exchange prepares."""

    avg_cost_timestamp_of_last30d: int = field(name="avgCostTimestampOfLast30d")
    """How long downloads took to prepare on average in the last 30 days, in milliseconds."""
    download_id: str
    """The id to ask for the link with."""


class DownloadLink(Model, frozen=True):
    """The state of a download, and its link."""

    download_id: str
    """The id of the download."""
    status: DownloadStatus
    """Whether the file is ready."""
    url: str
    """The link, which may have no scheme; empty while the file is being made."""
    s3_link: str | None
    """Not used by the exchange."""
    notified: bool
    """To be ignored, according to the documents."""
    expiration_timestamp: int
    """When the link expires, in milliseconds since the epoch; -1 while the file is being made."""
    is_expired: bool | str | None
    """Whether the link has expired; None in all documented responses, so its type is not known."""

    def __repr__(self) -> str:
        # With the link, anyone can fetch the file.
        return f"DownloadLink({self.download_id}, {self.status})"


_ONE_YEAR: Final = time_range(timedelta(days=366))


class UmHistory(Namespace, name="um"):
    """Histories and downloads of USD-M futures."""

    @get(
        "/papi/v1/um/income",
        weights=30,
        priority=Priority.BACKGROUND,
        page=ByTime(
            key=("income_type", "tran_id", "symbol", "asset"),
            most=1000,
            window=timedelta(days=90),
            kept=timedelta(days=92),
            split="income_type",
        ),
        check=time_range(),
    )
    async def income(
        self, symbol: str | None = None, income_type: UmIncomeType | None = None, **window: Unpack[Window]
    ) -> list[Income]:
        """Income rows of the USD-M side, oldest first: profits, fees, funding and transfers.

        Without times, the response covers the last seven days; the exchange keeps three months. The response has at
        most ``limit`` rows, by default 100 and at most 1000, and may end between rows of the same millisecond.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-UM-Income-History
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/um/trade/asyn",
        weights=1500,
        priority=Priority.BACKGROUND,
        repeat="never",
        check=_ONE_YEAR,
    )
    async def trade_download_id(self, start_time: Time, end_time: Time, **options: Unpack[QueryOptions]) -> DownloadId:
        """Have a file with all USD-M trades of at most one year prepared, and return the id of the download.

        An account may do this 5 times a month, the web site included, so a request is never repeated. Ask
        `trade_download_link()` for the link.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-Download-Id-For-UM-Futures-Trade-History
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/um/trade/asyn/id", weights=10)
    async def trade_download_link(self, download_id: str, *, recv_window: int | None = None) -> DownloadLink:
        """The link of a file with USD-M trades, if it is ready. The link expires after 24 hours to seven days.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-UM-Futures-Trade-Download-Link-by-Id
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/um/order/asyn",
        weights=1500,
        priority=Priority.BACKGROUND,
        repeat="never",
        check=_ONE_YEAR,
    )
    async def order_download_id(self, start_time: Time, end_time: Time, **options: Unpack[QueryOptions]) -> DownloadId:
        """Have a file with all USD-M orders of at most one year prepared, and return the id of the download.

        An account may do this 10 times a month, the web site included, so a request is never repeated. Ask
        `order_download_link()` for the link.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-Download-Id-For-UM-Futures-Order-History
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/um/order/asyn/id", weights=10)
    async def order_download_link(self, download_id: str, *, recv_window: int | None = None) -> DownloadLink:
        """The link of a file with USD-M orders, if it is ready. The link expires after 24 hours to seven days.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-UM-Futures-Order-Download-Link-by-Id
        (read 2026-11-29)
        """
        ...

    @get(
        "/papi/v1/um/income/asyn",
        weights=1500,
        priority=Priority.BACKGROUND,
        repeat="never",
        check=_ONE_YEAR,
    )
    async def income_download_id(self, start_time: Time, end_time: Time, **options: Unpack[QueryOptions]) -> DownloadId:
        """Have a file with all USD-M income rows of at most one year prepared, and return the id of the download.

        An account may do this 5 times a month, the web site included, so a request is never repeated. Ask
        `income_download_link()` for the link.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-Download-Id-For-UM-Futures-Transaction-History
        (read 2026-11-29)
        """
        ...

    @get("/papi/v1/um/income/asyn/id", weights=10)
    async def income_download_link(self, download_id: str, *, recv_window: int | None = None) -> DownloadLink:
        """The link of a file with USD-M income rows, if it is ready. The link expires after 24 hours to seven days.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/account/Get-UM-Futures-Transaction-Download-Link-by-Id
        (read 2026-11-29)
        """
        ...

    @property
    def _downloads(self) -> DownloadCaller:
        return cast("DownloadCaller", self.client)

    async def download_trades(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        *,
        to: str | PathLike[str],
        **options: Unpack[DownloadOptions],
    ) -> tuple[DownloadedFile, ...]:
        """Have a file with all USD-M trades prepared, wait for it, and save it.

        **This uses up one of 5 downloads a month**, the web site included, for each year of the range or part of a
        year. The request for the id is never repeated. The file is fetched without key and signature, and has its name
        only when it is complete. Its format is not documented: the bytes are saved as they come. A range of more than
        366 days is split into several files, named ``trades-1.csv``, ``trades-2.csv`` and so on.

        Args:
            start_time: the first moment.
            end_time: the last moment.
            to: the file to create.
            **options: see `DownloadOptions`. With ``download_id``, a download that failed is continued.

        Returns:
            The files, in order of time.

        Raises:
            ConfigurationError: the range is empty or needs more downloads than a month has, or the file exists.
            DownloadFailed: the file was not received; ``download_id`` can still be used.
            NoResponse, OutcomeUnknown: no id was received, and a download of this month may be used up.
        """
        return await self._downloads.download("trades", start_time, end_time, to, **options)

    async def download_orders(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        *,
        to: str | PathLike[str],
        **options: Unpack[DownloadOptions],
    ) -> tuple[DownloadedFile, ...]:
        """Have a file with all USD-M orders prepared, wait for it, and save it; see `download_trades`.

        **This uses up one of 10 downloads a month** for each year of the range or part of a year.
        """
        return await self._downloads.download("orders", start_time, end_time, to, **options)

    async def download_income(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        *,
        to: str | PathLike[str],
        **options: Unpack[DownloadOptions],
    ) -> tuple[DownloadedFile, ...]:
        """Have a file with all USD-M income rows prepared, wait for it, and save it; see `download_trades`.

        **This uses up one of 5 downloads a month** for each year of the range or part of a year.
        """
        return await self._downloads.download("income", start_time, end_time, to, **options)
