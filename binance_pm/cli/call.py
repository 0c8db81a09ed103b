"""``binance-pm call``: one command for each declared endpoint."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any, get_args

from cyclopts import App, Parameter

from binance_pm.cli.send import DEFAULTS, CommandOptions, send
from binance_pm.endpoint import ENDPOINTS, Endpoint

app: App = App(
    name="call",
    help="Call one endpoint and print the response as JSON. Keys come from the environment: BINANCE_PM_API_KEY, and "
    "BINANCE_PM_API_SECRET or BINANCE_PM_PRIVATE_KEY_FILE.",
)


def command_of(endpoint: Endpoint[Any]) -> Callable[..., int]:
    """Return a function with the parameters of the endpoint and of `CommandOptions`, for the command line parser."""
    own = inspect.Signature(list(endpoint.parameters.values()))

    def command(*arguments: Any, call_options: CommandOptions = DEFAULTS, **options: Any) -> int:
        given = own.bind(*arguments, **options).arguments
        shown = {endpoint.wire_names.get(name, name): value for name, value in given.items() if value is not None}
        return send(
            endpoint, shown, lambda client: attrgetter(endpoint.name)(client)(*arguments, **options), call_options
        )

    added = inspect.Parameter(
        "call_options", inspect.Parameter.KEYWORD_ONLY, default=DEFAULTS, annotation=CommandOptions
    )
    parameters = [*(_described(endpoint, parameter) for parameter in endpoint.parameters.values()), added]
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


def __getattr__(name: str) -> Callable[..., int]:
    # The command of one endpoint, by its name: making all of them takes more than a second.
    if name not in ENDPOINTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return command_of(ENDPOINTS[name])


for _name in sorted(ENDPOINTS):
    app.command(f"{__name__}:{_name}", name=_name, help=ENDPOINTS[_name].doc.partition("\n")[0])
