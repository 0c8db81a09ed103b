"""Every argument of every public constructor is checked early: the table is made from their signatures."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from decimal import Decimal
from enum import StrEnum
from functools import partial
from pathlib import Path
from traceback import TracebackException
from typing import Any, Literal, Protocol, cast

import anyio
import msgspec
import pytest

from binance_pm import (
    Budget,
    Client,
    ConfigurationError,
    LimitType,
    PortfolioMarginError,
    Session,
    SessionClosed,
    Timeouts,
)
from binance_pm.arguments import check, checked, hint_of
from binance_pm.budget.shared import SharedBudget
from binance_pm.fleet import Fleet, Member, Publisher
from binance_pm.fleet.relay.subscribe import StreamReader
from binance_pm.metrics import Metrics
from binance_pm.stream.live import LiveAccount
from binance_pm.stream.pro import ProClient
from binance_pm.stream.stream import EventStream
from binance_pm.testing import sandbox

API_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
ENVIRONMENT = {"BINANCE_PM_API_KEY": API_KEY, "BINANCE_PM_API_SECRET": SECRET}
CANARY = "canary-4410"


def accounts_file(folder: Path) -> Path:
    """Write a file that `Fleet.from_toml` accepts."""
    path = folder / "accounts.toml"
    path.write_text('[[accounts]]\nlabel = "a"\nproduct = "pm"\napi_key = { env = "A" }\napi_secret = { env = "B" }\n')
    return path


def session_with(**timeouts: Any) -> Session:
    """Return a session with a `Timeouts` of these fields."""
    return Session(timeouts=Timeouts(**timeouts), budget=Budget())


def fleet_with(**member: Any) -> Fleet:
    """Return a fleet of one member with these fields."""
    return Fleet([Member(**member)])


def reconnect(**arguments: Any) -> None:
    """Reconnect a stream that is not open."""
    with suppress(SessionClosed):
        Client(API_KEY, SECRET).stream().reconnect(**cast("Any", {"why": "test"} | arguments))


URL = "redis://127.0.0.1:1/0"
CONSTRUCTORS: dict[str, tuple[Callable[..., Any], Callable[[Path], Callable[..., Any]]]] = {
    "Client": (Client, lambda _: partial(Client, api_key=API_KEY, api_secret=SECRET)),
    "Client.from_env": (Client.from_env, lambda _: partial(Client.from_env, environment=ENVIRONMENT)),
    "Client.stream": (Client.stream, lambda _: Client(API_KEY, SECRET).stream),
    "Client.live_account": (Client.live_account, lambda _: Client(API_KEY, SECRET).live_account),
    "ProClient.stream": (ProClient.stream, lambda _: Client(API_KEY, SECRET).pro.stream),
    "EventStream.reconnect": (EventStream.reconnect, lambda _: reconnect),
    "LiveAccount.missed_fills": (
        LiveAccount.missed_fills,
        lambda _: Client(API_KEY, SECRET).live_account().missed_fills,
    ),
    "Session": (Session, lambda _: partial(Session, budget=Budget())),
    "Timeouts": (Timeouts, lambda _: session_with),
    "Budget": (Budget, lambda _: Budget),
    "SharedBudget": (SharedBudget, lambda _: partial(SharedBudget, url=URL)),
    "Budget.plan": (Budget.plan, lambda _: partial(Budget().plan, accounts=1, every=5.0, endpoints=[])),
    "Budget.plan_groups": (Budget.plan_groups, lambda _: partial(Budget().plan_groups, groups=[(1, [])], every=5.0)),
    "Fleet": (Fleet, lambda _: partial(Fleet, members=[Member(Client(API_KEY, SECRET))])),
    "Fleet.from_toml": (Fleet.from_toml, lambda folder: partial(Fleet.from_toml, path=accounts_file(folder))),
    "Member": (Member, lambda _: partial(fleet_with, client=Client(API_KEY, SECRET))),
    "Publisher": (Publisher, lambda _: partial(Publisher, url=URL)),
    "read_stream": (StreamReader, lambda _: partial(StreamReader, url=URL, group="g")),
    "Metrics": (Metrics, lambda _: Metrics),
    "sandbox": (sandbox, lambda _: partial(sandbox, in_memory=True, accounts=1)),
}
"""Everything with checked arguments, by its name in errors: the signature, and a call with valid arguments."""

WRONG: dict[str, Any] = {
    "None": None,
    "five": 5,
    "zero": 0,
    "minus one": -1,
    "half": 1.5,
    "nan": math.nan,
    "infinite": math.inf,
    "minus infinite": -math.inf,
    "huge": 10**5000,
    "True": True,
    "text": CANARY,
    "empty text": "",
    "number as text": "1",
    "bytes": CANARY.encode(),
    "no bytes": b"",
    "object": object(),
    "class": object,
    "empty list": [],
    "list": [CANARY],
    "list of objects": [object()],
    "tuple": (CANARY, CANARY),
    "dict": {CANARY: CANARY},
    "empty dict": {},
    "set": {1, 2},
    "Decimal": Decimal("sNaN"),
    "Path": Path(CANARY),
    "client": Client(API_KEY, SECRET),
    "session": Session(budget=Budget()),
    "function": lambda: None,
}


def parameters_of(name: str) -> Iterator[inspect.Parameter]:
    """Yield the named parameters of a constructor."""
    for parameter in inspect.signature(CONSTRUCTORS[name][0]).parameters.values():
        if parameter.name not in {"self", "cls"} and parameter.kind is not parameter.VAR_KEYWORD:
            yield parameter


# Other names of a parameter in errors.
CALLED = {
    "api_secret": ("api_secret", "private key"),
    "environment": ("environment", "BINANCE_PM_API_KEY".lower()),
    "groups": ("groups", "accounts"),
    "path": ("path", CANARY, "cannot be read"),
}

CASES = [(name, parameter.name) for name in CONSTRUCTORS for parameter in parameters_of(name)]


async def made(make: Callable[..., Any], **changed: Any) -> None:
    """Construct the object, and open it if that needs no network: nothing is sent."""
    thing = make(**changed)
    if isinstance(thing, AbstractAsyncContextManager) and not isinstance(thing, Fleet):
        context = cast("AbstractAsyncContextManager[object]", thing)
        with suppress(PortfolioMarginError):
            async with context:
                pass


@pytest.mark.parametrize(("name", "parameter"), CASES, ids=lambda word: word)
async def test_a_wrong_argument_is_named(
    name: str, parameter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any value works or is refused with a `ConfigurationError` that names the argument without its value."""
    # Texts are file names to some of them.
    monkeypatch.chdir(tmp_path)
    make = CONSTRUCTORS[name][1](tmp_path)
    refusals: list[ConfigurationError] = []
    for value in WRONG.values():
        try:
            await made(make, **{parameter: value})
        except ConfigurationError as error:
            refusals.append(error)
    named = CALLED.get(parameter, (parameter,))
    for refusal in refusals:
        shown = str(refusal).lower().replace("_", " ")
        assert any(word.replace("_", " ").rstrip("s") in shown for word in named), shown
        assert CANARY not in str(refusal) or parameter in {"path", "read", "api_secret", "parts", "symbols"}
        assert refusal.__cause__ is None
    assert len(refusals) > len(WRONG) / 2


# Every parameter that takes a number, as a field or an argument.
NUMBERS = [
    (name, parameter.name)
    for name in CONSTRUCTORS
    for parameter in parameters_of(name)
    if parameter.annotation in {"float", "int", "float | None", "int | None", float, int}
]


@pytest.mark.parametrize(("name", "parameter"), NUMBERS, ids=lambda word: word)
@pytest.mark.parametrize("value", [math.nan, True, "1", None, b"1", Decimal(1)], ids=str)
async def test_a_value_that_is_not_a_number_is_refused(name: str, parameter: str, value: Any, tmp_path: Path) -> None:
    """NaN would compare as neither less nor more than a bound."""
    make = CONSTRUCTORS[name][1](tmp_path)
    if value is None and inspect.signature(CONSTRUCTORS[name][0]).parameters[parameter].default is None:
        await made(make, **{parameter: value})
        return

    with pytest.raises(ConfigurationError, match=parameter):
        await made(make, **{parameter: value})


REPORTED: list[Callable[[], object]] = [
    lambda: Client.from_env({"BINANCE_PM_API_KEY": cast("Any", 5), "BINANCE_PM_API_SECRET": SECRET}),
    lambda: Session(max_body=-1),
    lambda: Session(http=cast("Any", object())),
    lambda: Budget(limits={("papi", LimitType.IP): True}),
    lambda: Budget().plan(1, 5, cast("Any", ["um_account"])),
    lambda: Fleet(cast("Any", iter([Client(API_KEY, SECRET)]))),
    lambda: Fleet([Member(Client(API_KEY, SECRET))], hysteresis=Decimal("sNaN")),
    lambda: Fleet([Member(Client(API_KEY, SECRET))], hysteresis=Decimal("Infinity")),
    lambda: Fleet.from_toml("none.toml", shard=cast("Any", (1, 2, 3))),
]


@pytest.mark.parametrize("make", REPORTED, ids=range(len(REPORTED)))
def test_a_mistake_inside_an_argument_is_reported_at_once(make: Callable[[], object]) -> None:
    """Not by the first call, in the middle of an order."""
    with pytest.raises(ConfigurationError):
        make()


async def test_a_generator_argument_is_not_used_up() -> None:
    """The generator is read once."""
    fleet = Fleet(Member(client) for client in [Client(API_KEY, SECRET)])

    assert len(fleet.members) == 1


def test_the_traceback_of_a_refused_argument_shows_no_key() -> None:
    """An error reporter that records local variables sees no checked value."""
    make: list[Callable[[], object]] = [
        partial(Client, API_KEY, f"{SECRET}\n"),
        partial(Client, f"{API_KEY}\n", SECRET),
        partial(Client, API_KEY, SECRET, max_wait=-1),
        partial(Client, API_KEY, SECRET, max_wait=cast("Any", "x")),
        partial(Client.from_env, {"BINANCE_PM_API_KEY": API_KEY, "BINANCE_PM_API_SECRET": f"{SECRET} "}),
        partial(Client.from_env, {"BINANCE_PM_API_SECRET": SECRET}),
        partial(Client.from_env, ENVIRONMENT, papi_url=cast("Any", None)),
    ]
    for one in make:
        with pytest.raises(ConfigurationError) as caught:
            one()
        caught.value.__traceback__ = caught.value.__traceback__ and caught.value.__traceback__.tb_next
        shown = "".join(TracebackException.from_exception(caught.value, capture_locals=True).format())
        assert API_KEY not in shown
        assert SECRET not in shown


class Colour(StrEnum):
    """One of two."""

    RED = "red"
    BLUE = "blue"


class Named(Protocol):
    """Has a name."""

    name: str

    @property
    def size(self) -> int:
        """Return a size."""
        ...


ANNOTATIONS: list[tuple[Any, list[Any], list[Any]]] = [
    (str, ["", "x"], [None, b"x", 5]),
    (float, [1, 1.5, math.inf], [True, "1", math.nan, None, Decimal(1)]),
    (int, [0, -(10**18)], [True, 1.0, "1", 10**5000]),
    (bool, [True, False], [0, 1, "", None]),
    (str | None, ["", None], [5]),
    (Literal["a", "b"], ["a"], ["c", None, ["a"]]),
    (Literal[1], [1], [True, 1.0]),
    (Colour, [Colour.RED, "blue"], ["green", 1]),
    (Callable[[], None], [print, int], ["x", None]),
    (Callable[..., Awaitable[None]] | None, [anyio.sleep, None], [5]),
    (tuple[int, int], [(1, 2)], [(1,), (1, 2, 3), [1, 2], ("1", "2")]),
    (tuple[str, ...], [(), ("a",)], [["a"], "a", (1,)]),
    (dict[str, int], [{}, {"a": 1}], [{"a": "1"}, {1: 1}, [], "a"]),
    (list[str] | None, [["a"], None], ["a", [b"a"]]),
    (Any, [None, 5], []),
]


@pytest.mark.parametrize(("hint", "good", "bad"), ANNOTATIONS, ids=range(len(ANNOTATIONS)))
def test_a_value_is_checked_against_its_type(hint: Any, good: list[Any], bad: list[Any]) -> None:
    """By the annotation, as a type checker does."""
    for value in good:
        check("what", value, hint)
    for value in bad:
        with pytest.raises(ValueError, match=r"^what "):
            check("what", value, hint)


def test_a_protocol_is_checked_by_its_members() -> None:
    """Without inheritance."""

    class Thing(msgspec.Struct):
        name: str
        size: int

    check("what", Thing("a", 1), Named)
    with pytest.raises(ValueError, match="what"):
        check("what", "a", Named)


def test_a_parameter_declared_later_is_checked() -> None:
    """The decorator reads the signature, ignores defaults, and raises errors with the function's name."""

    @checked("make")
    def make(size: int, *, colour: Literal["red"] = cast("Any", None), **rest: object) -> tuple[object, ...]:
        return size, colour, rest

    assert make(1, more="x") == (1, None, {"more": "x"})
    assert hint_of(make, "size") is int
    with pytest.raises(ConfigurationError, match=r"^make: colour"):
        make(1, colour=cast("Any", "blue"))
    with pytest.raises(TypeError, match="size"):
        cast("Any", make)()


def test_other_errors_are_not_changed() -> None:
    """Only errors of the arguments become a ConfigurationError."""

    @checked("make")
    def make(number: int) -> float:
        return 1 / number

    with pytest.raises(ZeroDivisionError):
        make(0)
