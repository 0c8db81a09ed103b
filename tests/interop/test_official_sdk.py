"""Binance's own SDKs for Portfolio Margin and Portfolio Margin Pro read the sandbox."""

# Only the nox session installs the SDKs, so their types are unknown elsewhere.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from binance_common.configuration import ConfigurationRestAPI
from binance_common.errors import BadRequestError, RateLimitBanError, TooManyRequestsError, UnauthorizedError
from binance_sdk_derivatives_trading_portfolio_margin import DerivativesTradingPortfolioMargin
from binance_sdk_derivatives_trading_portfolio_margin_pro import DerivativesTradingPortfolioMarginPro

from binance_pm import ENDPOINTS
from binance_pm.sandbox.facts import OFFENCES_BEFORE_BAN
from tests.interop.trading import Trader

if TYPE_CHECKING:
    from binance_pm.sandbox.keys import Key
    from tests.interop.conftest import Served
    from tests.interop.trading import Trade


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

METHODS = {
    **{f"{p}.{name}": method.format(p) for p in ("um", "cm") for name, method in {
        "new_order": "new_{}_order",
        "modify_order": "modify_{}_order",
        "cancel_order": "cancel_{}_order",
        "cancel_all_orders": "cancel_all_{}_open_orders",
        "order": "query_{}_order",
        "open_order": "query_current_{}_open_order",
        "open_orders": "query_all_current_{}_open_orders",
        "all_orders": "query_all_{}_orders",
        "order_amendments": "query_{}_modify_order_history",
        "trades": "{}_account_trade_list",
        "income": "get_{}_income_history",
        "position_risk": "query_{}_position_information",
        "commission_rate": "get_user_commission_rate_for_{}",
        "adl_quantile": "{}_position_adl_quantile_estimation",
        "leverage_brackets": "{}_notional_and_leverage_brackets",
        "set_leverage": "change_{}_initial_leverage",
        "position_mode": "get_{}_current_position_mode",
    }.items()},
    "um.new_algo_order": "new_um_algo_order",
    "um.cancel_algo_order": "cancel_um_algo_order",
    "um.algo_order": "query_current_um_open_algo_order",
    "um.open_algo_orders": "query_all_current_um_open_algo_orders",
    "um.all_algo_orders": "query_um_algo_order_history",
    **{f"cm.{name}": method for name, method in {
        "new_conditional_order": "new_cm_conditional_order",
        "cancel_conditional_order": "cancel_cm_conditional_order",
        "open_conditional_order": "query_current_cm_open_conditional_order",
        "open_conditional_orders": "query_all_current_cm_open_conditional_orders",
        "all_conditional_orders": "query_all_cm_conditional_orders",
        "conditional_order_history": "query_cm_conditional_order_history",
    }.items()},
    "margin.new_order": "new_margin_order",
    "margin.cancel_order": "cancel_margin_account_order",
    "margin.cancel_all_orders": "cancel_margin_account_all_open_orders_on_a_symbol",
    "margin.order": "query_margin_account_order",
    "margin.open_orders": "query_current_margin_open_order",
    "margin.all_orders": "query_all_margin_account_orders",
    "margin.trades": "margin_account_trade_list",
    "margin.new_oco": "margin_account_new_oco",
    "margin.cancel_oco": "cancel_margin_account_oco_orders",
    "margin.oco": "query_margin_accounts_oco",
    "margin.open_ocos": "query_margin_accounts_open_oco",
    "margin.all_ocos": "query_margin_accounts_all_oco",
    "margin.max_borrowable": "margin_max_borrow",
    "margin.max_withdraw": "query_margin_max_withdraw",
    "margin.borrow": "margin_account_borrow",
    "margin.repay": "margin_account_repay",
    "margin.loan_history": "query_margin_loan_record",
    "margin.repay_history": "query_margin_repay_record",
    "margin.interest_history": "get_margin_borrow_loan_interest_history",
    "account": "account_information",
    "balance": "account_balance",
    "um_account": "get_um_account_detail_v2",
    "um.account_v1": "get_um_account_detail",
    "um.account_config": "um_futures_account_configuration",
    "um.symbol_config": "um_futures_symbol_configuration",
    "cm_account": "get_cm_account_detail",
    "pro_account": "get_portfolio_margin_pro_account_info",
    "span_account": "get_portfolio_margin_pro_span_account_info",
    "pro.balance": "get_portfolio_margin_pro_account_balance",
    "pro.collateral_rate": "portfolio_margin_collateral_rate",
    "pro.tiered_collateral_rate": "portfolio_margin_pro_tiered_collateral_rate",
    "pro.margin_asset_leverage": "get_portfolio_margin_asset_leverage",
    "pro.asset_index_price": "query_portfolio_margin_asset_index_price",
    "pro.set_repay_futures_switch": "change_auto_repay_futures_status",
    "pro.repay_futures_switch": "get_auto_repay_futures_status",
    "pro.negative_balance_interest_history": "query_portfolio_margin_pro_negative_balance_interest_history",
}  # fmt: skip
"""The methods of the SDKs by our names of the endpoints."""

LIMITED = ["/papi/v1/account", "/sapi/v1/portfolio/account", "/sapi/v2/portfolio/account"]


@contextmanager
def opened(served: Served, api_key: str, secret: str) -> Generator[Official]:
    """The SDKs, pointed at the sandbox; a secret that is a PEM is their private key."""
    served.client = "official SDKs"
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


_ATTACHED = {"tpTriggerPrice", "tpPrice", "slTriggerPrice", "slPrice", "tpOrderType"}
LOST = {
    "um.open_algo_orders": {*_ATTACHED, "actualOrderId", "actualPrice"},
    "um.all_algo_orders": _ATTACHED,
    "margin.trades": {"quoteQty"},
}
"""Fields that its models do not have and drop, by our names of the endpoints."""


def known(name: str, told: Any) -> Any:
    """Return a response without null, which its models leave out, and without what they drop."""
    if isinstance(told, list):
        return [known(name, one) for one in told]
    if not isinstance(told, dict):
        return told
    return {
        field: known(name, value)
        for field, value in told.items()
        if value is not None and field not in LOST.get(name, ())
    }


def plain(answer: Any) -> Any:
    """Return its models as JSON; they keep what they do not know apart, and that must be nothing."""
    if isinstance(answer, list):
        return [plain(one) for one in answer]
    if hasattr(answer, "to_dict"):
        return plain(answer.to_dict())
    if not isinstance(answer, dict):
        return answer
    assert not answer.get("additional_properties")
    return {
        name: plain(value) for name, value in answer.items() if name != "additional_properties" and value is not None
    }


async def test_trades(trading: Served, trade: Trade, caplog: pytest.LogCaptureFixture) -> None:
    """The SDKs place, amend, query and cancel orders, and read the account, as our client does."""
    with opened(trading, trading.account.api_key, trading.account.api_secret) as sdk:

        def call(name: str, parameters: Mapping[str, str]) -> Any:
            names = {wire: ours for ours, wire in ENDPOINTS[name].wire_names.items()}
            arguments = {names[wire]: value for wire, value in parameters.items()}
            rest = sdk.pro if ENDPOINTS[name].family == "sapi" else sdk.pm
            return plain(getattr(rest, METHODS[name])(**arguments).data())

        await trade(Trader(METHODS, call, sees=known))

    # Its model for this one query is a list; the documents and real answers of 2024-02 have one order.
    assert all("/papi/v1/cm/openOrder response" in record.getMessage() for record in caplog.records)


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
