"""Binance's own SDKs for Portfolio Margin and Portfolio Margin Pro read the sandbox."""

# The SDKs are installed by the nox session alone, so that their types are known to nobody else.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from binance_common.configuration import ConfigurationRestAPI
from binance_common.errors import BadRequestError, RateLimitBanError, TooManyRequestsError, UnauthorizedError
from binance_sdk_derivatives_trading_portfolio_margin import DerivativesTradingPortfolioMargin
from binance_sdk_derivatives_trading_portfolio_margin_pro import DerivativesTradingPortfolioMarginPro

from binance_pm.sandbox.facts import OFFENCES_BEFORE_BAN

if TYPE_CHECKING:
    from binance_pm.sandbox.keys import Key
    from tests.interop.conftest import Served


class Official(NamedTuple):
    """Both SDKs with one key."""

    pm: Any
    pro: Any


READS = {
    "/papi/v1/account": lambda sdk: sdk.pm.account_information(),
    "/papi/v2/um/account": lambda sdk: sdk.pm.get_um_account_detail_v2(),
    "/sapi/v1/portfolio/account": lambda sdk: sdk.pro.get_portfolio_margin_pro_account_info(),
    "/sapi/v2/portfolio/account": lambda sdk: sdk.pro.get_portfolio_margin_pro_span_account_info(),
}
"""How each account is read."""

LIMITED = ["/papi/v1/account", "/sapi/v1/portfolio/account", "/sapi/v2/portfolio/account"]


@contextmanager
def opened(served: Served, api_key: str, secret: str) -> Generator[Official]:
    """The SDKs, pointed at the sandbox; a secret that is a PEM is their private key."""
    name = "private_key" if "PRIVATE KEY" in secret else "api_secret"
    configuration = ConfigurationRestAPI(api_key=api_key, base_path=served.url, **{name: secret})
    sdk = Official(
        DerivativesTradingPortfolioMargin(config_rest_api=configuration).rest_api,
        DerivativesTradingPortfolioMarginPro(config_rest_api=configuration).rest_api,
    )
    try:
        yield sdk
    finally:
        for rest in sdk:
            rest._session.close()


@pytest.mark.parametrize("path", READS)
def test_reads(path: str, served: Served, key: Key, caplog: pytest.LogCaptureFixture) -> None:
    """With a key of each kind it reads what the exchange said into its own models, without a word of complaint."""
    with opened(served, key.api_key, key.secret) as sdk:
        answer = READS[path](sdk).data()

    assert answer.to_dict() == served.answer(path)
    assert not answer.additional_properties
    assert not caplog.records  # what does not fit its models it returns all the same, with a warning


def test_models_are_filled(served: Served) -> None:
    """Its attributes hold an account that is in good order, with its positions."""
    with opened(served, served.account.api_key, served.account.api_secret) as sdk:
        account = sdk.pm.account_information().data()
        um_account = sdk.pm.get_um_account_detail_v2().data()
        span_account = sdk.pro.get_portfolio_margin_pro_span_account_info().data()

    assert account.account_status == "NORMAL"
    assert Decimal(account.uni_mmr) > 2
    assert all(Decimal(position.position_amt) for position in um_account.positions)
    assert span_account.account_type == "PM_3"
    assert sum(Decimal(unit.uni_maintain_usd) for unit in span_account.risk_unit_mm_list) > 0


def test_pings(served: Served) -> None:
    """Its test of connectivity succeeds."""
    with opened(served, served.account.api_key, served.account.api_secret) as sdk:
        assert sdk.pm.test_connectivity().status == 200

    assert served.answer("/papi/v1/ping") == {}


@pytest.mark.parametrize("path", READS)
def test_wrong_secret(path: str, served: Served, key: Key, wrong_secret: str) -> None:
    """With the secret of another account, of each kind, it is refused with -1022."""
    with opened(served, key.api_key, wrong_secret) as sdk, pytest.raises(BadRequestError) as refused:
        READS[path](sdk)

    assert refused.value.status_code == -1022
    assert (served.last.path, served.last.account, served.last.status) == (path, served.account.label, 400)


@pytest.mark.parametrize("path", READS)
def test_unknown_key(path: str, served: Served, unknown_key: str) -> None:
    """With a key that nobody has it is refused with -2015."""
    with opened(served, unknown_key, served.account.api_secret) as sdk, pytest.raises(UnauthorizedError) as refused:
        READS[path](sdk)

    assert refused.value.status_code == -2015
    assert (served.last.path, served.last.account, served.last.status) == (path, None, 401)


def test_understands_used_weight(served: Served) -> None:
    """It reads the weight used from the headers of /papi."""
    with opened(served, served.account.api_key, served.account.api_secret) as sdk:
        (limit,) = sdk.pm.account_information().rate_limits

    assert (limit.rateLimitType, limit.interval, limit.intervalNum) == ("REQUEST_WEIGHT", "MINUTE", 1)
    assert limit.count == served.exchange.used("papi") == 20


@pytest.mark.parametrize("path", LIMITED)
def test_rate_limited(path: str, narrow: Served) -> None:
    """Beyond the limit it says that it is rate-limited, and for how long."""
    with opened(narrow, narrow.account.api_key, narrow.account.api_secret) as sdk:
        READS[path](sdk)
        with pytest.raises(TooManyRequestsError) as refused:
            READS[path](sdk)

    assert refused.value.status_code == -1003
    assert 30 < refused.value.retry_after <= 60


@pytest.mark.parametrize("path", LIMITED)
def test_banned(path: str, narrow: Served) -> None:
    """Where it goes on after refusals it says that it is banned, and for how long."""
    with opened(narrow, narrow.account.api_key, narrow.account.api_secret) as sdk:
        READS[path](sdk)
        for _ in range(OFFENCES_BEFORE_BAN - 1):
            with pytest.raises(TooManyRequestsError):
                READS[path](sdk)
        with pytest.raises(RateLimitBanError) as banned:
            READS[path](sdk)

    assert banned.value.status_code == -1003
    assert 60 < banned.value.retry_after <= 121
