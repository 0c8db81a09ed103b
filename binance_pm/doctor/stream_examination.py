"""All checks of the user data streams of the accounts and of their host."""

from __future__ import annotations

import math
import ssl
from collections.abc import Container, Iterable
from typing import Final

import anyio
import msgspec

from binance_pm.client import Client
from binance_pm.doctor.check import Check, CheckName, ExpectedCheck, Report
from binance_pm.doctor.network import NetworkPath, check_network, network_path
from binance_pm.doctor.stream_checks import STREAM_CHECKS, check_key_sharing, check_unanswered, check_unknown_key
from binance_pm.doctor.stream_facts import StreamFacts
from binance_pm.doctor.stream_watch import CONNECTIONS, WATCH_SECONDS, StreamWatch, Tally
from binance_pm.doctor.targets import Target
from binance_pm.errors import CallInfo, ConfigurationError, PortfolioMarginError
from binance_pm.fleet.account_stream import stream_product
from binance_pm.stream.policy import StreamSettings
from binance_pm.stream.shared import StreamProduct

_OF_HOST: Final[tuple[CheckName, ...]] = ("egress", "tls")
_REQUESTS_SECONDS: Final = 30.0


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which user data streams are checked, and how.

    Raises:
        ConfigurationError: ``seconds`` is not above 0.
    """

    seconds: float = WATCH_SECONDS
    """How long the stream of each account is watched."""
    is_pro: bool = False
    """Whether the stream of Portfolio Margin Pro is also checked for accounts without a product."""
    url: str | None = None
    """As ``stream_url`` for `Client`."""

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            what = f"seconds is {self.seconds!r}: give a number above 0"
            raise ConfigurationError(CallInfo("StreamOptions"), what)

    def longest(self, accounts: int, step_seconds: float) -> float:
        """Return how many seconds watching the streams of ``accounts`` accounts adds to the time limit."""
        attempts = CONNECTIONS * accounts + 1
        waits = 300.0 * (attempts // StreamSettings().attempts_per_5_minutes)
        return self.seconds + 2 * step_seconds + waits + _REQUESTS_SECONDS

    def product_of(self, target: Target) -> StreamProduct:
        """Return the product whose stream is checked for an account."""
        return stream_product(target.product or ("pm_pro" if self.is_pro else "pm"))


class StreamExamination:
    """The checks of the streams of some accounts.

    Args:
        url: scheme, host and port of the streams.
        options: see `StreamOptions`.
        report: receives the checks.
        known: names of the hosts whose network path is checked by other checks.
        tally: called with each response.
        trust_env: as for `Session`.
        step_seconds: time limit for each step of a connection, and for a pong.
    """

    def __init__(
        self,
        url: str,
        options: StreamOptions,
        report: Report,
        *,
        known: Container[str],
        tally: Tally,
        trust_env: bool,
        step_seconds: float,
    ) -> None:
        # The network path of ws is that of http, and the path of wss that of https.
        self._route: Final[NetworkPath] = network_path(url.replace("ws", "http", 1), trust_env=trust_env)
        self._options: Final = options
        self._report: Final = report
        self._has_host_checks: Final = self._route.name not in known
        self._tally: Final = tally
        self._step_seconds: Final = step_seconds
        self._facts: Final[dict[str, StreamFacts]] = {}
        self._unreached: str = ""
        self._has_unknown_key: bool = False

    def expected(self, labels: Iterable[str]) -> list[ExpectedCheck]:
        """Return name and target of every check, in order."""
        return [
            *((name, self._route.name) for name in _OF_HOST if self._has_host_checks),
            ("unknown_key", self._route.name),
            *((name, label) for label in labels for name in STREAM_CHECKS),
            ("key_sharing", ""),
            ("unanswered", ""),
        ]

    async def check_host(self, tls: ssl.SSLContext, pins: Container[str]) -> None:
        """Check the network path to the host of the streams."""
        if not self._has_host_checks:
            return
        checks = await check_network(self._route, tls, seconds=self._step_seconds, pins=pins)
        for check in checks:
            self._report.put(check)
        if "failed" in {check.verdict for check in checks}:
            self._unreached = f"{self._route.name}: not reached"
            self._report.skip(("unknown_key",), self._route.name, self._unreached)

    async def check_account(self, target: Target, client: Client) -> None:
        """Check the stream of one account, whose client is open."""
        if self._unreached:
            self.skip(target.label, self._unreached)
            return
        try:
            watch = StreamWatch(
                client,
                self._options.product_of(target),
                seconds=self._options.seconds,
                pong_seconds=self._step_seconds,
                tally=self._tally,
            )
        except PortfolioMarginError as error:
            self._report.put(Check("listen_key", target.label, "failed", error.reason, error.advice))
            self.skip(target.label, "no stream can be opened, see listen_key")
            return
        async with anyio.create_task_group() as tasks:
            if not self._has_unknown_key:
                self._has_unknown_key = True
                tasks.start_soon(self._check_unknown_key, watch)
            await watch.run()
        self._facts[target.label] = watch.facts
        for check in STREAM_CHECKS.values():
            self._report.put(check(target.label, watch.facts))

    def skip(self, label: str, why: str) -> None:
        """Report that the stream of an account cannot be checked."""
        self._report.skip(STREAM_CHECKS, label, why)

    def close(self) -> None:
        """Report the checks that concern all accounts."""
        if not self._has_unknown_key:
            self._report.skip(("unknown_key",), self._route.name, "no stream was opened")
        sharing = check_key_sharing(self._facts)
        self._report.put(sharing)
        self._report.put(check_unanswered(self._facts, sharing))

    async def _check_unknown_key(self, watch: StreamWatch) -> None:
        self._report.put(check_unknown_key(self._route.name, await watch.try_unknown_key()))
