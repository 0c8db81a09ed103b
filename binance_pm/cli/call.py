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
from binance_pm.cli.console import printable
from binance_pm.client import Client
from binance_pm.endpoint import ENDPOINTS, Endpoint
from binance_pm.session import Session

app: App = App(
    name="call",
    help="Call one endpoint and print its answer as JSON. Keys come from the environment: BINANCE_PM_API_KEY, and "
    "BINANCE_PM_API_SECRET or BINANCE_PM_PRIVATE_KEY_FILE.",
)


def _one_place(_: object, target: Target | None) -> None:
    if target is not None and target.sandbox and target.base_url is not None:
        raise ValueError("--sandbox and --base-url exclude each other.")


@Parameter(name="*", validator=_one_place)
@dataclass(frozen=True)
class Target:
    """The destination of a call, and the engine that sends it."""

    sandbox: Annotated[bool, Parameter(help="Call a local exchange, which needs no key.", show_default=False)] = False
    base_url: Annotated[str | None, Parameter(help="Call this address, such as that of `binance-pm sandbox`.")] = None
    engine: Annotated[
        Literal["auto", "httpx", "direct"] | None,
        Parameter(help="What carries the request; without it BINANCE_PM_ENGINE, or auto."),
    ] = None


_HERE = Target()


def command_of(endpoint: Endpoint[Any]) -> Callable[..., int]:
    """Return a function with the parameters of the endpoint and of `Target`, for the command line parser."""

    def command(*arguments: Any, target: Target = _HERE, **options: Any) -> int:
        print(anyio.run(_call, endpoint, target, arguments, options))
        return 0

    target = inspect.Parameter("target", inspect.Parameter.KEYWORD_ONLY, default=_HERE, annotation=Target)
    parameters = [*(_described(endpoint, parameter) for parameter in endpoint.parameters.values()), target]
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


async def _call(endpoint: Endpoint[Any], target: Target, arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await _client(endpoint, target, stack))
        answer = await attrgetter(endpoint.name)(client)(*arguments, **options)
        return as_json(answer)


async def _client(endpoint: Endpoint[Any], target: Target, stack: AsyncExitStack) -> Client:
    if target.sandbox:
        # Imported lazily: the local exchange takes a while to load.
        from binance_pm.testing import sandbox  # noqa: PLC0415

        pm = await stack.enter_async_context(sandbox(accounts=1))
        return pm.client(session=pm.session(engine=target.engine))
    options: dict[str, Any] = {} if endpoint.sends_key else {"api_key": None, "api_secret": None}
    options["session"] = Session(engine=target.engine)
    if target.base_url is not None:
        options |= {"papi_url": target.base_url, "sapi_url": target.base_url}
    return Client.from_env(**options)


def as_json(answer: object) -> str:
    """Return JSON in the exchange's format: amounts as text in plain notation, even in undeclared fields."""
    plain = msgspec.to_builtins(answer, builtin_types=(Decimal,))
    text = json.dumps(plain, indent=2, ensure_ascii=False, default=text_of)
    return "\n".join(map(printable, text.split("\n")))


for _endpoint in sorted(ENDPOINTS.values(), key=lambda endpoint: endpoint.name):
    app.command(command_of(_endpoint), name=_endpoint.name)
