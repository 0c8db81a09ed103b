"""Long lists of the exchange, read page by page: every row once, and resumable."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from binance_pm.history.export import ExportedFile, ExportProgress, export
from binance_pm.history.pages import PageProgress, Pages, Position
from binance_pm.history.plan import HistoryPlan
from binance_pm.history.query import query_of

__all__ = ["ExportProgress", "ExportedFile", "HistoryPlan", "PageProgress", "Pages", "Position", "export", "paginate"]

P = ParamSpec("P")
Row = TypeVar("Row")
Row_co = TypeVar("Row_co", covariant=True)


class PageOf(Protocol[Row_co]):
    """A response with one page of rows."""

    @property
    def rows(self) -> Sequence[Row_co]:
        """The rows of the page."""
        ...

    @property
    def total(self) -> int:
        """The number of rows on all pages."""
        ...


@overload
def paginate(method: Callable[P, Awaitable[list[Row]]], *args: P.args, **kwargs: P.kwargs) -> Pages[Row]: ...
@overload
def paginate(method: Callable[P, Awaitable[PageOf[Row]]], *args: P.args, **kwargs: P.kwargs) -> Pages[Row]: ...
def paginate(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Pages[Any]:
    """Read all pages of a list.

        async for trade in paginate(client.um.trades, symbol="BTCUSDT"):
            print(trade.price)

    Rows come once and oldest first: by id, or by time and then by the fields that tell a row from all others. Without
    ``end_time``, reading ends 30 seconds before now, because the exchange may show a row late; `Pages.position` says
    from where to go on later.

    Args:
        method: a method of a client whose endpoint has pages.
        *args: its positional arguments.
        **kwargs: its other arguments. ``start_time`` and ``end_time`` may be any time apart; ``limit`` or ``size`` is
            the number of rows of one page, by default as many as the exchange allows.

    Raises:
        ConfigurationError: the method has no pages or belongs to no client, or an argument contradicts paging.
        TypeError: an argument is missing, unknown or given twice.
    """
    return Pages(query_of(method, args, kwargs))
