"""The listen keys, which give access to the user data streams of an account."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from binance_pm.api.connectivity import Empty
from binance_pm.declaration import EndpointGroup, Namespace, delete, post, put
from binance_pm.wire import Model


class ListenKey(Model, frozen=True):
    """The key of a user data stream. It gives access to the stream, so its printed form does not show it."""

    listen_key: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
    """The last part of the stream's URL. The exchange's keys have 64 characters."""

    def __repr__(self) -> str:
        return "ListenKey(...)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class ListenKeyApi(EndpointGroup):
    """The listen key of the account; an account has one listen key at a time."""

    @post("/papi/v1/listenKey", weights=1, security="USER_STREAM", repeat="same_effect")
    async def create_listen_key(self) -> ListenKey:
        """Create the listen key of the account, which is valid for 60 minutes.

        While a key is valid, the response is the same key, which is valid for another 60 minutes.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/user-data-streams/Start-User-Data-Stream
        (read 2026-11-29)
        """
        ...

    @put("/papi/v1/listenKey", weights=1, security="USER_STREAM", repeat="same_effect")
    async def keepalive_listen_key(self) -> Empty:
        """Extend the validity of the account's listen key to 60 minutes from now.

        Raises:
            RequestRejected: code -1125, the account has no listen key: create one.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/user-data-streams/Keepalive-User-Data-Stream
        (read 2026-11-29)
        """
        ...

    @delete("/papi/v1/listenKey", weights=1, security="USER_STREAM", repeat="same_effect")
    async def close_listen_key(self) -> Empty:
        """Delete the account's listen key, which all programs of the account share.

        After this call, none of these programs receives events, although their connections stay open. Programs that
        only stop listening do not need this call.

        Source: https://developers.binance.com/docs/derivatives/portfolio-margin/user-data-streams/Close-User-Data-Stream
        (read 2026-11-29)
        """
        ...


class ProListenKey(Namespace, name="pro"):
    """The listen key of a Portfolio Margin Pro account, which USD-M futures issues."""

    @post("/fapi/v1/listenKey", weights=1, security="USER_STREAM", repeat="same_effect")
    async def create_listen_key(self) -> ListenKey:
        """Create the listen key of the account, which is valid for 60 minutes; `ProClient.stream` calls this itself.

        While a key is valid, the response is the same key, extended to another 60 minutes.

        Source: https://developers.binance.com/docs/derivatives/usds-margined-futures/user-data-streams/Start-User-Data-Stream
        (read 2026-11-30)
        """
        ...

    @put("/fapi/v1/listenKey", weights=1, security="USER_STREAM", repeat="same_effect")
    async def keepalive_listen_key(self) -> Empty:
        """Extend the validity of the account's listen key to 60 minutes from now.

        The response contains no key, so it does not prove that an earlier key is still active.

        Raises:
            RequestRejected: code -1125, the account has no listen key: create one.

        Source: https://developers.binance.com/docs/derivatives/usds-margined-futures/user-data-streams/Keepalive-User-Data-Stream
        (read 2026-11-30)
        """
        ...

    @delete("/fapi/v1/listenKey", weights=1, security="USER_STREAM", repeat="same_effect")
    async def close_listen_key(self) -> Empty:
        """Delete the account's listen key, which all programs of the account share.

        After this call, none of these programs receives events, although their connections stay open.

        Source: https://developers.binance.com/docs/derivatives/usds-margined-futures/user-data-streams/Close-User-Data-Stream
        (read 2026-11-30)
        """
        ...
