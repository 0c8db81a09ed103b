"""The exchange as an ASGI application, in memory or behind a server."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Host, Mount, Route

from binance_pm.sandbox.faults import Fault
from binance_pm.sandbox.file_server import LOCAL_HOST, FileArrival
from binance_pm.sandbox.messages import Reply, Request
from binance_pm.sandbox.stream_faults import StreamFault, StreamProduct
from binance_pm.sandbox.views import recorded_fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from binance_pm.sandbox.exchange import Exchange

    Handler = Callable[[HttpRequest], Awaitable[Response]]

DROP = "drop"
"""The key in a scope's state under which a server stores the function that closes the connection at once."""

_BODILESS = (204, 304)


def create_app(exchange: Exchange) -> Starlette:
    """Return the ASGI application of an exchange, for asyncio and trio.

    The paths below ``/sandbox/`` control the exchange. They have no weight, and faults do not apply to them. ``GET
    state`` shows accounts with their API keys, counters and faults; ``POST faults`` adds a ``Fault`` given as JSON;
    ``DELETE faults`` removes all faults; ``GET orders?account=LABEL`` shows all orders that an account ever had; ``POST
    prices`` lets symbols trade at the prices given as a JSON object of text. ``POST streams/faults`` applies a
    ``StreamFault`` given as JSON. ``POST streams/events?account=LABEL`` pushes a JSON object to an account; add
    ``product=pro`` to push on the stream of Portfolio Margin Pro.

    Without a server, there are neither user data streams nor connections to close: if a fault drops the connection or
    cuts the body, the application raises ConnectionResetError, and ``httpx.ASGITransport`` passes this exception on to
    the caller.
    """
    return Starlette(
        routes=[
            Host(LOCAL_HOST, create_file_app(exchange)),
            Route("/sandbox/state", _show_state(exchange)),
            Route("/sandbox/faults", _arm(exchange), methods=["POST"]),
            Route("/sandbox/faults", _disarm(exchange), methods=["DELETE"]),
            Route("/sandbox/orders", _show_orders(exchange)),
            Route("/sandbox/prices", _set_prices(exchange), methods=["POST"]),
            Route("/sandbox/streams/faults", _apply(exchange), methods=["POST"]),
            Route("/sandbox/streams/events", _push(exchange), methods=["POST"]),
            Mount("/", _answer(exchange)),
        ]
    )


def create_file_app(exchange: Exchange) -> ASGIApp:
    """Return the ASGI application of the file server of an exchange."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        http = HttpRequest(scope, receive)
        request = FileArrival(
            method=http.method,
            path=http.scope["path"],
            query=http.scope["query_string"].decode("latin-1"),
            headers=dict(http.headers),
        )
        await _deliver(await exchange.fetch_file(request), scope, receive, send)

    return answer


def _show_state(exchange: Exchange) -> Handler:
    async def show_state(_: HttpRequest) -> Response:
        return Response(msgspec.json.encode(exchange.state()), media_type="application/json")

    return show_state


def _arm(exchange: Exchange) -> Handler:
    async def arm(http: HttpRequest) -> Response:
        try:
            exchange.inject(msgspec.json.decode(await http.body(), type=Fault))
        except (msgspec.MsgspecError, ValueError) as wrong:
            return Response(str(wrong), status_code=422, media_type="text/plain")
        return Response(status_code=204)

    return arm


def _disarm(exchange: Exchange) -> Handler:
    async def disarm(_: HttpRequest) -> Response:
        exchange.clear()
        return Response(status_code=204)

    return disarm


def _show_orders(exchange: Exchange) -> Handler:
    async def show_orders(http: HttpRequest) -> Response:
        try:
            account = exchange.account(http.query_params.get("account", ""))
        except ValueError as wrong:
            return Response(str(wrong), status_code=422, media_type="text/plain")
        rows = [recorded_fields(order) for order in exchange.orders(account)]
        return Response(msgspec.json.encode(rows), media_type="application/json")

    return show_orders


def _set_prices(exchange: Exchange) -> Handler:
    async def set_prices(http: HttpRequest) -> Response:
        try:
            for symbol, price in msgspec.json.decode(await http.body(), type=dict[str, Decimal]).items():
                exchange.set_price(symbol, price)
        except (msgspec.MsgspecError, ValueError) as wrong:
            return Response(str(wrong), status_code=422, media_type="text/plain")
        return Response(status_code=204)

    return set_prices


def _apply(exchange: Exchange) -> Handler:
    async def apply(http: HttpRequest) -> Response:
        try:
            exchange.streams.apply(msgspec.json.decode(await http.body(), type=StreamFault))
        except (msgspec.MsgspecError, ValueError) as wrong:
            return Response(str(wrong), status_code=422, media_type="text/plain")
        return Response(status_code=204)

    return apply


def _push(exchange: Exchange) -> Handler:
    async def push(http: HttpRequest) -> Response:
        account = http.query_params.get("account", "")
        try:
            product = msgspec.convert(http.query_params.get("product", "pm"), StreamProduct)
            event = msgspec.json.decode(await http.body(), type=dict[str, Any])
            exchange.streams.push(account, event, product=product)
        except (msgspec.MsgspecError, ValueError) as wrong:
            return Response(str(wrong), status_code=422, media_type="text/plain")
        return Response(status_code=204)

    return push


def _answer(exchange: Exchange) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        reply = await exchange.handle(await _request(HttpRequest(scope, receive)))
        await _deliver(reply, scope, receive, send)

    return answer


async def _deliver(reply: Reply, scope: Scope, receive: Receive, send: Send) -> None:
    if reply.drop:
        await _drop(scope, receive)
    else:
        await _send(reply, send)


async def _request(http: HttpRequest) -> Request:
    return Request(
        method=http.method,
        path=http.scope["path"],
        query=http.scope["query_string"],
        body=await http.body(),
        api_key=http.headers.get("x-mbx-apikey", ""),
        ip=http.client.host if http.client else "",
    )


async def _send(reply: Reply, send: Send) -> None:
    body = b"" if reply.status in _BODILESS else reply.body
    headers = {"content-length": str(len(body))} | {name.lower(): value for name, value in reply.headers.items()}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    await send({"type": "http.response.body", "body": body[: reply.cut], "more_body": reply.cut is not None})
    if reply.cut is not None:
        # If an application fails during a response, the server closes the connection after it has sent all data.
        _reset()


async def _drop(scope: Scope, receive: Receive) -> None:
    drop = scope.get("state", {}).get(DROP)
    if drop is None:
        _reset()
    drop()
    await receive()


def _reset() -> NoReturn:
    raise ConnectionResetError("the sandbox closed the connection")
