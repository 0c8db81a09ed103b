"""Endpoints as data: the facts of each declaration, the rules of a declaration, and the registry.

`ENDPOINTS` maps the name of every declared endpoint, such as ``account`` or ``um.open_orders``, to the endpoint. The
command line, the table in the documentation and the tests are generated from it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, cast, get_args

import msgspec

from binance_pm.errors import Repeat
from binance_pm.limits import LIMITS, Family, LimitType, Priority
from binance_pm.transport.http import Method
from binance_pm.wire import decoder

if TYPE_CHECKING:
    from binance_pm.paging import Page
    from binance_pm.resolution import Resolution

T = TypeVar("T")

Security = Literal["NONE", "MARKET_DATA", "USER_STREAM", "USER_DATA", "TRADE", "MARGIN"]
"""What the exchange requires: nothing; the key; or the key and a signature (the last three)."""

Check = Callable[[Mapping[str, object]], None]
"""Raises ValueError if the arguments, by name as declared, cannot be sent; the error text names them."""

_SIGNED: Final = {"USER_DATA", "TRADE", "MARGIN"}


class Weights(msgspec.Struct, frozen=True):
    """The weight of a call in one pool, if the weight depends on the parameters."""

    weight: int
    """The weight of a call that has all of the parameters in `without`."""
    without: Mapping[str, int] = {}
    """The weight of a call without a parameter, by the parameter's name; the highest counts."""

    def of(self, parameters: Mapping[str, object]) -> int:
        """Return the weight of a call with these parameters."""
        if not self.without:
            return self.weight
        missing = [weight for name, weight in self.without.items() if parameters.get(name) is None]
        return max(missing, default=self.weight)


class Endpoint(msgspec.Struct, Generic[T], frozen=True, kw_only=True, eq=False):
    """One endpoint of the exchange."""

    name: str
    """The name of its method on a client, such as ``account`` or ``um.open_orders``."""
    method: Method
    """The HTTP method."""
    path: str
    """The path, such as ``/papi/v2/um/account``."""
    security: Security
    """What a request needs: nothing, a key, or a key and a signature."""
    weights: Mapping[LimitType, Weights]
    """The weight of a call by limit type, with the parameters' names on the wire."""
    priority: Priority
    """The priority of its calls in the queue for weight."""
    decode: Callable[[bytes], T]
    """Decodes the body of a response; raises ValueError if the body is not what the endpoint promises."""
    returns: type[T]
    """The type of a decoded response."""
    parameters: Mapping[str, inspect.Parameter]
    """The parameters by name as declared, without ``self``."""
    wire_names: Mapping[str, str]
    """The parameters' names on the wire, by name as declared."""
    doc: str
    """The docstring of the declaration."""
    is_declared: bool = True
    """Whether the endpoint is a method of a client; not if it was made for `Client.request`."""
    repeat: Repeat | None = None
    """Whether a request is sent again if its response is lost. None: only a GET. "same_effect": yes, because a second
    request has no further effect. "never": no, not even a GET, because each request uses up a quota."""
    client_id: str | None = None
    """The parameter for the caller's own id, such as a client order id."""
    resolve: Resolution | None = None
    """How `Client.resolve` finds out whether a call with an unknown outcome was executed."""
    check: Check | None = None
    """Refuses arguments that the exchange would refuse, before they are sent: first by the declared types."""
    page: Page | None = None
    """How further pages of a long list are requested."""
    deprecated: str | None = None
    """What to use instead, if the endpoint is deprecated."""
    one: Endpoint[Any] | None = None
    """The same endpoint for calls with the parameter `one_with`: the response is one object instead of a list."""
    one_with: str = ""
    """The name, on the wire, of the parameter that selects one object."""
    options: type[Any] | None = None
    """The `TypedDict` that declares most of the parameters."""
    constant_weights: tuple[int, ...] | None = None
    """The weight of every call, in the order of `weights`; None if the weight depends on the parameters."""
    counts: tuple[str, ...] = ()
    """The response headers with the exchange's counts, by the limit types of `weights`."""

    def __post_init__(self) -> None:
        counts = tuple(LIMITS[self.family, limit_type].header for limit_type in self.weights)
        msgspec.structs.force_setattr(self, "counts", counts)
        if not any(weights.without for weights in self.weights.values()):
            constant = tuple(weights.weight for weights in self.weights.values())
            msgspec.structs.force_setattr(self, "constant_weights", constant)

    @property
    def family(self) -> Family:
        """The first part of the path."""
        return cast("Family", self.path.split("/")[1])

    @property
    def descriptions(self) -> Mapping[str, str]:
        """The descriptions of the parameters in their `TypedDict`, by name as declared."""
        if self.options is None:
            return {}
        from binance_pm.descriptions import descriptions_of  # noqa: PLC0415 - only the command line needs it

        return descriptions_of(self.options)

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
        """Whether a call changes something at the exchange; True also for a GET that declares `repeat`."""
        return self.method != "GET" or self.repeat is not None

    @property
    def poll_weights(self) -> Mapping[LimitType, int]:
        """The weight of a call without parameters, by limit type."""
        return dict(zip(self.weights, self.weights_of({}), strict=True))

    def weights_of(self, parameters: Mapping[str, object]) -> tuple[int, ...]:
        """Return the weight of a call with these parameters, in the order of `weights`.

        Args:
            parameters: by name on the wire.
        """
        if self.constant_weights is not None:
            return self.constant_weights
        return tuple(weights.of(parameters) for weights in self.weights.values())

    def for_parameters(self, parameters: Mapping[str, object]) -> Endpoint[Any]:
        """Return the endpoint whose response type fits a call with these parameters.

        Args:
            parameters: by name on the wire.
        """
        return self.one if self.one is not None and parameters.get(self.one_with) is not None else self

    def arguments(self, parameters: Mapping[str, object]) -> dict[str, object]:
        """Return the arguments of a call by name as declared, without those that are None.

        Args:
            parameters: by name on the wire.
        """
        sent = {name: parameters.get(wire_name) for name, wire_name in self.wire_names.items()}
        return {name: value for name, value in sent.items() if value is not None}


class Registry(Mapping[str, Endpoint[Any]]):
    """Endpoints by name. The first read imports all modules that declare endpoints.

    Args:
        package: the package of these modules; empty if endpoints are only added by `add`.
    """

    def __init__(self, package: str = "") -> None:
        self._package: str = package
        self._known: Final[dict[str, Callable[[], Endpoint[Any]]]] = {}

    def add(self, name: str, make: Callable[[], Endpoint[Any]]) -> None:
        """Register an endpoint.

        Args:
            name: the name of the endpoint.
            make: returns the endpoint, and always the same one.

        Raises:
            ValueError: an endpoint of this name exists already.
        """
        if name in self._known:
            raise ValueError(f"two endpoints are called {name}")
        self._known[name] = make

    def __getitem__(self, name: str) -> Endpoint[Any]:
        if name not in self._known:
            self._load()
        return self._known[name]()

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._known)

    def __len__(self) -> int:
        self._load()
        return len(self._known)

    def _load(self) -> None:
        if self._package:
            import pkgutil  # noqa: PLC0415 - most programs never list all endpoints

            for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
                importlib.import_module(f"{self._package}.{module.name}")
            self._package = ""


ENDPOINTS: Final = Registry("binance_pm.api")


def undeclared_endpoint(
    method: Method,
    path: str,
    *,
    weights: int | Mapping[LimitType, int],
    security: Security,
    priority: Priority | None,
    repeat: Repeat | None = None,
    returns: type[T],
) -> Endpoint[T]:
    """Return an endpoint for `Client.request`, after the checks of a declared endpoint and of the argument types.

    Raises:
        ValueError: with the reason.
    """
    if method not in get_args(Method):
        raise ValueError(f"method {method!r} is not one of {', '.join(get_args(Method))}")
    if security not in get_args(Security):
        raise ValueError(f"security {security!r} is not one of {', '.join(get_args(Security))}")
    if priority is not None and not isinstance(priority, Priority):  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller is type-checked
        raise ValueError(f"priority {priority!r} is not one of {', '.join(one.name for one in Priority)}")
    check_repeat(repeat)
    charged = tuple((limit_type, one.weight) for limit_type, one in checked_weights(path, weights).items())
    try:
        # A type that responses cannot be decoded into is refused here, not after the response arrived.
        msgspec.json.Decoder(returns)
        served = default_priority(method) if priority is None else priority
        return _undeclared(method, path, charged, security, served, repeat, returns)
    except Exception as error:
        # A type that the caller defined may raise any exception.
        raise ValueError(f"nothing can be decoded into the type given as returns: {error}") from error


def default_priority(method: Method) -> Priority:
    """Return the priority of calls whose declaration does not set one."""
    return Priority.POLL if method == "GET" else Priority.ORDER


def check_repeat(repeat: object) -> None:
    """Refuse a value that is not allowed for `Endpoint.repeat`.

    Raises:
        ValueError: with the reason.
    """
    if repeat is not None and repeat not in get_args(Repeat):
        raise ValueError(f"repeat {repeat!r} is not one of {', '.join(get_args(Repeat))}")


def checked_weights(
    path: str, weights: int | Weights | Mapping[LimitType, int | Weights]
) -> Mapping[LimitType, Weights]:
    """Return the weights of a call by limit type; a single number is the weight for the IP.

    Raises:
        ValueError: the path belongs to no known host, a limit type does not apply to it, or a weight is not a positive
        integer.
    """
    family = _checked_family(path)
    given = weights if isinstance(weights, Mapping) else {LimitType.IP: weights}
    try:
        charged = {
            LimitType(one): value if isinstance(value, Weights) else Weights(value) for one, value in given.items()
        }
    except ValueError:
        raise ValueError(
            f"the weight names {', '.join(map(str, given))}: limit types are {', '.join(LimitType)}"
        ) from None
    unknown = [one for one in charged if (family, one) not in LIMITS]
    if unknown or not charged:
        raise ValueError(f"/{family} is not counted by {', '.join(unknown) or 'nothing'}")
    for one in charged.values():
        for weight in (one.weight, *one.without.values()):
            # True is an int too.
            if type(weight) is not int or weight < 1:
                raise ValueError(f"the weight {weight!r} is not a positive integer")
    return charged


# Bounded, because programs may call any number of paths. The arguments were checked before, so equal ones are the same.
@functools.lru_cache(maxsize=256)
def _undeclared(
    method: Method,
    path: str,
    weights: tuple[tuple[LimitType, int], ...],
    security: Security,
    priority: Priority,
    repeat: Repeat | None,
    returns: type[T],
) -> Endpoint[T]:
    return Endpoint(
        name=f"{method} {path}",
        method=method,
        path=path,
        security=security,
        weights={limit_type: Weights(weight) for limit_type, weight in weights},
        priority=priority,
        decode=decoder(returns),
        returns=returns,
        parameters={},
        wire_names={},
        doc="",
        is_declared=False,
        repeat=repeat,
    )


def _checked_family(path: object) -> Family:
    """Return the family of a path, after a check of the path."""
    families = {family for family, _ in LIMITS}
    text = path if isinstance(path, str) else ""
    parts = text.split("/")
    if len(parts) < 3 or parts[0] or parts[1] not in families or not all(parts[1:]):
        raise ValueError(f"the path {path!r} does not begin with one of {', '.join(sorted(families))}")
    if not text.isascii() or not text.isprintable() or any(character in text for character in "?#%\\ "):
        raise ValueError(f"the path {path!r} has a character that a path cannot have")
    if not {".", ".."}.isdisjoint(parts):
        raise ValueError(f"the path {path!r} leads elsewhere by its dots")
    return cast("Family", parts[1])
