"""``binance-pm request``: a request to any endpoint, declared or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, cast

from cyclopts import CycloptsError, Parameter
from cyclopts.validators import Number

from binance_pm.call import check_names
from binance_pm.cli.send import DEFAULTS, CommandOptions, send
from binance_pm.endpoint import ENDPOINTS, Endpoint, Security, undeclared_endpoint
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.transport.http import Method


def run(
    method: Annotated[Method, Parameter(help="HTTP method.")],
    path: Annotated[str, Parameter(help="Path, such as /papi/v1/balance.")],
    /,
    *parameters: Annotated[str, Parameter(help="Parameters of the form key=value, named as by the exchange.")],
    weight: Annotated[
        int | None,
        Parameter(help="Weight by IP; required if the endpoint is not declared.", validator=Number(gte=1)),
    ] = None,
    security: Annotated[
        Security | None, Parameter(help="Security type of an undeclared endpoint (default: USER_DATA).")
    ] = None,
    options: CommandOptions = DEFAULTS,
) -> int:
    """Send one request to any endpoint and print the response as JSON.

    The parameters are not checked. An order without a client order id gets one. Keys come from the environment, as for
    `binance-pm call`.
    """
    values = _values(parameters)
    endpoint = _declared(method, path)
    if endpoint is None:
        endpoint = _undeclared(method, path, weight, security or "USER_DATA")
    elif weight is not None or security is not None:
        raise CycloptsError(msg=f"{method} {path} is declared as {endpoint.name}: leave out --weight and --security.")
    endpoint = endpoint.for_parameters(values)
    try:
        check_names(values)
    except ValueError as error:
        raise ConfigurationError(CallInfo("request", ""), str(error)) from None
    return send(endpoint, values, lambda client: client.call(endpoint, values, check=False), options)


def _values(parameters: Sequence[str]) -> dict[str, str | int]:
    values: dict[str, str | int] = {}
    for text in parameters:
        name, equals, value = text.partition("=")
        # The text itself is not shown: a value may be confidential.
        if not (name and equals):
            raise CycloptsError(msg="A parameter is not of the form key=value, such as symbol=BTCUSDT.")
        if name in values:
            raise CycloptsError(msg=f"The parameter {name} is given twice.")
        # The client itself compares this parameter with the range that the exchange allows.
        values[name] = int(value) if name == "recvWindow" and value.isdecimal() else value
    return values


def _declared(method: Method, path: str) -> Endpoint[Any] | None:
    found = (endpoint for endpoint in ENDPOINTS.values() if (endpoint.method, endpoint.path) == (method, path))
    return next(found, None)


def _undeclared(method: Method, path: str, weight: int | None, security: Security) -> Endpoint[Any]:
    if weight is None:
        raise CycloptsError(msg=f"{method} {path} is not declared: give its weight with --weight.")
    try:
        return undeclared_endpoint(
            method, path, weights=weight, security=security, priority=None, returns=cast("type[Any]", Any)
        )
    except ValueError as error:
        raise ConfigurationError(CallInfo("request", ""), str(error)) from None
