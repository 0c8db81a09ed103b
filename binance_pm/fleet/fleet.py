"""`Fleet`: many accounts, opened together and monitored together."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack
from decimal import Decimal
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import anyio
import anyio.abc
import msgspec

from binance_pm.arguments import check_fields, checked
from binance_pm.budget import Budget
from binance_pm.client import Client
from binance_pm.endpoint import ENDPOINTS
from binance_pm.environment import BASE_URL, environment_stream_url, environment_urls
from binance_pm.errors import CallInfo, ConfigurationError, SessionClosed
from binance_pm.extras import installation
from binance_pm.fleet import schedule
from binance_pm.fleet.account_monitor import AccountMonitor
from binance_pm.fleet.account_stream import streams_are_installed
from binance_pm.fleet.accounts import AccountsFile, Problem, check_read, part_of, read_accounts, refusal
from binance_pm.fleet.events import AccountSnapshot, FleetEvent
from binance_pm.fleet.keys import open_entries
from binance_pm.fleet.monitor import Monitor, exchange_time
from binance_pm.fleet.products import PRODUCTS, ProductName
from binance_pm.fleet.state import FleetState, gate_states
from binance_pm.fleet.thresholds import HYSTERESIS, Threshold, threshold_value, thresholds_of
from binance_pm.session import Session
from binance_pm.transport.affinity import CLOSE_THERE, ONE_EACH, Affinity

_log = logging.getLogger(__name__)

_CALL: Final = CallInfo("Fleet")


class Member(msgspec.Struct, frozen=True):
    """One account of a fleet: its client, and what is read of it."""

    client: Client
    """A client that is not open yet; all clients of a fleet share one session, or sessions on one budget."""
    product: ProductName = "pm"
    """The product of the account, see `ProductName`."""
    read: tuple[str, ...] = ()
    """Names of endpoints, by default those of the product; exactly one of them must return uniMMR."""
    warn: str | int | Decimal | None = None
    """Upper threshold of this account, in place of the one for all accounts."""
    alarm: str | int | Decimal | None = None
    """Lower threshold of this account."""
    stream: bool = False
    """Whether to open the user data stream of the account. Changes of positions and balances are then emitted at once,
    and the account is polled less. Without the extra `stream`, the account is polled as if this were False."""

    def __post_init__(self) -> None:
        check_fields("Member", self)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Names of the endpoints that are read."""
        return self.read or PRODUCTS[self.product].read


class Fleet:
    """Many accounts, read continuously on one budget: open the fleet with ``async with``, then `watch` it.

    The clocks are those of the budget. The fleet opens the clients, and closes them on exit; everything ends within a
    second.

    Args:
        members: the accounts, each with a label of its own.
        floor: seconds between two readings of an account in danger, if the budget allows it.
        ceiling: seconds between two readings of a calm account, if the budget allows it.
        slack: seconds beyond the planned interval after which an account is stale.
        hysteresis: fraction of a threshold by which uniMMR must rise above the threshold to count as recovered.

    Raises:
        ConfigurationError: an argument is invalid; the text says which and why.
    """

    @checked("Fleet")
    def __init__(
        self,
        members: Iterable[Member],
        *,
        floor: float = schedule.FLOOR,
        ceiling: float = schedule.CEILING,
        slack: float = 5.0,
        hysteresis: Decimal = HYSTERESIS,
    ) -> None:
        if not 0 < floor <= ceiling <= schedule.LONGEST or slack <= 0 or not 0 <= hysteresis < inf:
            rule = f"0 < floor <= ceiling <= {schedule.LONGEST:g}, slack > 0 and hysteresis >= 0 are required"
            raise ConfigurationError(_CALL, rule)
        self._members: list[Member] = _checked_members(members)
        self._floor: Final = floor
        self._ceiling: Final = ceiling
        self._slack: Final = slack
        self._hysteresis: Final = hysteresis
        self._file: AccountsFile | None = None
        self._keep_going: bool = False
        self._session: Session | None = None
        self._environment: Mapping[str, str] = os.environ
        self._problems: list[Problem] = []
        self._stack: AsyncExitStack | None = None
        self._tasks: anyio.abc.TaskGroup | None = None
        self._monitor: Monitor | None = None
        self._budget: Budget | None = None
        self._affinity: Affinity | None = None
        self._closed: bool = False

    @classmethod
    @checked("Fleet.from_toml")
    def from_toml(
        cls,
        path: str | Path,
        *,
        keep_going: bool = False,
        shard: tuple[int, int] | None = None,
        session: Session | None = None,
        environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Self:
        """Create a fleet of the accounts in a file; the keys are read when the fleet is opened.

        ``base_url`` in the file, or else ``BINANCE_PM_BASE_URL``, replaces the addresses of both hosts, for example by
        that of the local exchange.

        Args:
            path: path of the file, see the guide "Watch many accounts".
            keep_going: if some accounts cannot be opened, read the others and report each failure as `AccountFailed`.
            shard: (i, n) for the i-th of n processes that divide the accounts of the file among them.
            session: the session that the clients share; by default the one of the event loop.
            environment: replaces `os.environ`.
            **options: as for `Fleet`.

        Raises:
            ConfigurationError: the file is invalid or, when the fleet is opened, a key cannot be read. The text names
                file, line and account of every mistake, and contains no secret.
        """
        try:
            file = read_accounts(Path(path).expanduser())
        except RuntimeError:
            raise ConfigurationError(_CALL, f"the home directory in the path {path} is unknown") from None
        if shard is not None:
            file = part_of(file, *shard)
        if file.problems and not keep_going:
            raise refusal(file.path, file.problems)
        fleet = cls([], **options)
        fleet._file, fleet._keep_going, fleet._session = file, keep_going, session
        fleet._environment = os.environ if environment is None else environment
        return fleet

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._tasks else "not open"
        return f"Fleet({state}, {len(self._members)} accounts)"

    @property
    def budget(self) -> Budget:
        """The budget that all accounts share.

        Raises:
            SessionClosed: the fleet is not open.
        """
        if self._budget is None or self._closed:
            raise SessionClosed(_CALL, f"the fleet {'was closed' if self._closed else 'is not open'}")
        return self._budget

    @property
    def members(self) -> tuple[Member, ...]:
        """The accounts; those of a file are known once the fleet is open."""
        return tuple(self._members)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins that the accounts are read from."""
        hosts = {member.client.origin(ENDPOINTS[name]) for member in self._members for name in member.endpoints}
        return tuple(sorted(hosts))

    async def __aenter__(self) -> Self:
        if self._tasks is not None or self._closed:
            raise SessionClosed(_CALL, f"the fleet {'was closed' if self._closed else 'is open'}")
        async with AsyncExitStack() as stack:
            await self._read_keys()
            for member in self._members:
                await stack.enter_async_context(member.client)
            self._budget = _one_budget(self._members)
            self._tasks = await stack.enter_async_context(anyio.create_task_group())
            self._affinity = Affinity()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._stack is not None, "left without being entered"  # noqa: S101 - for the type checker
        assert self._tasks is not None, "left without being entered"  # noqa: S101 - as above
        if self._affinity is not None and (mismatch := self._affinity.mismatch()):
            await self._leave_from_elsewhere(mismatch)
            return None
        self._closed = True
        self._tasks.cancel_scope.cancel()
        if self._monitor is not None:
            self._monitor.stop()
        try:
            return await self._stack.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            # An exception of the caller's own block is raised unwrapped.
            if group.exceptions == (error,):
                return False
            raise

    async def _leave_from_elsewhere(self, mismatch: str) -> None:
        """Close the clients if the event loop of the fleet has ended; otherwise its tasks still run, so refuse."""
        if self._affinity is not None and not self._affinity.is_over():
            raise SessionClosed(_CALL, f"the fleet was {mismatch}", advice=CLOSE_THERE)
        self._closed = True
        for member in self._members:
            await member.client.aclose()

    def watch(
        self, *, warn: str | int | Decimal | None = None, alarm: str | int | Decimal | None = None
    ) -> AsyncIterator[FleetEvent]:
        """Read all accounts from now on, and return an iterator over the events.

        Reading continues until the fleet is closed or `watch` is called again. Events are kept while none is taken.

        Args:
            warn: upper threshold, as uniMMR, for accounts without one of their own.
            alarm: lower threshold.

        Raises:
            ConfigurationError: a threshold is invalid.
            SessionClosed: the fleet is not open.
        """
        budget, tasks = self.budget, self._tasks
        assert tasks is not None, "entered"  # noqa: S101 - as above
        assert self._affinity is not None, "entered"  # noqa: S101 - as above
        if mismatch := self._affinity.mismatch():
            raise SessionClosed(_CALL, f"the fleet was {mismatch}", advice=ONE_EACH)
        accounts = [
            AccountMonitor(
                member.client,
                member.product,
                member.endpoints,
                _thresholds("Fleet.watch", member, warn, alarm),
                hysteresis=self._hysteresis,
                slack=self._slack,
                now=budget.monotonic(),
            )
            for member in self._members
        ]
        if any(member.stream for member in self._members) and not streams_are_installed():
            _log.warning(
                "No user data stream is opened, because the extra is missing. Install it: %s", installation("stream")
            )
        else:
            for account, member in zip(accounts, self._members, strict=True):
                account.stream = "down" if member.stream else "off"
        if self._monitor is not None:
            self._monitor.stop()
        self._monitor = Monitor(
            budget, accounts, self._problems, origins=self.origins, floor=self._floor, ceiling=self._ceiling
        )
        tasks.start_soon(self._monitor.run)
        return self._monitor

    def now(self) -> float:
        """Return the time that stamps events: seconds since the epoch, by the exchange's clock as far as it is known.

        Raises:
            SessionClosed: the fleet is not open.
        """
        return exchange_time(self.budget, self.origins)

    def snapshot(self) -> list[AccountSnapshot]:
        """Return what is known of every account now, in the order of the members, then the accounts not opened.

        The list is empty before the first `watch`.

        Raises:
            SessionClosed: the fleet is not open.
        """
        _ = self.budget
        return [] if self._monitor is None else self._monitor.snapshots()

    def state(self) -> FleetState:
        """Return the accounts, pools and gates as they are now.

        Raises:
            SessionClosed: the fleet is not open.
        """
        pools = self.budget.snapshot()
        gates = gate_states(self.budget, (*self.origins, *(state.pool.origin for state in pools)))
        return FleetState(at=self.now(), accounts=self.snapshot(), pools=pools, gates=gates)

    async def _read_keys(self) -> None:
        if self._file is None:
            return
        urls = environment_urls(self._environment)
        clients, problems = await open_entries(
            self._file,
            session=self._session,
            options=urls | environment_stream_url(self._environment) | self._file.urls,
            environment=self._environment,
        )
        for client in clients.values():
            client.note_source(BASE_URL, urls.keys() - self._file.urls.keys())
        problems = sorted([*self._file.problems, *problems], key=lambda problem: problem.line)
        if problems and (not self._keep_going or not clients):
            raise refusal(self._file.path, problems)
        for problem in problems:
            _log.warning("%s, line %d [%s]: %s", self._file.path, problem.line, problem.label, problem.text)
        self._problems = problems
        self._members = [
            Member(clients[entry.label], entry.product, entry.read, entry.warn, entry.alarm, entry.stream)
            for entry in self._file.entries
            if entry.label in clients
        ]


def _checked_members(members: Iterable[Member]) -> list[Member]:
    checked_members: dict[str, Member] = {}
    for member in members:
        if not isinstance(member, Member):  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller is type-checked
            raise ConfigurationError(_CALL, f"members contains {type(member).__name__}: give a Member for each account")
        label = member.client.label
        if label in checked_members:
            raise ConfigurationError(CallInfo("Fleet", label), "two members have this label")
        try:
            check_read(member.endpoints)
        except ValueError as error:
            raise ConfigurationError(CallInfo("Fleet", label), str(error)) from None
        _thresholds("Fleet", member)
        checked_members[label] = member
    return list(checked_members.values())


def _thresholds(
    name: str,
    member: Member,
    warn: str | int | Decimal | None = None,
    alarm: str | int | Decimal | None = None,
) -> tuple[Threshold, ...]:
    """Return the thresholds of an account, by default those of all accounts."""
    try:
        return thresholds_of(
            threshold_value(warn if member.warn is None else member.warn, "warn"),
            threshold_value(alarm if member.alarm is None else member.alarm, "alarm"),
        )
    except ValueError as error:
        raise ConfigurationError(CallInfo(name, member.client.label), str(error)) from None


def _one_budget(members: list[Member]) -> Budget:
    if not members:
        raise ConfigurationError(_CALL, "the fleet has no accounts")
    budget, *others = {id(member.client.session.budget): member.client.session.budget for member in members}.values()
    if others:
        raise ConfigurationError(_CALL, "the clients draw on several budgets: give them one session")
    return budget
