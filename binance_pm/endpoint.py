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
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Generic, Literal, TypeVar, cast, get_args

import msgspec

from binance_pm.errors import Repeat
from binance_pm.limits import LIMITS, Family, LimitType, Priority
from binance_pm.transport.http import Method
from binance_pm.wire import camel, decoder

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

Security = Literal["NONE", "MARKET_DATA", "USER_STREAM", "USER_DATA", "TRADE", "MARGIN"]
"""What the exchange asks for: nothing; the key; or the key and a signature (the last three)."""

_SIGNED: Final = {"USER_DATA", "TRADE", "MARGIN"}


class Endpoint(msgspec.Struct, Generic[T], frozen=True, kw_only=True, eq=False):
    """One endpoint of the exchange."""

    name: str
    """The name of the method, such as ``um_account``."""
    method: Method
    """The HTTP method."""
    path: str
    """The path, such as ``/papi/v2/um/account``."""
    weight: int
    """Charged in every pool of `kinds`."""
    weight_without: Mapping[str, int]
    """What a call costs that leaves out a parameter, by its name on the wire."""
    priority: Priority
    """Where its calls stand in the queue for weight."""
    kinds: tuple[LimitType, ...]
    """The limit types that count the endpoint."""
    security: Security
    """What a request needs: nothing, a key, or a key and a signature."""
    decode: Callable[[bytes], T]
    """From the answer's body; raises ValueError where it is not what the endpoint promises."""
    parameters: Mapping[str, inspect.Parameter]
    """What it takes, by name as declared, without ``self``."""
    returns: type[T]
    """The type of its answer."""
    doc: str
    """The docstring of the declaration."""
    repeat: Repeat | None = None
    """Whether a request is sent again whose answer was lost. None: a GET is, and nothing else. "same_effect": it is,
    because a second one changes nothing more. "never": it is not, not even a GET, because each one uses up a quota."""

    @property
    def family(self) -> Family:
        """The first part of the path."""
        return cast("Family", self.path.split("/")[1])

    def weight_of(self, parameters: Mapping[str, object]) -> int:
        """What a call with these parameters costs."""
        if not self.weight_without:
            return self.weight
        dearer = [weight for name, weight in self.weight_without.items() if parameters.get(name) is None]
        return max(dearer, default=self.weight)

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
        """Whether a call changes something at the exchange: a GET does if a second one is not like the first."""
        return self.method != "GET" or self.repeat is not None


ENDPOINTS: Final[dict[str, Endpoint[Any]]] = {}


def get(
    path: str,
    *,
    weight: int,
    weight_without: Mapping[str, int] | None = None,
    security: Security = "USER_DATA",
    kinds: tuple[LimitType, ...] = (LimitType.IP,),
    priority: Priority = Priority.POLL,
    repeat: Repeat | None = None,
) -> Callable[[F], F]:
    """Declare a query.

    Args:
        path: such as ``/papi/v2/um/account``.
        weight: what one call costs.
        weight_without: what a call costs that leaves out a parameter, such as ``{"symbol": 40}``.
        security: what the exchange asks for.
        kinds: which of the exchange's counters it is charged to.
        priority: where its calls stand in the queue for weight.
        repeat: ``"never"`` if each call uses up a quota, such as a download id; see `Endpoint.repeat`.
    """
    return functools.partial(_declare, "GET", path, weight, weight_without or {}, security, kinds, priority, repeat)


def post(
    path: str,
    *,
    weight: int,
    security: Security = "TRADE",
    kinds: tuple[LimitType, ...] = (LimitType.IP,),
    repeat: Repeat | None = None,
) -> Callable[[F], F]:
    """Declare an action, which stands in the priority of orders; see `get`, and `Endpoint.repeat`."""
    return functools.partial(_declare, "POST", path, weight, {}, security, kinds, Priority.ORDER, repeat)


def put(
    path: str,
    *,
    weight: int,
    security: Security = "TRADE",
    kinds: tuple[LimitType, ...] = (LimitType.IP,),
    repeat: Repeat | None = None,
) -> Callable[[F], F]:
    """Declare a change, which stands in the priority of orders; see `get`, and `Endpoint.repeat`."""
    return functools.partial(_declare, "PUT", path, weight, {}, security, kinds, Priority.ORDER, repeat)


def delete(
    path: str,
    *,
    weight: int,
    security: Security = "TRADE",
    kinds: tuple[LimitType, ...] = (LimitType.IP,),
    repeat: Repeat | None = None,
) -> Callable[[F], F]:
    """Declare a removal, which stands in the priority of orders; see `get`, and `Endpoint.repeat`."""
    return functools.partial(_declare, "DELETE", path, weight, {}, security, kinds, Priority.ORDER, repeat)


def undeclared_endpoint(
    method: Method,
    path: str,
    *,
    weight: int,
    security: Security,
    kinds: Iterable[LimitType],
    priority: Priority | None,
    repeat: Repeat | None = None,
    returns: type[T],
) -> Endpoint[T]:
    """An endpoint made on the spot, checked as a declared one is and by its types too: no type checker saw them.

    Raises:
        ValueError: with the reason.
    """
    if method not in get_args(Method):
        raise ValueError(f"the method {method!r} is none of {', '.join(get_args(Method))}")
    if security not in get_args(Security):
        raise ValueError(f"the security {security!r} is none of {', '.join(get_args(Security))}")
    if priority is not None and not isinstance(priority, Priority):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"the priority {priority!r} is none of {', '.join(map(str, Priority))}")
    _check_repeat(repeat)
    counted = _kinds(kinds)
    check_endpoint(path, weight=weight, kinds=counted)
    served = priority if priority is not None else Priority.POLL if method == "GET" else Priority.ORDER
    try:
        return _made(method, path, weight, security, counted, served, repeat, returns)
    except Exception as error:
        # A type of the caller's own may fail in any way of its own.
        raise ValueError(f"nothing can be decoded into the type given as returns: {error}") from error


def check_endpoint(path: str, *, weight: int, kinds: tuple[LimitType, ...]) -> None:
    """Refuse what leads to no known host or is counted by no known pool.

    Raises:
        ValueError: with the reason.
    """
    family = _checked_family(path)
    # True is an int too.
    if type(weight) is not int or weight < 1:
        raise ValueError(f"the weight is {weight!r}: a call weighs 1 at least, in whole numbers")
    unknown = [kind for kind in kinds if (family, kind) not in LIMITS]
    if unknown or not kinds:
        raise ValueError(f"/{family} is not counted by {', '.join(unknown) or 'nothing'}")
    if len(set(kinds)) < len(kinds):
        raise ValueError(f"one of the kinds is there twice: {', '.join(kinds)}")


def _check_repeat(repeat: object) -> None:
    if repeat is not None and repeat not in get_args(Repeat):
        raise ValueError(f"repeat is {repeat!r}, which is none of {', '.join(get_args(Repeat))}")


def _kinds(kinds: Iterable[LimitType]) -> tuple[LimitType, ...]:
    try:
        return tuple(LimitType(kind) for kind in kinds)
    except (TypeError, ValueError):
        raise ValueError(f"the kinds are {kinds!r}: give some of {', '.join(LimitType)} in a tuple") from None


# Bounded, as programs may call any number of paths; the arguments were checked before, so that equals are the same.
@functools.lru_cache(maxsize=256)
def _made(
    method: Method,
    path: str,
    weight: int,
    security: Security,
    kinds: tuple[LimitType, ...],
    priority: Priority,
    repeat: Repeat | None,
    returns: type[T],
) -> Endpoint[T]:
    return Endpoint(
        name=f"{method} {path}",
        method=method,
        path=path,
        weight=weight,
        weight_without={},
        priority=priority,
        kinds=kinds,
        security=security,
        repeat=repeat,
        decode=decoder(returns),
        parameters={},
        returns=returns,
        doc="",
    )


def _checked_family(path: object) -> str:
    """The first part of a path that can be called."""
    families = {family for family, _ in LIMITS}
    text = path if isinstance(path, str) else ""
    parts = text.split("/")
    if len(parts) < 3 or parts[0] or parts[1] not in families or not all(parts[1:]):
        raise ValueError(f"the path {path!r} does not begin with one of {', '.join(sorted(families))}")
    if not text.isascii() or not text.isprintable() or any(character in text for character in "?#%\\ "):
        raise ValueError(f"the path {path!r} has a character that a path cannot have")
    if not {".", ".."}.isdisjoint(parts):
        raise ValueError(f"the path {path!r} leads elsewhere by its dots")
    return parts[1]


def _declare(
    method: Method,
    path: str,
    weight: int,
    weight_without: Mapping[str, int],
    security: Security,
    kinds: tuple[LimitType, ...],
    priority: Priority,
    repeat: Repeat | None,
    function: F,
) -> F:
    _check_repeat(repeat)
    for cost in (weight, *weight_without.values()):
        check_endpoint(path, weight=cost, kinds=kinds)
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
        weight_without={camel(name): cost for name, cost in weight_without.items()},
        priority=priority,
        kinds=kinds,
        security=security,
        repeat=repeat,
        decode=decoder(signature.return_annotation),
        parameters=signature.parameters,
        returns=signature.return_annotation,
        doc=inspect.getdoc(function) or "",
    )
    names = {parameter: camel(parameter) for parameter in signature.parameters}
    needs_none = all(parameter.default is not parameter.empty for parameter in signature.parameters.values())

    @functools.wraps(function)
    async def method_of_client(self: Any, *args: Any, **kwargs: Any) -> Any:
        if needs_none and not args and not kwargs:
            # Binding costs as much as signing, and most polls say nothing.
            return await self.call(endpoint, {})
        bound = signature.bind(*args, **kwargs)
        return await self.call(endpoint, {names[name]: value for name, value in bound.arguments.items()})

    return cast("F", method_of_client)
