"""The exchange itself: accounts, state and rules, independent of HTTP servers."""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from email.utils import formatdate
from threading import RLock
from typing import TYPE_CHECKING

import anyio
import msgspec

from binance_pm.sandbox import facts, past, rules
from binance_pm.sandbox.account import SimulatedAccount, make_accounts
from binance_pm.sandbox.faults import NO_FAULT, Fault, FaultQueue
from binance_pm.sandbox.file_server import FileArrival, FileServer
from binance_pm.sandbox.handlers import HANDLERS, Context
from binance_pm.sandbox.limits import Counter, Limits
from binance_pm.sandbox.market import SYMBOLS, Market
from binance_pm.sandbox.messages import Arrival, Refusal, Reply, Request
from binance_pm.sandbox.snapshots import Snapshots, copied
from binance_pm.sandbox.state import AccountState
from binance_pm.sandbox.streams import EventStreams, StreamRules

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
    from decimal import Decimal

    from binance_pm.sandbox.handlers import Fields
    from binance_pm.sandbox.records import OrderRecord
    from binance_pm.sandbox.valuation import Statement


_REMEMBERED = 10_000


class Exchange:
    """One exchange. Its methods may be called from any thread while a server serves it.

    Args:
        seed: the seed from which accounts, keys, holdings and prices are generated.
        accounts: how many SPAN accounts to generate, or the accounts themselves.
        minute: the length of the exchange's minute in seconds, for limits and bans; tests use shorter ones.
        clock: returns seconds since the epoch.
        sleep: waits for the delays of faults.
        limits: limits per minute instead of the real ones, by pool: ``papi``, ``papi-orders``, ``api``, ``fapi``,
            ``sapi-ip``, ``sapi-uid``.
        fall_seconds: how long the market falls, and then rises, repeatedly.
        liquidation: whether positions are closed by force when uniMMR falls to 1.05.
        all_symbols: whether ``um_account`` lists the flat symbols too, as its page says; the real exchange leaves them
            out.
        streams: the intervals and limits of the user data streams instead of the real ones.
        newest_rows: whether a window with more rows than a response shows the newest of them; the oldest otherwise.
            What the real exchange shows is not documented.
        download_seconds: how long the exchange needs to make the file of a download.

    Attributes:
        accounts: the accounts, in the order in which they were generated or given.
        market: calculates prices.
        streams: the user data streams, which a server serves.
        files: the server of the files of downloads.
        connections: the open connections of its servers, one collection for each server.

    Raises:
        ValueError: ``limits`` names a pool that does not exist.
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        accounts: int | Iterable[SimulatedAccount] = 12,
        minute: float = 60.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
        limits: Mapping[str, int] | None = None,
        fall_seconds: float = 120.0,
        liquidation: bool = True,
        all_symbols: bool = False,
        streams: StreamRules | None = None,
        newest_rows: bool = False,
        download_seconds: float = 30.0,
    ) -> None:
        self.accounts: list[SimulatedAccount] = (
            make_accounts(accounts, seed=seed) if isinstance(accounts, int) else list(accounts)
        )
        self.market: Market = Market(seed=seed, start=clock(), fall_seconds=fall_seconds)
        self.files: FileServer = FileServer(download_seconds)
        self.connections: list[Collection[object]] = []
        self._clock = clock
        self._sleep = sleep
        self._limits = Limits(minute=minute, limits=limits)
        self._armed = FaultQueue()
        self._keys = {key.api_key: rules.Owner(account, key) for account in self.accounts for key in account.keys}
        self._states: dict[str, AccountState] = {}
        self._is_liquidated = liquidation
        self._lists_all_symbols = all_symbols
        self._shows_newest = newest_rows
        self._delayed: list[tuple[float, Request, Arrival]] = []
        self._requests: deque[Arrival] = deque(maxlen=_REMEMBERED)
        self._lock = RLock()
        self._snapshots = Snapshots(self._states)
        self.streams: EventStreams = EventStreams(
            streams or StreamRules(), self._states, lock=self._lock, clock=self.now, refresh=self._refresh
        )

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults in the queue; ``times`` is the remaining number of each."""
        with self._lock:
            return self._armed.faults

    @property
    def requests(self) -> tuple[Arrival, ...]:
        """The last 10000 requests that arrived, oldest first, including those that faults changed."""
        with self._lock:
            return tuple(self._requests)

    @property
    def open_connections(self) -> int:
        """The number of open connections of its servers."""
        return sum(map(len, self.connections))

    def now(self) -> float:
        """Seconds since the epoch by the exchange's clock."""
        with self._lock:
            return self._clock() + self._armed.skew

    def inject(self, *faults: Fault) -> None:
        """Add faults at the end of the queue.

        Raises:
            ValueError: the fault uses a pool that does not exist.
        """
        with self._lock:
            for fault in faults:
                self._limits.set_external_usage(fault.external_usage, self.now())
                self._armed.add(fault)
                if fault.stale:
                    self._snapshots.keep(fault.stale, self.now())

    def clear(self) -> None:
        """Remove all faults; external usage so far stays counted until the minute ends."""
        with self._lock:
            self._limits.clear_external_usage(self.now())
            self._armed.clear()
            self._snapshots.forget()

    def used(self, pool: str, *, holder: str = "127.0.0.1", path: str = "") -> int:
        """Return the weight used in this minute.

        Args:
            pool: ``papi``, ``papi-orders``, ``api``, ``fapi``, ``sapi-ip`` or ``sapi-uid``.
            holder: client address, or label of the account for ``papi-orders`` and ``sapi-uid``.
            path: the path of the endpoint, for the two pools of /sapi.
        """
        with self._lock:
            return self._limits.used(Counter(pool, holder, path), self.now())

    def state(self) -> dict[str, object]:
        """Return accounts with their API keys, counters and faults, for control from outside. Contains no secrets."""
        with self._lock:
            now = self.now()
            return {
                "serverTime": int(now * 1000),
                "accounts": [
                    {"label": account.label, "accountType": account.account_type, "apiKey": account.api_key}
                    for account in self.accounts
                ],
                "used": [{**counter._asdict(), "used": used} for counter, used in self._limits.snapshot(now).items()],
                "faults": self.faults,
                "openConnections": self.open_connections,
                "streams": self.streams.state(),
            }

    def account(self, label: str) -> SimulatedAccount:
        """Return the account of this label.

        Raises:
            ValueError: no account has this label.
        """
        found = next((account for account in self.accounts if account.label == label), None)
        if found is None:
            raise ValueError(f"no account is labelled {label!r}: GET /sandbox/state lists the accounts")
        return found

    def statement(self, account: SimulatedAccount, at: float | None = None) -> Statement:
        """Return the present holdings of an account, valued now or at the prices of any other time."""
        with self._lock:
            state = self._up_to_date(account, self.now())
            return state.statement(self.now() if at is None else at)

    def orders(self, account: SimulatedAccount, client_order_id: str | None = None) -> tuple[OrderRecord, ...]:
        """Return all orders that an account ever had, as they are, whatever queries find.

        Args:
            account: the account.
            client_order_id: only the orders with this client order id.
        """
        with self._lock:
            rows = self._up_to_date(account, self.now()).orders()
            return tuple(copy.copy(row) for row in rows if client_order_id in (None, row.client_order_id))

    def add_history(
        self,
        account: SimulatedAccount,
        name: str,
        times: Iterable[int],
        *,
        symbol: str = "BTCUSDT",
        late: Mapping[int, int] | None = None,
    ) -> None:
        """Add rows of the past to a list of an account, such as ``um.trades``.

        Args:
            account: the account.
            name: the endpoint of the list; a wrong one is refused with all that can be extended.
            times: the time of each row, in milliseconds since the epoch, before all rows that the list has.
            symbol: the symbol of the rows.
            late: by how many milliseconds rows of a time are shown later than that.

        Raises:
            ValueError: the list cannot be extended, or the market has no such symbol.
        """
        with self._lock:
            past.add(self._up_to_date(account, self.now()), name, sorted(times), symbol=symbol, late=late or {})

    def set_price(self, symbol: str, price: Decimal) -> None:
        """Let a USD-M symbol that is quoted in USDT trade at this price from now on.

        Resting orders that the price crosses are filled at once. The index price of the base asset follows.

        Raises:
            ValueError: the market has no such symbol, or the price is not above 0.
        """
        if symbol not in SYMBOLS or price <= 0:
            raise ValueError(f"cannot set the price of {symbol} to {price}: name a USD-M symbol and a price above 0")
        with self._lock:
            now = self.now()
            # What the old price fills comes first.
            states = [self._up_to_date(account, now) for account in self.accounts]
            self.market.set_price(symbol, price, now)
            for state in states:
                state.advance(now, at_once=True)
                self._publish(state.account.label, now)

    def respond(self, name: str, parameters: Mapping[str, str], account: SimulatedAccount | None, now: float) -> object:
        """Return what an endpoint responds to parameters that break no rule, without counting or recording.

        Args:
            name: the endpoint, such as ``um.open_orders``.
            parameters: the parameters, decoded.
            account: the account that asks; None for an endpoint without a key.
            now: seconds since the epoch.
        """
        with self._lock:
            return self._response(name, parameters, account, now)

    async def handle(self, request: Request) -> Reply:
        """Let a request take effect, and apply the fault that matches it."""
        arrival, fault = self._arrive(request)
        await self._pause(fault.delay)
        reply = self._execute(request, arrival, fault)
        await self._pause(fault.delay_after)
        reply = fault.apply(reply)
        arrival.status = None if reply.drop else reply.status
        return reply

    async def fetch_file(self, request: FileArrival) -> Reply:
        """Return the file that a link leads to, changed by the fault for exactly this path."""
        with self._lock:
            self.files.requests.append(request)
            fault = self._armed.take(request.method, request.path, (), exact=True)
        await self._pause(fault.delay)
        with self._lock:
            downloads = [one for state in self._states.values() for one in state.settings.downloads.values()]
            reply = self.files.reply(request, downloads, self.now())
        await self._pause(fault.delay_after)
        return fault.apply(reply)

    def _arrive(self, request: Request) -> tuple[Arrival, Fault]:
        owner = self._keys.get(request.api_key)
        label = owner.account.label if owner else None
        sent = rules.pairs(request.query) + rules.pairs(request.body)
        with self._lock:
            self._run_delayed(self.now())
            arrival = Arrival(
                method=request.method,
                path=request.path,
                params=tuple((name, value) for name, value in sent if name not in {"signature", "listenKey"}),
                account=label,
                ip=request.ip,
                time=self.now(),
            )
            self._requests.append(arrival)
            names = (label, request.api_key) if label else ()
            return arrival, self._armed.take(request.method, request.path, names)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await self._sleep(seconds)

    def _execute(self, request: Request, arrival: Arrival, fault: Fault) -> Reply:
        """Let the request take effect as often, as late and as lastingly as the fault says."""
        with self._lock:
            now = self.now()
            if not fault.effect or fault.effect_after > 0:
                if fault.effect:
                    self._delayed.append((now + fault.effect_after, request, arrival))
                return Reply(headers=_date_and_type(now, b"{}"))
            owner = self._keys.get(request.api_key)
            label = owner.account.label if owner and fault.discard else None
            before = self._copy(label)
            reply = self._answer(request, arrival, now, fault)
            for _ in range(1, fault.deliveries):
                self._answer(request, arrival, now, fault)
            if label is not None and before is not None:
                self._states[label] = before
                arrival.effects = 0
            if owner is not None:
                self._publish(owner.account.label, now)
        return reply

    def _copy(self, label: str | None) -> AccountState | None:
        """Return a copy of the state of an account that shares the market; None without a label."""
        if label is None:
            return None
        return copied(self._state(self.account(label)))

    def _run_delayed(self, now: float) -> None:
        """Let the delayed requests take effect whose time has come, at that time."""
        due = [row for row in self._delayed if row[0] <= now]
        self._delayed = [row for row in self._delayed if row[0] > now]
        for at, request, arrival in sorted(due, key=lambda row: row[0]):
            self._answer(request, arrival, at)
            owner = self._keys.get(request.api_key)
            if owner is not None:
                self._publish(owner.account.label, now)

    def _publish(self, label: str, now: float) -> None:
        """Push the events of an account."""
        if label in self._states:
            self.streams.publish(self._states[label], now)
            self._snapshots.record(label, now)

    def _refresh(self, label: str) -> None:
        """Update an account to the current time, and push its events."""
        with self._lock:
            now = self.now()
            self._up_to_date(self.account(label), now)
            self._publish(label, now)

    def _answer(self, request: Request, arrival: Arrival, now: float, fault: Fault = NO_FAULT) -> Reply:
        headers: dict[str, str] = {}
        try:
            status, body = 200, self._body(request, headers, now, fault)
            arrival.effects += 1
        except Refusal as refused:
            status, body = refused.error.status, refused.body
            headers |= refused.headers
        return Reply(status=status, headers=_date_and_type(now, body) | headers, body=body)

    def _body(self, request: Request, headers: dict[str, str], now: float, fault: Fault) -> bytes:
        """Return the body for a request that breaks no rule, and add the weight used to the headers."""
        self._check_ban(request, now)
        endpoint = rules.find_endpoint(request.method, request.path)
        owner = self._keys.get(request.api_key)
        self._charge(request, endpoint, owner, headers, now)
        parameters, account = self._checked(request, endpoint, owner, now)
        return msgspec.json.encode(self._response(endpoint.name, parameters, account, now, fault))

    def _response(
        self,
        name: str,
        parameters: Mapping[str, str],
        account: SimulatedAccount | None,
        now: float,
        fault: Fault = NO_FAULT,
    ) -> Fields | list[Fields]:
        state = None if account is None else self._up_to_date(account, now)
        if state is not None and fault.stale:
            state = self._snapshots.before(state, now - fault.stale)
        context = Context(parameters, now, self.market, state, hidden_for=fault.hidden_for, downloads=self.files)
        return HANDLERS[name](context)

    def _up_to_date(self, account: SimulatedAccount, now: float) -> AccountState:
        self._run_delayed(now)
        state = self._state(account)
        state.advance(now)
        return state

    def _state(self, account: SimulatedAccount) -> AccountState:
        if account.label not in self._states:
            self._states[account.label] = AccountState(
                account,
                self.market,
                is_liquidated=self._is_liquidated,
                lists_all_symbols=self._lists_all_symbols,
                shows_newest=self._shows_newest,
            )
            self._states[account.label].settings.listen_key_seconds = self.streams.rules.listen_key
        return self._states[account.label]

    def _checked(
        self, request: Request, endpoint: facts.EndpointFacts, owner: rules.Owner | None, now: float
    ) -> tuple[dict[str, str], SimulatedAccount | None]:
        """Return the parameters, and the account of the key if one is needed."""
        if not endpoint.needs_key:
            return rules.check_parameters(request, endpoint), None
        account, key = rules.check_key(request, endpoint, owner)
        parameters = rules.check_parameters(request, endpoint)
        if endpoint.is_signed:
            rules.check_timing(parameters, endpoint, now)
            rules.check_signature(request, key)
        rules.check_account(account, endpoint)
        return parameters, account

    def _check_ban(self, request: Request, now: float) -> None:
        until = self._limits.banned_until(request.ip, now)
        if until is None:
            return
        family = facts.FAMILIES[facts.family_name(request.path)]
        refused = Refusal(family.banned, ip=request.ip, until=math.ceil(until * 1000))
        refused.headers["Retry-After"] = _whole_seconds(until - now)
        raise refused

    def _charge(
        self,
        request: Request,
        endpoint: facts.EndpointFacts,
        owner: rules.Owner | None,
        headers: dict[str, str],
        now: float,
    ) -> None:
        weights = _counters(request, endpoint, owner)
        over = self._limits.charge(weights, ip=request.ip, now=now)
        for counter in weights:
            used = str(self._limits.used(counter, now))
            headers.update(dict.fromkeys(facts.POOLS[counter.pool].headers, used))
        if over is None:
            return
        self._check_ban(request, now)
        limit = self._limits.limits[over.pool]
        if over.pool == "papi-orders":
            # Without Retry-After: only the account's orders are refused.
            raise Refusal(facts.TOO_MANY_ORDERS, limit=limit)
        refused = Refusal(endpoint.family.over_limit, ip=request.ip, limit=limit)
        refused.headers["Retry-After"] = _whole_seconds(self._limits.window_end(now) - now)
        raise refused


def _counters(request: Request, endpoint: facts.EndpointFacts, owner: rules.Owner | None) -> dict[Counter, int]:
    counters: dict[Counter, int] = {}
    sent = dict(rules.pairs(request.body)) | dict(rules.pairs(request.query))
    for name, weight in endpoint.charges(sent).items():
        pool = facts.POOLS[name]
        holder = request.ip if pool.holder == "IP" else owner and owner.account.label
        if holder is not None:
            counters[Counter(name, holder, endpoint.path if pool.each_path else "")] = weight
    return counters


def _date_and_type(now: float, body: bytes) -> dict[str, str]:
    kind = "text/html" if body.startswith(b"<") else "application/json;charset=UTF-8"
    return {"Date": formatdate(now, usegmt=True), "Content-Type": kind}


def _whole_seconds(seconds: float) -> str:
    return str(max(1, math.ceil(seconds)))
