"""All checks of all accounts, within a time limit."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import anyio
import anyio.to_thread

from binance_pm.budget import Budget, LimitType
from binance_pm.client import Client
from binance_pm.doctor import account, limits
from binance_pm.doctor.check import Check, CheckName, ExpectedCheck, Report
from binance_pm.doctor.clock import CALLS, check_clock
from binance_pm.doctor.key import check_key
from binance_pm.doctor.network import STEP_SECONDS, check_network, network_path
from binance_pm.doctor.stream_checks import STREAM_CHECKS
from binance_pm.doctor.stream_examination import StreamExamination, StreamOptions
from binance_pm.doctor.targets import Target
from binance_pm.endpoint import ENDPOINTS
from binance_pm.errors import (
    PLACE_ADVICE,
    CallInfo,
    ConfigurationError,
    ExchangeError,
    InvalidResponse,
    NoResponse,
    NotSent,
    PortfolioMarginError,
    RateLimited,
)
from binance_pm.hosts import PAPI_URL, SAPI_URL
from binance_pm.session import Session
from binance_pm.transport.http import Timeouts
from binance_pm.transport.tls import tls_settings

LONGEST: Final = 30.0
"""Time limit in seconds for the examination of one account; each further account adds one second."""

# Seconds: a gate that is closed for longer is reported, not waited for.
_PATIENCE: Final = 2.0
_MINUTE: Final = 60.0
# Seconds; the exchange's clock is known to within half a second.
_NEAR: Final = 1.5
_log = logging.getLogger(__name__)

_OF_HOST: Final[tuple[CheckName, ...]] = ("clock", "egress", "tls")
_OF_KEY: Final[tuple[CheckName, ...]] = ("key", "permissions", "product")
_OF_RESPONSES: Final[tuple[CheckName, ...]] = ("permissions", "product", "account")
# After one of these errors, further requests to the host would be useless.
_IN_VAIN: Final = (NotSent, NoResponse, RateLimited, InvalidResponse)


async def examine(
    subjects: Sequence[Target | Check],
    tell: Callable[[Check], None],
    *,
    papi_url: str = PAPI_URL,
    sapi_url: str = SAPI_URL,
    trust_env: bool = False,
    budget: Budget | None = None,
    seconds: float = LONGEST,
    step_seconds: float = STEP_SECONDS,
    pins: Iterable[str] = (),
    streams: StreamOptions | None = None,
) -> None:
    """Check everything between this machine and the accounts, without changing anything.

    With ``streams``, the user data stream of each account is checked too. These checks create or extend the listen key
    of the account, as every program with a stream does, and never delete the key.

    Args:
        subjects: the accounts, or a failed check for each account that cannot be opened.
        tell: called with each check, in the order of `CheckName`; the checks of streams come before ``budget``.
        papi_url: as for `Client`.
        sapi_url: as for `Client`: URL of Portfolio Margin Pro.
        trust_env: as for `Session`.
        budget: as for `Session`: the budget that the calls draw on.
        seconds: time limit, after which the remaining checks are not made; each account beyond the first adds one
            second.
        step_seconds: time limit for each step of a connection, and for a response or a pong.
        pins: as for `Session`; the certificate of each host must match one of them.
        streams: which streams are checked, and how; None to check no streams. Watching streams extends the time limit.

    Raises:
        ConfigurationError: a URL or a pin is invalid, or the certificates that the environment names cannot be read.
    """
    examination = _Examination(
        subjects, tell, papi_url, sapi_url, trust_env, budget, step_seconds, frozenset(pins), streams
    )
    watched = 0.0 if streams is None else streams.longest(len(subjects), step_seconds)
    await examination.run(seconds + max(0, len(subjects) - 1) + watched)


class _Examination:
    def __init__(
        self,
        subjects: Sequence[Target | Check],
        tell: Callable[[Check], None],
        papi_url: str,
        sapi_url: str,
        trust_env: bool,  # noqa: FBT001 - `examine` passes it by name
        budget: Budget | None,
        step_seconds: float,
        pins: frozenset[str],
        streams: StreamOptions | None,
    ) -> None:
        self._subjects: Final = subjects
        self._targets: Final = [subject for subject in subjects if isinstance(subject, Target)]
        self._papi_url: Final = papi_url
        self._sapi_url: Final = sapi_url
        self._step_seconds: Final = step_seconds
        self._tls: Final = _tls(trust_env=trust_env)
        timeouts = Timeouts(connect=0.6 * step_seconds, read=step_seconds, total=1.6 * step_seconds)
        self._session: Final = Session(trust_env=trust_env, tls=self._tls, timeouts=timeouts, budget=budget, pins=pins)
        self._pins: Final = self._session.egress.settings.pins
        self._stream_url: Final = None if streams is None else streams.url
        self._client: Final = self._client_of(None, _PATIENCE)
        read = [name for target in self._targets for name in target.read] or ("account", "span_account")
        urls = sorted({self._url_of(name) for name in read}, reverse=True)
        self._routes: Final = {url: network_path(url, trust_env=trust_env) for url in urls}
        self._clocks: Final = {url: "server_time" if url == papi_url else "pro_server_time" for url in urls}
        # For an account of a file without a usable key, only the configuration is reported.
        self._labels: Final = [target.label for target in self._targets] or [""]
        self._report: Final = Report(tell)
        self._streams: Final = None if streams is None else self._streams_of(streams, trust_env=trust_env)
        self._report.expect(self._expected())
        self._unreached: Final[dict[str, str]] = {}
        """Why no request can be sent to a host, by URL."""
        self._weight = 0
        self._is_heard = False

    async def run(self, seconds: float) -> None:
        for one in self._subjects:
            if isinstance(one, Target):
                check = Check("configuration", one.label, "ok", f"key {one.fingerprint} from {one.origin}")
            else:
                check = one
            self._report.put(check)
        with anyio.move_on_after(seconds):
            await self._ask(seconds)
        if not self._targets:
            self._report.skip((*_OF_KEY, "account", *STREAM_CHECKS), "", "there is no key")
        if self._streams is not None:
            self._streams.close()
        budget = self._session.budget
        hosts = {self._client.origin(ENDPOINTS[name]): self._routes[url].name for url, name in self._clocks.items()}
        self._report.put(limits.check_budget(budget, is_heard=self._is_heard))
        self._report.put(limits.check_limits(budget, hosts, weight=self._weight, is_heard=self._is_heard))
        self._report.close(f"the time limit of {seconds:g} s is over")

    async def _ask(self, seconds: float) -> None:
        try:
            async with self._client:
                async with anyio.create_task_group() as tasks:
                    for url in self._routes:
                        tasks.start_soon(self._check_host, url)
                    if self._streams is not None:
                        tasks.start_soon(self._streams.check_host, self._tls, self._pins)
                await self._pass_turn()
                async with anyio.create_task_group() as tasks:
                    for target in self._targets:
                        tasks.start_soon(self._check_account, target, seconds)
        except ConfigurationError as error:
            # The only cause: the proxy that the environment names cannot be used.
            advice = "Correct the proxy in the environment, or omit --trust-env."
            for route in self._routes.values():
                self._report.put(Check("egress", route.name, "failed", f"{route.name}: {error.reason}", advice))
            self._report.close("the proxy cannot be used")

    async def _pass_turn(self) -> None:
        """Wait if the exchange's minute is about to end: it would be unclear to which minute a count belongs."""
        names = [name for url, name in self._clocks.items() if url not in self._unreached]
        clocks = [self._session.budget.clock(self._client.origin(ENDPOINTS[name])) for name in names]
        waits = [(_NEAR - clock.milliseconds() / 1000) % _MINUTE for clock in clocks]
        await anyio.sleep(max((wait for wait in waits if wait < 3 * _NEAR), default=0.0))

    async def _check_host(self, url: str) -> None:
        route, name = self._routes[url], self._clocks[url]
        egress, tls = await check_network(route, self._tls, seconds=self._step_seconds, pins=self._pins)
        self._report.put(egress)
        self._report.put(tls)
        if "failed" in {egress.verdict, tls.verdict}:
            self._unreached[url] = f"{route.name}: not reached"
            self._report.skip(("clock",), route.name, self._unreached[url])
            return
        clock, error = await check_clock(self._client, route.name, is_papi=name == "server_time")
        self._report.put(clock)
        for _ in range(1 if error else CALLS):
            self._count(name, error)
        if isinstance(error, _IN_VAIN) or (error is not None and error.advice == PLACE_ADVICE):
            self._unreached[url] = f"{route.name}: no valid response, see clock"

    async def _check_account(self, target: Target, seconds: float) -> None:
        """Check one account; an unexpected error does not stop the checks of the others."""
        try:
            await self._check_key_and_responses(target, seconds)
        except Exception as error:  # noqa: BLE001 - the other accounts must be examined nevertheless
            _log.exception("The examination of [%s] failed", target.label)
            what, advice = f"unexpected {type(error).__name__}", "Report the error together with the log."
            self._report.put(Check("permissions", target.label, "failed", what, advice))
            self._report.skip((*_OF_KEY, "account", *STREAM_CHECKS), target.label, "the examination failed")

    async def _check_key_and_responses(self, target: Target, seconds: float) -> None:
        key, client = await anyio.to_thread.run_sync(self._open, target, seconds, abandon_on_cancel=True)
        self._report.put(key)
        names = [name for name in target.read if self._url_of(name) not in self._unreached]
        if client is None:
            self._report.skip((*_OF_RESPONSES, *STREAM_CHECKS), target.label, "the key cannot be used")
        elif not names or (target.product and len(names) < len(target.read)):
            missing = next(self._url_of(name) for name in target.read if name not in names)
            self._report.skip((*_OF_RESPONSES, *STREAM_CHECKS), target.label, self._unreached[missing])
        else:
            async with client:
                await self._check_responses(target, client, names)
                if self._streams is not None:
                    await self._streams.check_account(target, client)

    async def _check_responses(self, target: Target, client: Client, names: Sequence[str]) -> None:
        answers = await account.ask(client, names)
        for name, answer in answers.items():
            self._count(name, answer)
        for check in (account.check_permissions, account.check_product, account.check_account):
            self._report.put(check(target, answers))

    def _count(self, name: str, answer: object) -> None:
        """Add the weight of a call, and remember whether any response came from the exchange."""
        is_error = isinstance(answer, PortfolioMarginError)
        self._weight += ENDPOINTS[name].poll_weights[LimitType.IP] if not is_error or answer.sent else 0
        self._is_heard = self._is_heard or not is_error or isinstance(answer, ExchangeError)

    def _open(self, target: Target, seconds: float) -> tuple[Check, Client | None]:
        """Return the check of the key, and a client if the key can be used."""
        check = check_key(target)
        if check.verdict == "failed":
            return check, None
        try:
            return check, self._client_of(target, seconds)
        except ConfigurationError as error:
            return Check("key", target.label, "failed", error.reason, error.advice), None

    def _client_of(self, target: Target | None, max_wait: float) -> Client:
        return Client(
            target and target.api_key.reveal().decode(),
            target and target.secret.reveal(),
            passphrase=target and target.passphrase and target.passphrase.reveal(),
            label="" if target is None else target.label,
            session=self._session,
            papi_url=self._papi_url,
            sapi_url=self._sapi_url,
            stream_url=self._stream_url,
            attempts=1,
            max_wait=max_wait,
        )

    def _url_of(self, name: str) -> str:
        return self._papi_url if ENDPOINTS[name].family == "papi" else self._sapi_url

    def _streams_of(self, options: StreamOptions, *, trust_env: bool) -> StreamExamination:
        return StreamExamination(
            self._client.stream_url,
            options,
            self._report,
            known={route.name for route in self._routes.values()},
            tally=self._count,
            trust_env=trust_env,
            step_seconds=self._step_seconds,
        )

    def _expected(self) -> list[ExpectedCheck]:
        """Return name and target of every check, in the order of the report."""
        subjects = [one.target if isinstance(one, Check) else one.label for one in self._subjects]
        return [
            *(("configuration", label) for label in subjects),
            *((name, route.name) for route in self._routes.values() for name in _OF_HOST),
            *((name, label) for label in self._labels for name in _OF_KEY),
            *([] if self._streams is None else self._streams.expected(self._labels)),
            ("budget", ""),
            *(("account", label) for label in self._labels),
            ("limits", ""),
        ]


def _tls(*, trust_env: bool) -> ssl.SSLContext:
    try:
        return tls_settings(trust_env=trust_env)
    except OSError:
        what = "the certificates that the environment names cannot be read"
        raise ConfigurationError(CallInfo("doctor"), what) from None
