"""Declare an endpoint as a decorated signature in a class of endpoints.

    class Um(Namespace, name="um"):
        @get("/papi/v1/um/openOrders", weights=Weights(1, without={"symbol": 40}))
        async def open_orders(self, symbol: str | None = None) -> list[UmOrder]:
            '''Open USD-M orders of one symbol, or of every symbol.'''
            ...

The decorator supplies the body: it binds the arguments and awaits ``self.call(endpoint, parameters)``. Docstring and
return type stay as written, for people and for type checkers. In the signature, a `TypedDict` behind `Unpack` is
written out into keyword parameters. The class registers the endpoint under its dotted name.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    NotRequired,
    Required,
    TypeVar,
    Unpack,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
    overload,
)

import msgspec

from binance_pm.endpoint import (
    ENDPOINTS,
    Check,
    Endpoint,
    Registry,
    Security,
    Weights,
    check_repeat,
    checked_weights,
    default_priority,
)
from binance_pm.errors import Repeat
from binance_pm.limits import LimitType, Priority
from binance_pm.transport.http import Method
from binance_pm.wire import Value, camel, decoder

if TYPE_CHECKING:
    from typing import Protocol, TypedDict

    from binance_pm.paging import Page
    from binance_pm.resolution import Resolution

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
N = TypeVar("N", bound="Namespace")


if TYPE_CHECKING:

    class Caller(Protocol):
        """The object that makes the calls of an endpoint's method: a client."""

        async def call(
            self,
            endpoint: Endpoint[T],
            parameters: Mapping[str, Value | None],
            /,
            *,
            check: bool = True,
        ) -> T:
            """Make one call."""
            ...

    class Facts(TypedDict, total=False):
        """The facts that an endpoint declares besides its path and signature."""

        weights: Required[int | Weights | Mapping[LimitType, int | Weights]]
        """The weight of a call by limit type; a single number is the weight for the IP."""
        security: Security
        """What the exchange requires; by default USER_DATA for a GET and TRADE for all other methods."""
        priority: Priority
        """By default POLL for a GET and ORDER for all other methods."""
        repeat: Repeat
        """See `Endpoint.repeat`: ``"same_effect"`` for cancels and absolute settings, ``"never"`` for download ids."""
        client_id: str
        """The optional parameter for the caller's own id, such as ``new_client_order_id``."""
        resolve: Resolution
        """How `Client.resolve` finds out whether a write was executed. The method may have a parameter ``resolve``,
        which is not sent: whether a call resolves an unknown outcome before it raises."""
        check: Check
        """Refuses arguments before they are sent: it raises ValueError, which becomes a `ConfigurationError`. The
        method has a parameter ``check``, which is not sent: whether a call is checked. Arguments of such a method are
        checked against the declared types first; see `binance_pm.argument_types`."""
        page: Page
        """How further pages of a long list are requested."""
        single: bool | str
        """Whether the response is one object, or a list with one object: the method then returns the object. If this is
        the name of a parameter, only calls with this parameter return the object, and all other calls return a list."""
        deprecated: str
        """What to use instead."""


def get(path: str, **facts: Unpack[Facts]) -> Callable[[F], F]:
    """Declare a query; see `Facts`."""
    return functools.partial(_declare, "GET", path, facts)


def post(path: str, **facts: Unpack[Facts]) -> Callable[[F], F]:
    """Declare an action; see `Facts`."""
    return functools.partial(_declare, "POST", path, facts)


def put(path: str, **facts: Unpack[Facts]) -> Callable[[F], F]:
    """Declare a change; see `Facts`."""
    return functools.partial(_declare, "PUT", path, facts)


def delete(path: str, **facts: Unpack[Facts]) -> Callable[[F], F]:
    """Declare a removal; see `Facts`."""
    return functools.partial(_declare, "DELETE", path, facts)


class _Declaration:
    """The declaration of an endpoint, which is examined when the endpoint is first used.

    Examining a signature takes longer than everything else that importing a module of endpoints does.
    """

    __slots__ = ("bare", "call_options", "endpoint", "facts", "function", "method", "name", "path", "required")

    def __init__(self, method: Method, path: str, facts: Facts, function: Callable[..., object]) -> None:
        self.method: Final = method
        self.path: Final = path
        self.facts: Final = facts
        self.function: Final = function
        self.name: str = function.__name__
        """The name of the endpoint; the class that the method is in puts its own name in front."""
        self.endpoint: Endpoint[Any] | None = None
        self.bare: inspect.Signature | None = None
        """The signature without ``self``."""
        self.required: frozenset[str] = frozenset()
        """Parameters without a default."""
        self.call_options: frozenset[str] = frozenset()
        """Parameters that are not sent."""

    def make(self) -> Endpoint[Any]:
        """Return the endpoint.

        Raises:
            ValueError: the declaration contradicts itself.
        """
        if self.endpoint is None:
            signature, options = _written_out(self.function)
            self.bare = bare = signature.replace(parameters=list(signature.parameters.values())[1:])
            _check_call_options(self.name, bare, self.facts)
            self.required = frozenset(name for name, one in bare.parameters.items() if one.default is one.empty)
            self.call_options = CALL_OPTIONS & bare.parameters.keys()
            self.endpoint = _endpoint(self, bare, options)
        return self.endpoint

    def parameters_of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the parameters of a call by their names on the wire, and the call options.

        Raises:
            TypeError: an argument is missing, unknown or given twice.
        """
        endpoint = self.make()
        assert self.bare is not None, "made with the endpoint"  # noqa: S101 - for the type checker
        if args or not self.required <= kwargs.keys() <= self.bare.parameters.keys():
            # This takes as long as signing, and names the wrong argument.
            kwargs = self.bare.bind(*args, **kwargs).arguments
        given = {name: kwargs[name] for name in self.call_options if name in kwargs}
        return {wire: kwargs[name] for name, wire in endpoint.wire_names.items() if name in kwargs}, given


class MethodCall(msgspec.Struct, frozen=True):
    """A call of a client's method that has not been made."""

    client: Caller
    """The client."""
    endpoint: Endpoint[Any]
    """The endpoint of the method."""
    arguments: dict[str, Any]
    """The arguments by name as declared, call options included."""
    method: Callable[..., Awaitable[Any]]
    """The method, not bound to an object."""
    owner: Caller | Namespace
    """The object that the method is bound to."""

    def method_of(self, client: Caller) -> Callable[..., Awaitable[Any]]:
        """Return the method of another client."""
        owner = type(self.owner)(client) if isinstance(self.owner, Namespace) else client
        return functools.partial(self.method, owner)


def method_call(method: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> MethodCall | None:
    """Return the call of a client's method with these arguments; None if it is not the method of an endpoint.

    Raises:
        TypeError: an argument is missing, unknown or given twice.
    """
    declaration, owner = getattr(method, "declaration", None), getattr(method, "__self__", None)
    if not isinstance(declaration, _Declaration) or owner is None:
        return None
    endpoint = declaration.make()
    assert declaration.bare is not None, "made with the endpoint"  # noqa: S101 - for the type checker
    arguments = declaration.bare.bind(*args, **kwargs).arguments
    client: Any = getattr(owner.call, "__self__", None) if isinstance(owner, Namespace) else owner
    return MethodCall(client, endpoint, arguments, cast("Any", method).__func__, owner)


class EndpointGroup:
    """Base of a class whose methods are endpoints.

    Args:
        name: the prefix of their names, such as ``um``; empty for endpoints of the client itself.
        registry: the registry that the endpoints are added to.
    """

    def __init_subclass__(cls, *, name: str = "", registry: Registry = ENDPOINTS, **options: Any) -> None:
        super().__init_subclass__(**options)
        for method in vars(cls).values():
            declaration = getattr(method, "declaration", None)
            if isinstance(declaration, _Declaration):
                if name:
                    declaration.name = f"{name}.{declaration.name}"
                registry.add(declaration.name, declaration.make)


class Namespace(EndpointGroup):
    """Endpoints of one product, as an attribute of a client.

    Args:
        client: makes the calls.
    """

    __slots__ = ("call", "client")

    def __init__(self, client: Caller) -> None:
        self.client: Final = client
        self.call: Final = client.call
        """Makes the calls."""


class LazyNamespace(Generic[N]):
    """An attribute of a client whose module is imported when it is first used.

    Args:
        module: the module of the class.
        class_name: the name of the class.
    """

    def __init__(self, module: str, class_name: str) -> None:
        self._module: Final = module
        self._class_name: Final = class_name
        self._class: type[N] | None = None

    @overload
    def __get__(self, client: None, owner: type[Any]) -> type[N]: ...
    @overload
    def __get__(self, client: Caller, owner: type[Any]) -> N: ...
    def __get__(self, client: Caller | None, owner: type[Any]) -> N | type[N]:
        if self._class is None:
            self._class = cast("type[N]", getattr(importlib.import_module(self._module), self._class_name))
        # Not kept: client and namespace would refer to each other, and only the garbage collector would free them.
        return self._class if client is None else self._class(client)


def lazy_endpoints(module: str, class_name: str, *names: str) -> type[Any]:
    """Return a base class of a client with methods of another class, whose module is imported when one is first used.

    Args:
        module: the module of the other class.
        class_name: the name of the other class.
        *names: the names of its methods.
    """
    methods = {name: _LazyMethod(module, class_name) for name in names}
    return type(class_name, (), {"__module__": module, **methods})


class _LazyMethod:
    def __init__(self, module: str, class_name: str) -> None:
        self._module: Final = module
        self._class_name: Final = class_name
        self._owner: type[Any] = type(self)
        self._name: str = ""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._owner, self._name = owner, name

    def __get__(self, client: object | None, owner: type[Any]) -> Any:
        method = getattr(getattr(importlib.import_module(self._module), self._class_name), self._name)
        setattr(self._owner, self._name, method)
        return method.__get__(client, owner)


def _declare(method: Method, path: str, facts: Facts, function: F) -> F:
    if "weights" not in facts:
        raise TypeError(f"{function.__name__} is declared without weights")
    if unknown := facts.keys() - _FACTS:
        raise TypeError(f"{function.__name__} is declared with {', '.join(unknown)}, which is not a fact")
    declaration = _Declaration(method, path, facts, function)

    @functools.wraps(function)
    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        endpoint = declaration.endpoint or declaration.make()
        if endpoint.deprecated is not None:
            warnings.warn(f"{endpoint.name} is deprecated: {endpoint.deprecated}", DeprecationWarning, stacklevel=2)
        if not args and not kwargs and not declaration.required:
            return await self.call(endpoint, {})
        parameters, given = declaration.parameters_of(args, kwargs)
        if endpoint.one is not None:
            endpoint = endpoint.for_parameters(parameters)
        return await self.call(endpoint, parameters, **given)

    decorated = cast("Any", call)
    decorated.declaration = declaration
    if function.__code__.co_flags & inspect.CO_VARKEYWORDS:
        decorated.__signature__ = _written_out(function)[0]
    return cast("F", call)


CALL_OPTIONS: Final = frozenset({"check", "resolve"})
"""Parameters of a method that choose how the call is made, and that are not sent."""
_LAST: Final = {"recv_window", *CALL_OPTIONS}
_PASSED_ON: Final = ("repeat", "client_id", "resolve", "page", "deprecated")
_FACTS: Final = {"weights", "security", "priority", "single", "check", *_PASSED_ON}


def _endpoint(declaration: _Declaration, signature: inspect.Signature, options: type[Any] | None) -> Endpoint[Any]:
    """Return the declared endpoint.

    Raises:
        ValueError: the declaration contradicts itself, or its path belongs to no known host.
    """
    method, path, facts = declaration.method, declaration.path, declaration.facts
    parameters = {name: one for name, one in signature.parameters.items() if name not in CALL_OPTIONS}
    wire_names = {name: camel(name) for name in parameters}
    single, returns = facts.get("single", False), signature.return_annotation
    one, one_with = None, ""
    if isinstance(single, str):
        [returns, one], one_with = get_args(returns), camel(single)
    passed_on: dict[str, Any] = {name: facts.get(name) for name in _PASSED_ON}
    endpoint = Endpoint[Any](
        name=declaration.name,
        method=method,
        path=path,
        security=facts.get("security", "USER_DATA" if method == "GET" else "TRADE"),
        weights=_wire_weights(path, facts),
        priority=facts.get("priority", default_priority(method)),
        decode=_decoder_of_one(returns) if single is True else decoder(returns),
        returns=returns,
        parameters=parameters,
        wire_names=wire_names,
        doc=inspect.getdoc(declaration.function) or "",
        one_with=one_with,
        options=options,
        check=_whole_check(declaration.name, parameters, facts) if "check" in signature.parameters else None,
        **passed_on,
    )
    _check(endpoint)
    if one is None:
        return endpoint
    selected = msgspec.structs.replace(endpoint, decode=_decoder_of_one(one), returns=one)
    return msgspec.structs.replace(endpoint, one=selected)


def _check_call_options(name: str, signature: inspect.Signature, facts: Facts) -> None:
    """Refuse a method whose call options do not fit its facts.

    Raises:
        ValueError: with the reason.
    """
    if "check" in facts and "check" not in signature.parameters:
        raise ValueError(f"{name} declares a check, and has no parameter check")
    if "resolve" in signature.parameters and "resolve" not in facts:
        raise ValueError(f"{name} has a parameter resolve, and does not declare how its outcome is found out")


def _wire_weights(path: str, facts: Facts) -> Mapping[LimitType, Weights]:
    """Return the declared weights, with the names of parameters on the wire."""
    return {
        limit_type: Weights(given.weight, {camel(name): weight for name, weight in given.without.items()})
        for limit_type, given in checked_weights(path, facts["weights"]).items()
    }


def _whole_check(name: str, parameters: Mapping[str, inspect.Parameter], facts: Facts) -> Check:
    """Return the check of the declared types, followed by the declared check.

    Raises:
        ValueError: there is nothing to check.
    """
    from binance_pm.argument_types import type_check  # noqa: PLC0415 - the endpoints that every program loads have no checks

    checks = [one for one in (type_check(parameters), facts.get("check")) if one is not None]
    if not checks:
        raise ValueError(f"{name} has a parameter check, and nothing to check")

    def check(arguments: Mapping[str, object]) -> None:
        for one in checks:
            one(arguments)

    return check


def _written_out(function: Callable[..., object]) -> tuple[inspect.Signature, type[Any] | None]:
    """Return the signature with each key of an unpacked `TypedDict` as a keyword parameter, and the `TypedDict`.

    A key that is not required may be None, and is None by default. ``recv_window`` and call options come last.

    Raises:
        ValueError: a variadic parameter is not declared by a `TypedDict`, or a key is also a parameter.
    """
    signature = inspect.signature(function, eval_str=True)
    parameters = list(signature.parameters.values())
    variadic = [one for one in parameters if one.kind in {one.VAR_POSITIONAL, one.VAR_KEYWORD}]
    if not variadic:
        return signature, None
    options = cast("Any", next(iter(get_args(variadic[-1].annotation)), None))
    if len(variadic) > 1 or get_origin(variadic[0].annotation) is not Unpack or not is_typeddict(options):
        raise ValueError(f"{variadic[0]} is not declared as Unpack[a TypedDict]")
    keywords = sorted(_keywords(options), key=lambda one: one.name in _LAST)
    return signature.replace(parameters=[*parameters[:-1], *keywords]), options


def _keywords(options: type[Any]) -> Iterator[inspect.Parameter]:
    required: frozenset[str] = cast("Any", options).__required_keys__
    for name, declared in get_type_hints(options, include_extras=True).items():
        is_required, hint = name in required, declared
        # `__required_keys__` ignores qualifiers that are strings, as in modules with postponed annotations.
        if (qualifier := get_origin(declared)) in {Required, NotRequired}:
            is_required, hint = qualifier is Required, get_args(declared)[0]
        yield inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if is_required else None,
            annotation=hint if is_required else hint | None,
        )


def _decoder_of_one(returns: Any) -> Callable[[bytes], Any]:
    """Return a function that decodes one object, or a list with it."""
    decode = decoder(cast("type[Any]", returns | list[returns]))

    def decode_one(body: bytes) -> Any:
        response = decode(body)
        objects = cast("list[Any]", response if isinstance(response, list) else [response])
        if len(objects) != 1:
            raise ValueError(f"expected one object, got a list of {len(objects)} - at `$`")
        return objects[0]

    return decode_one


def _check(endpoint: Endpoint[Any]) -> None:
    """Refuse a declaration whose parts contradict each other.

    Raises:
        ValueError: with the reason.
    """
    check_repeat(endpoint.repeat)
    optional = {endpoint.wire_names[name] for name, one in endpoint.parameters.items() if one.default is not one.empty}
    named = {name for weights in endpoint.weights.values() for name in weights.without}
    named |= {camel(name) for name in [endpoint.client_id, endpoint.one_with] if name}
    if missing := named - optional:
        raise ValueError(f"{endpoint.name} has no optional parameter {', '.join(sorted(missing))}")
    if not endpoint.is_write and (endpoint.client_id or endpoint.resolve):
        raise ValueError(f"{endpoint.name} is a query: client_id and resolve are facts of a write")
    if endpoint.page is not None:
        from binance_pm.paging import check_page  # noqa: PLC0415 - the endpoints that every program loads have no pages

        check_page(endpoint.page, endpoint.parameters, endpoint.returns)
