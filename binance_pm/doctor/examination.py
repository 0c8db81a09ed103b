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
from binance_pm.doctor.check import Check, CheckName, Report
from binance_pm.doctor.clock import CALLS, check_clock
from binance_pm.doctor.key import check_key
from binance_pm.doctor.network import check_network, network_path
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

_TIMEOUTS: Final = Timeouts(connect=3.0, read=5.0, total=8.0)
# Seconds: a gate that is closed for longer is reported, not waited for.
_PATIENCE: Final = 2.0
_MINUTE: Final = 60.0
# Seconds; the exchange's clock is known to within half a second.
_NEAR: Final = 1.5
_log = logging.getLogger(__name__)

_CALL: Final = CallInfo("doctor")
_OF_HOST: Final[tuple[CheckName, ...]] = ("clock", "egress", "tls")
_OF_KEY: Final[tuple[CheckName, ...]] = ("key", "permissions", "product")
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
) -> None:
    """Check everything between this machine and the accounts, without changing anything.

    Args:
        subjects: the accounts, or a failed check for each account that cannot be opened.
        tell: called with each check, in the order of `CheckName`.
        papi_url: as for `Client`.
        sapi_url: as for `Client`: URL of Portfolio Margin Pro.
        trust_env: as for `Session`.
        budget: as for `Session`: the budget that the calls draw on.
        seconds: time limit, after which the remaining checks are not made; each account beyond the first adds one
            second.

    Raises:
        ConfigurationError: a URL is invalid, or the certificates that the environment names cannot be read.
    """
    examination = _Examination(
        subjects,
        tell,
        urls=(papi_url, sapi_url),
        trust_env=trust_env,
        budget=budget,
        seconds=seconds + max(0, len(subjects) - 1),
    )
    await examination.run()


class _Examination:
    def __init__(
        self,
        subjects: Sequence[Target | Check],
        tell: Callable[[Check], None],
        *,
        urls: tuple[str, str],
        trust_env: bool,
        budget: Budget | None,
        seconds: float,
    ) -> None:
        self._subjects: Final = subjects
        self._papi_url: Final = urls[0]
        self._sapi_url: Final = urls[1]
        self._seconds: Final = seconds
        self._tls: Final = _tls(trust_env=trust_env)
        self._session: Final = Session(trust_env=trust_env, tls=self._tls, timeouts=_TIMEOUTS, budget=budget)
        self._client: Final = self._client_of(None)
        self._routes: Final = {url: network_path(url, trust_env=trust_env) for url in self._urls()}
        self._report: Final = Report(self._expected(), tell)
        self._unreached: Final[dict[str, str]] = {}
        """Why no request can be sent to a host, by URL."""
        self._weight = 0
        self._is_heard = False

    async def run(self) -> None:
        for subject in self._subjects:
            self._report.put(subject if isinstance(subject, Check) else self._configuration(subject))
        with anyio.move_on_after(self._seconds):
            await self._ask()
        if not any(isinstance(subject, Target) for subject in self._subjects):
            self._report.skip((*_OF_KEY, "account"), "", "there is no key")
        budget = self._session.budget
        hosts = {self._client.origin(ENDPOINTS[name]): self._routes[url].name for url, name in self._clocks().items()}
        heard = self._is_heard
        self._report.put(limits.check_budget(budget, is_heard=heard))
        self._report.put(limits.check_limits(budget, hosts, weight=self._weight, is_heard=heard))
        self._report.close(f"{self._seconds:g} s had passed")

    async def _ask(self) -> None:
        try:
            async with self._client:
                async with anyio.create_task_group() as tasks:
                    for url in self._routes:
                        tasks.start_soon(self._look_at_host, url)
                await self._pass_turn()
                async with anyio.create_task_group() as tasks:
                    for subject in self._subjects:
                        if isinstance(subject, Target):
                            tasks.start_soon(self._look_at, subject)
        except ConfigurationError as error:
            # The only cause: the proxy that the environment names cannot be used.
            self._give_up(error)

    async def _pass_turn(self) -> None:
        """Wait if the exchange's minute is about to end: it would be unclear to which minute a count belongs."""
        hosts = {
            self._client.origin(ENDPOINTS[name]) for url, name in self._clocks().items() if url not in self._unreached
        }
        into = [self._session.budget.clock(host).milliseconds() / 1000 % _MINUTE for host in hosts]
        waits = [(_NEAR - seconds) % _MINUTE for seconds in into]
        await anyio.sleep(max((wait for wait in waits if wait < 3 * _NEAR), default=0.0))

    def _give_up(self, error: ConfigurationError) -> None:
        advice = "Correct the proxy in the environment, or go without --trust-env."
        for route in self._routes.values():
            self._report.put(Check("egress", route.name, "failed", f"{route.name}: {error.reason}", advice))
        self._report.close("there is no way out")

    async def _look_at_host(self, url: str) -> None:
        route = self._routes[url]
        egress, tls = await check_network(route, self._tls)
        self._report.put(egress)
        self._report.put(tls)
        if "failed" in {egress.verdict, tls.verdict}:
            self._unreached[url] = f"{route.name} was not reached"
            self._report.skip(("clock",), route.name, f"{route.name}: it was not reached")
            return
        is_papi = self._clocks()[url] == "server_time"
        clock, error = await check_clock(self._client, route.name, is_papi=is_papi)
        self._report.put(clock)
        for _ in range(1 if error else CALLS):
            self._count(self._clocks()[url], error)
        if _is_in_vain(error):
            self._unreached[url] = f"{route.name} cannot be asked, see clock"

    async def _look_at(self, subject: Target) -> None:
        """Check one account; an unexpected error does not stop the checks of the others."""
        try:
            await self._look_at_subject(subject)
        except Exception as error:  # noqa: BLE001
            _log.exception("The examination of [%s] failed", subject.label)
            what = f"an unexpected {type(error).__name__}"
            self._report.put(Check("permissions", subject.label, "failed", what, "Report it, with what was logged."))
            self._report.skip((*_OF_KEY, "account"), subject.label, "the examination failed")

    async def _look_at_subject(self, subject: Target) -> None:
        label = subject.label
        key, client = await anyio.to_thread.run_sync(self._open, subject, abandon_on_cancel=True)
        self._report.put(key)
        if client is None:
            self._report.skip(("permissions", "product", "account"), label, "the key cannot be used")
            return
        names = [name for name in subject.read if self._url_of(name) not in self._unreached]
        if not names or (subject.product and len(names) < len(subject.read)):
            missing = next(self._url_of(name) for name in subject.read if name not in names)
            self._report.skip(("permissions", "product", "account"), label, self._unreached[missing])
            return
        async with client:
            answers = await account.ask(client, names)
        for name, answer in answers.items():
            self._count(name, answer)
        for look in (account.check_permissions, account.check_product, account.check_account):
            self._report.put(look(subject, answers))

    def _count(self, name: str, answer: object) -> None:
        """Add the weight of a call, and remember whether any response came from the exchange."""
        is_error = isinstance(answer, PortfolioMarginError)
        self._weight += ENDPOINTS[name].poll_weights[LimitType.IP] if not is_error or answer.sent else 0
        self._is_heard = self._is_heard or not is_error or isinstance(answer, ExchangeError)

    def _open(self, subject: Target) -> tuple[Check, Client | None]:
        """Return the check of the key, and a client if the key can be used."""
        check = check_key(subject)
        if check.verdict == "failed":
            return check, None
        try:
            return check, self._client_of(subject)
        except ConfigurationError as error:
            return Check("key", subject.label, "failed", error.reason, error.advice), None

    def _client_of(self, subject: Target | None) -> Client:
        return Client(
            None if subject is None else subject.api_key.reveal().decode(),
            None if subject is None else subject.secret.reveal(),
            passphrase=subject and subject.passphrase and subject.passphrase.reveal(),
            label="" if subject is None else subject.label,
            session=self._session,
            papi_url=self._papi_url,
            sapi_url=self._sapi_url,
            attempts=1,
            max_wait=_PATIENCE if subject is None else self._seconds,
        )

    def _configuration(self, subject: Target) -> Check:
        return Check("configuration", subject.label, "ok", f"key {subject.fingerprint} from {subject.origin}")

    def _url_of(self, name: str) -> str:
        return self._papi_url if ENDPOINTS[name].family == "papi" else self._sapi_url

    def _urls(self) -> list[str]:
        """Return the URLs of the hosts that are needed, each once."""
        read = [name for subject in self._subjects if isinstance(subject, Target) for name in subject.read]
        return sorted({self._url_of(name) for name in read or ("account", "span_account")}, reverse=True)

    def _clocks(self) -> dict[str, str]:
        """Return the endpoint that returns the server time, by URL."""
        return {url: "server_time" if url == self._papi_url else "pro_server_time" for url in self._routes}

    def _expected(self) -> Iterable[tuple[CheckName, str]]:
        """Iterate over name and target of every check, in the order of the report."""
        labels = [one.target if isinstance(one, Check) else one.label for one in self._subjects]
        # For an account of a file without a usable key, only the configuration is reported.
        looked_at = [one.label for one in self._subjects if isinstance(one, Target)] or [""]
        for label in labels:
            yield "configuration", label
        for route in self._routes.values():
            for name in _OF_HOST:
                yield name, route.name
        for label in looked_at:
            for name in _OF_KEY:
                yield name, label
        yield "budget", ""
        for label in looked_at:
            yield "account", label
        yield "limits", ""


def _tls(*, trust_env: bool) -> ssl.SSLContext:
    try:
        return tls_settings(trust_env=trust_env)
    except OSError:
        raise ConfigurationError(_CALL, "the certificates that the environment names cannot be read") from None


def _is_in_vain(error: PortfolioMarginError | None) -> bool:
    return isinstance(error, _IN_VAIN) or (error is not None and error.advice == PLACE_ADVICE)
