"""``binance-pm call``: one command for each declared endpoint."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Annotated, Any, Literal, get_args

import anyio
import msgspec
from cyclopts import App, Parameter

from binance_pm.amounts import text_of
from binance_pm.cli.options import flag
from binance_pm.cli.output import printable
from binance_pm.client import Client
from binance_pm.endpoint import ENDPOINTS, Endpoint
from binance_pm.session import Session

app: App = App(
    name="call",
    help="Call one endpoint and print the response as JSON. Keys come from the environment: BINANCE_PM_API_KEY, and "
    "BINANCE_PM_API_SECRET or BINANCE_PM_PRIVATE_KEY_FILE.",
)


def _exclusive(_: object, destination: Destination | None) -> None:
    if destination is not None and destination.sandbox and destination.base_url is not None:
        raise ValueError("--sandbox and --base-url exclude each other.")


@Parameter(name="*", validator=_exclusive)
@dataclass(frozen=True)
class Destination:
    """The destination of a call, and the engine that sends it."""

    sandbox: Annotated[bool, flag("Call a local exchange; needs no key.")] = False
    base_url: Annotated[str | None, Parameter(help="Call this URL, such as that of `binance-pm sandbox`.")] = None
    engine: Annotated[
        Literal["auto", "httpx", "direct"] | None, Parameter(help="HTTP engine (default: BINANCE_PM_ENGINE, or auto).")
    ] = None


_HERE = Destination()


def command_of(endpoint: Endpoint[Any]) -> Callable[..., int]:
    """Return a function with the parameters of the endpoint and of `Destination`, for the command line parser."""

    def command(*arguments: Any, destination: Destination = _HERE, **options: Any) -> int:
        print(anyio.run(_call, endpoint, destination, arguments, options))
        return 0

    destination = inspect.Parameter(
        "destination", inspect.Parameter.KEYWORD_ONLY, default=_HERE, annotation=Destination
    )
    parameters = [*(_described(endpoint, parameter) for parameter in endpoint.parameters.values()), destination]
    command.__name__ = endpoint.name
    command.__doc__ = endpoint.doc
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__signature__ = inspect.Signature(parameters)
    return command


def _described(endpoint: Endpoint[Any], parameter: inspect.Parameter) -> inspect.Parameter:
    """Return the parameter with the description from the key of a `TypedDict` as its help text.

    A flag has a negative form too, because an endpoint may tell False from a flag that is not sent.
    """
    is_flag = bool in {parameter.annotation, *get_args(parameter.annotation)}
    shown = Parameter(
        help=endpoint.descriptions.get(parameter.name),
        negative=f"--no-{parameter.name.replace('_', '-')}" if is_flag else None,
    )
    return parameter.replace(annotation=Annotated[parameter.annotation, shown])


async def _call(
    endpoint: Endpoint[Any], destination: Destination, arguments: tuple[Any, ...], options: dict[str, Any]
) -> str:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await _client(endpoint, destination, stack))
        answer = await attrgetter(endpoint.name)(client)(*arguments, **options)
        return as_json(answer)


async def _client(endpoint: Endpoint[Any], destination: Destination, stack: AsyncExitStack) -> Client:
    if destination.sandbox:
        # Imported lazily: the local exchange takes a while to load.
        from binance_pm.testing import sandbox  # noqa: PLC0415

        pm = await stack.enter_async_context(sandbox(accounts=1))
        return pm.client(session=pm.session(engine=destination.engine))
    options: dict[str, Any] = {} if endpoint.sends_key else {"api_key": None, "api_secret": None}
    options["session"] = Session(engine=destination.engine)
    if destination.base_url is not None:
        options |= {"papi_url": destination.base_url, "sapi_url": destination.base_url}
    return Client.from_env(**options)


def as_json(answer: object) -> str:
    """Return JSON in the exchange's format: amounts as text in plain notation, even in undeclared fields."""
    plain = msgspec.to_builtins(answer, builtin_types=(Decimal,))
    text = json.dumps(plain, indent=2, ensure_ascii=False, default=text_of)
    return "\n".join(map(printable, text.split("\n")))


for _endpoint in sorted(ENDPOINTS.values(), key=lambda endpoint: endpoint.name):
    app.command(command_of(_endpoint), name=_endpoint.name)
