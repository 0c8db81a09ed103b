"""The exchange itself: accounts, state and rules, independent of HTTP servers."""

from __future__ import annotations

import math
import time
from collections import deque
from email.utils import formatdate
from threading import RLock
from typing import TYPE_CHECKING

import anyio
import msgspec

from binance_pm.sandbox import facts, rules
from binance_pm.sandbox.account import Account, make_accounts
from binance_pm.sandbox.faults import Fault, FaultQueue
from binance_pm.sandbox.handlers import HANDLERS, Context
from binance_pm.sandbox.limits import Counter, Limits
from binance_pm.sandbox.market import Market
from binance_pm.sandbox.messages import Arrival, Reply, Request, RequestRefused
from binance_pm.sandbox.state import AccountState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping


_REMEMBERED = 10_000


class Exchange:
    """One exchange. Its methods may be called from any thread while a server serves it.

    Args:
        seed: the seed from which accounts, keys, holdings and prices are generated.
        accounts: how many SPAN accounts to generate, or the accounts themselves.
        minute: the length of the exchange's minute in seconds, for limits and bans; tests use shorter ones.
        clock: returns seconds since the epoch.
        sleep: waits for the delays of faults.
        limits: limits per minute instead of the real ones, by pool: ``papi``, ``papi-orders``, ``api``, ``sapi-ip``,
            ``sapi-uid``.

    Attributes:
        accounts: the accounts, in the order in which they were generated or given.
        market: calculates prices and the value of accounts.
        connections: the open connections of its servers, one collection for each server.

    Raises:
        ValueError: ``limits`` names a pool that does not exist.
    """

    def __init__(
        self,
        *,
        seed: int = 7,
        accounts: int | Iterable[Account] = 12,
        minute: float = 60.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self.accounts: list[Account] = (
            make_accounts(accounts, seed=seed) if isinstance(accounts, int) else list(accounts)
        )
        self.market: Market = Market(seed=seed, start=clock())
        self.connections: list[Collection[object]] = []
        self._clock = clock
        self._sleep = sleep
        self._limits = Limits(minute=minute, limits=limits)
        self._armed = FaultQueue()
        self._keys = {key.api_key: rules.Owner(account, key) for account in self.accounts for key in account.keys}
        self._states = {account.label: AccountState(account) for account in self.accounts}
        self._requests: deque[Arrival] = deque(maxlen=_REMEMBERED)
        self._lock = RLock()

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

    def clear(self) -> None:
        """Remove all faults; external usage so far stays counted until the minute ends."""
        with self._lock:
            self._limits.clear_external_usage(self.now())
            self._armed.clear()

    def used(self, pool: str, *, holder: str = "127.0.0.1", path: str = "") -> int:
        """Return the weight used in this minute.

        Args:
            pool: ``papi``, ``papi-orders``, ``api``, ``sapi-ip`` or ``sapi-uid``.
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
            }

    async def handle(self, request: Request) -> Reply:
        """Let a request take effect, and apply the fault that matches it."""
        arrival, fault = self._arrive(request)
        await self._pause(fault.delay)
        reply = self._answer(request) if fault.effect else Reply(headers=_date_and_type(self.now(), b"{}"))
        await self._pause(fault.delay_after)
        reply = fault.apply(reply)
        arrival.status = None if reply.drop else reply.status
        return reply

    def _arrive(self, request: Request) -> tuple[Arrival, Fault]:
        owner = self._keys.get(request.api_key)
        label = owner.account.label if owner else None
        sent = rules.pairs(request.query) + rules.pairs(request.body)
        with self._lock:
            arrival = Arrival(
                method=request.method,
                path=request.path,
                params=tuple((name, value) for name, value in sent if name != "signature"),
                account=label,
                ip=request.ip,
                time=self.now(),
            )
            self._requests.append(arrival)
            return arrival, self._armed.take(request.path, (label, request.api_key) if label else ())

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await self._sleep(seconds)

    def _answer(self, request: Request) -> Reply:
        with self._lock:
            now = self.now()
            headers: dict[str, str] = {}
            try:
                status, body = 200, self._obey(request, headers, now)
            except RequestRefused as refused:
                status, body = refused.error.status, refused.body
                headers |= refused.headers
        return Reply(status=status, headers=_date_and_type(now, body) | headers, body=body)

    def _obey(self, request: Request, headers: dict[str, str], now: float) -> bytes:
        """Return the body for a request that breaks no rule, and add the weight used to the headers."""
        self._check_ban(request, now)
        endpoint = rules.find_endpoint(request.method, request.path)
        owner = self._keys.get(request.api_key)
        self._charge(request, endpoint, owner, headers, now)
        parameters, state = self._checked(request, endpoint, owner, now)
        if endpoint.name not in HANDLERS:
            raise RequestRefused(facts.NOT_SIMULATED, method=endpoint.method, path=endpoint.path)
        return msgspec.json.encode(HANDLERS[endpoint.name](Context(parameters, now, self.market, state)))

    def _checked(
        self, request: Request, endpoint: facts.Endpoint, owner: rules.Owner | None, now: float
    ) -> tuple[dict[str, str], AccountState | None]:
        """Return the parameters, and the account of the key if one is needed."""
        if not endpoint.needs_key:
            return rules.check_parameters(request, endpoint), None
        account, key = rules.check_key(request, endpoint, owner)
        parameters = rules.check_parameters(request, endpoint)
        if endpoint.is_signed:
            rules.check_timing(parameters, endpoint, now)
            rules.check_signature(request, key)
        rules.check_account(account, endpoint)
        return parameters, self._states[account.label]

    def _check_ban(self, request: Request, now: float) -> None:
        until = self._limits.banned_until(request.ip, now)
        if until is None:
            return
        family = facts.FAMILIES[facts.family_name(request.path)]
        refused = RequestRefused(family.banned, ip=request.ip, until=math.ceil(until * 1000))
        refused.headers["Retry-After"] = _whole_seconds(until - now)
        raise refused

    def _charge(
        self,
        request: Request,
        endpoint: facts.Endpoint,
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
            raise RequestRefused(facts.TOO_MANY_ORDERS, limit=limit)
        refused = RequestRefused(endpoint.family.over_limit, ip=request.ip, limit=limit)
        refused.headers["Retry-After"] = _whole_seconds(self._limits.window_end(now) - now)
        raise refused


def _counters(request: Request, endpoint: facts.Endpoint, owner: rules.Owner | None) -> dict[Counter, int]:
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
