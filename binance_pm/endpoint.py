"""An endpoint is a decorated signature.

The decorator supplies the body: it binds the arguments and awaits ``self.call(endpoint, parameters)``. Signature,
docstring and return type stay what they are written as, for people and for type checkers::

    class UmAccountApi:
        @get("/papi/v2/um/account", weight=5)
        async def um_account(self, *, recv_window: int | None = None) -> UmAccount:
            '''USD-M assets and positions of the account.'''
            ...

`ENDPOINTS` holds every declared endpoint by name: the command line, the docs' table and the tests are made from it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic, Literal, TypeVar, cast

import msgspec

from binance_pm.budget.pools import RULES, Family, Kind
from binance_pm.transport import Method
from binance_pm.wire import camel, decoder

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

Security = Literal["NONE", "MARKET_DATA", "USER_STREAM", "USER_DATA", "TRADE", "MARGIN"]
"""What the exchange asks for: nothing; the key; or the key and a signature (the last three)."""

_SIGNED: Final = {"USER_DATA", "TRADE", "MARGIN"}


class Endpoint(msgspec.Struct, Generic[T], frozen=True, kw_only=True, eq=False):
    """One endpoint of the exchange."""

    name: str
    method: Method
    path: str
    weight: int
    """Charged in every pool of `kinds`."""
    kinds: tuple[Kind, ...]
    security: Security
    decode: Callable[[bytes], T]
    """From the answer's body; raises ValueError where it is not what the endpoint promises."""
    parameters: Mapping[str, inspect.Parameter]
    """What it takes, by name as declared, without ``self``."""
    returns: type[T]
    """The type of its answer."""
    doc: str

    @property
    def family(self) -> Family:
        """The first part of the path."""
        return cast("Family", self.path.split("/")[1])

    @property
    def is_signed(self) -> bool:
        """Whether a request carries a timestamp and a signature."""
        return self.security in _SIGNED

    @property
    def sends_key(self) -> bool:
        """Whether a request carries the API key."""
        return self.security != "NONE"

    @property
    def is_write(self) -> bool:
        """Whether a call changes something at the exchange."""
        return self.method != "GET"


ENDPOINTS: Final[dict[str, Endpoint[Any]]] = {}


def get(
    path: str, *, weight: int, security: Security = "USER_DATA", kinds: tuple[Kind, ...] = (Kind.IP,)
) -> Callable[[F], F]:
    """Declare a query.

    Args:
        path: such as ``/papi/v2/um/account``.
        weight: what one call costs.
        security: what the exchange asks for.
        kinds: which of the exchange's counters it is charged to.
    """
    return functools.partial(_declare, "GET", path, weight, security, kinds)


def post(
    path: str, *, weight: int, security: Security = "TRADE", kinds: tuple[Kind, ...] = (Kind.IP,)
) -> Callable[[F], F]:
    """Declare an action; see `get`."""
    return functools.partial(_declare, "POST", path, weight, security, kinds)


def put(
    path: str, *, weight: int, security: Security = "TRADE", kinds: tuple[Kind, ...] = (Kind.IP,)
) -> Callable[[F], F]:
    """Declare a change; see `get`."""
    return functools.partial(_declare, "PUT", path, weight, security, kinds)


def delete(
    path: str, *, weight: int, security: Security = "TRADE", kinds: tuple[Kind, ...] = (Kind.IP,)
) -> Callable[[F], F]:
    """Declare a removal; see `get`."""
    return functools.partial(_declare, "DELETE", path, weight, security, kinds)


def check_endpoint(path: str, *, weight: int, kinds: tuple[Kind, ...]) -> None:
    """Refuse what leads to no known host or is counted by no known pool.

    Raises:
        ValueError: with the reason.
    """
    families = {family for family, _ in RULES}
    parts = path.split("/")
    if len(parts) < 3 or parts[0] or parts[1] not in families or not all(parts[1:]):
        raise ValueError(f"the path {path!r} does not begin with one of {', '.join(sorted(families))}")
    if not path.isascii() or not path.isprintable() or any(character in path for character in "?#%\\ "):
        raise ValueError(f"the path {path!r} has a character that a path cannot have")
    if not {".", ".."}.isdisjoint(parts):
        raise ValueError(f"the path {path!r} leads elsewhere by its dots")
    if weight < 1:
        raise ValueError(f"the weight is {weight}: a call weighs 1 at least")
    unknown = [kind for kind in kinds if (parts[1], kind) not in RULES]
    if unknown or not kinds:
        raise ValueError(f"/{parts[1]} is not counted by {', '.join(unknown) or 'nothing'}")


def _declare(method: Method, path: str, weight: int, security: Security, kinds: tuple[Kind, ...], function: F) -> F:
    check_endpoint(path, weight=weight, kinds=kinds)
    name = function.__name__
    if name in ENDPOINTS:
        raise ValueError(f"two endpoints are called {name}")
    whole = inspect.signature(function, eval_str=True)
    signature = whole.replace(parameters=list(whole.parameters.values())[1:])
    endpoint = ENDPOINTS[name] = Endpoint(
        name=name,
        method=method,
        path=path,
        weight=weight,
        kinds=kinds,
        security=security,
        decode=decoder(signature.return_annotation),
        parameters=signature.parameters,
        returns=signature.return_annotation,
        doc=inspect.getdoc(function) or "",
    )
    names = {parameter: camel(parameter) for parameter in signature.parameters}

    @functools.wraps(function)
    async def method_of_client(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        return await self.call(endpoint, {names[name]: value for name, value in bound.arguments.items()})

    return cast("F", method_of_client)
