"""Transfers, switches, listen keys, downloads and the settings of Portfolio Margin Pro."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.sandbox.conftest import Desk

SAPI = "/sapi/v1/portfolio"
HOUR = 3600


async def wallets(desk: Desk, asset: str) -> tuple[Decimal, Decimal]:
    """Return what cross margin and the USD-M wallet hold of an asset."""
    row = next(row for row in await desk("GET", "balance") if row["asset"] == asset)
    return Decimal(row["crossMarginAsset"]), Decimal(row["umWalletBalance"])


async def test_collecting_all_assets(desk: Desk) -> None:
    """Everything but BNB moves to cross margin, and the equity stays."""
    before, equity = await wallets(desk, "USDT"), desk.exchange.statement(desk.account).equity
    done = await desk("POST", "auto-collection")
    rows = await desk("GET", "um/income", incomeType="TRANSFER")

    assert done == {"msg": "success"}
    assert await wallets(desk, "USDT") == (sum(before), 0)
    assert Decimal(rows[-1]["income"]) == -before[1]
    assert desk.exchange.statement(desk.account).equity == equity


async def test_collecting_one_asset(desk: Desk) -> None:
    """All of it, or an amount of one wallet; not BNB."""
    before = await wallets(desk, "USDT")
    await desk("POST", "asset-collection", asset="USDT", amount="10", futureType="UM")
    after = await wallets(desk, "USDT")
    half = await desk("POST", "asset-collection", asset="USDT", amount="10")
    bnb = await desk("POST", "asset-collection", asset="BNB")

    assert after == (before[0] + 10, before[1] - 10)
    assert (half["code"], bnb["code"]) == (-1128, -1108)


@pytest.mark.parametrize(("path", "most"), [("bnb-transfer", 10), (f"{SAPI}/bnb-transfer", 2)])
async def test_transferring_bnb(desk: Desk, path: str, most: int) -> None:
    """Both ways, so often in ten minutes, and no more than there is."""
    await desk("POST", "marginLoan", asset="BNB", amount="20")
    answers = [await desk("POST", path, amount="1", transferSide="TO_UM") for _ in range(most + 1)]
    assert await wallets(desk, "BNB") == (20 - most, most)
    desk.clock.now += 600
    back = await desk("POST", path, amount="1", transferSide="FROM_UM")
    too_much = await desk("POST", path, amount="100", transferSide="TO_UM")

    assert ["tranId" in answer for answer in answers] == [True] * most + [False]
    assert "tranId" in back
    assert too_much["code"] == -2018


async def test_bnb_pays_fees(desk: Desk) -> None:
    """If there is some in the USD-M wallet, and the switch is on."""
    await desk("POST", "marginLoan", asset="BNB", amount="1")
    await desk("POST", "bnb-transfer", amount="1", transferSide="TO_UM")
    await desk("POST", "um/feeBurn", feeBurn=True)
    await desk("POST", "um/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")
    rows = await desk("GET", "um/income", incomeType="COMMISSION")

    assert rows[-1]["asset"] == "BNB"
    assert 1 + Decimal(rows[-1]["income"]) == (await wallets(desk, "BNB"))[1]


@pytest.mark.parametrize("switched_on", [True, False])
async def test_a_negative_balance_is_covered_every_hour(desk: Desk, *, switched_on: bool) -> None:
    """If the switch is on; otherwise it bears interest until it is covered by hand."""
    await desk("POST", "repay-futures-switch", autoRepay=switched_on)
    await desk("POST", "auto-collection")
    await desk("POST", "um/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="1")
    before = (await desk("GET", "balance", asset="USDT"))["negativeBalance"]
    desk.clock.now += HOUR
    after = (await desk("GET", "balance", asset="USDT"))["negativeBalance"]
    interest = await desk("GET", "portfolio/interest-history", asset="USDT")
    await desk("POST", "repay-futures-negative-balance")

    assert Decimal(before) < 0
    assert (Decimal(after) == 0) is switched_on
    assert bool(interest)
    assert Decimal((await desk("GET", "balance", asset="USDT"))["negativeBalance"]) == 0
    assert await desk("GET", "repay-futures-switch") == {"autoRepay": switched_on}


async def test_a_large_negative_balance_is_converted(desk: Desk) -> None:
    """Every hour, into stable coins of cross margin at index prices; the equity stays."""
    start = int(desk.clock.now * 1000)
    await desk("POST", "cm/order", symbol="BTCUSD_PERP", side="BUY", type="MARKET", quantity="20000")
    desk.move("BTCUSDT", "55000")
    await desk("POST", "cm/order", symbol="BTCUSD_PERP", side="SELL", type="MARKET", quantity="20000")
    before = desk.exchange.statement(desk.account).actual_equity
    lost = -Decimal(next(row for row in await desk("GET", "balance") if row["asset"] == "BTC")["negativeBalance"])
    desk.clock.now += HOUR
    history = await desk("GET", "portfolio/negative-balance-exchange-record", startTime=start, endTime=start + 10**8)

    [row] = history["rows"]
    assert history["total"] == 1
    assert row["details"] == [
        {"asset": "BTC", "negativeBalance": float(lost), "negativeMaxThreshold": pytest.approx(100_000 / 55_000)}
    ]
    assert await desk("GET", "balance", asset="BTC") | {"negativeBalance": "0.00000000"} == await desk(
        "GET", "balance", asset="BTC"
    )
    assert desk.exchange.statement(desk.account).actual_equity == pytest.approx(before, rel=Decimal("0.001"))


async def test_the_listen_key_belongs_to_the_account(desk: Desk) -> None:
    """The same one while it lives, another one afterwards; -1125 if there is none."""
    none = await desk("PUT", "listenKey")
    first = [await desk("POST", "listenKey") for _ in range(2)]
    desk.clock.now += HOUR - 1
    kept = await desk("PUT", "listenKey")
    desk.clock.now += HOUR
    late = await desk("PUT", "listenKey")
    second = await desk("POST", "listenKey")
    closed = [await desk("DELETE", "listenKey") for _ in range(2)]

    assert (none["code"], kept, late["code"]) == (-1125, {}, -1125)
    assert first[0] == first[1] != second
    assert len(second["listenKey"]) == 64
    assert (closed[0], closed[1]["code"]) == ({}, -1125)


async def test_a_download_uses_up_a_quota(desk: Desk) -> None:
    """Five a month; the link is empty while it is made, and expires."""
    end = int(desk.clock.now * 1000)
    ids = [await desk("GET", "um/income/asyn", startTime=end - 1000, endTime=end) for _ in range(6)]
    link = [await desk("GET", "um/income/asyn/id", downloadId=ids[0]["downloadId"])]
    for seconds in (30, 24 * HOUR):
        desk.clock.now += seconds
        link.append(await desk("GET", "um/income/asyn/id", downloadId=ids[0]["downloadId"]))
    other = await desk("GET", "um/order/asyn/id", downloadId=ids[0]["downloadId"])

    assert ids[5]["code"] == -1010
    assert [(one["status"], bool(one["url"]), one["isExpired"]) for one in link] == [
        ("processing", False, None),
        ("completed", True, None),
        ("completed", True, True),
    ]
    assert (link[0]["expirationTimestamp"], other["code"]) == (-1, -1130)


async def test_settings_of_pro(desk: Desk) -> None:
    """Are stored, and removed."""
    before = await desk("GET", f"{SAPI}/margin-call-level")
    wrong = await desk("POST", f"{SAPI}/margin-call-level", marginCallLevel="2.1")
    await desk("POST", f"{SAPI}/margin-call-level", marginCallLevel="1.6")
    level = await desk("GET", f"{SAPI}/margin-call-level")
    await desk("DELETE", f"{SAPI}/margin-call-level")
    await desk("POST", f"{SAPI}/delta-mode", deltaEnabled=True)

    assert (before, wrong["code"], level) == ({}, -1130, {"marginCallLevel": "1.60000000"})
    assert await desk("GET", f"{SAPI}/margin-call-level") == {}
    assert await desk("GET", f"{SAPI}/delta-mode") == {"deltaEnabled": True}


async def test_savings(desk: Desk) -> None:
    """Move to the USD-M wallet and back, and count in the equity there."""
    equity = desk.exchange.statement(desk.account).actual_equity
    sent = {"asset": "LDUSDT", "transferType": "EARN_TO_FUTURE"}
    await desk("POST", f"{SAPI}/earn-asset-transfer", **sent, amount="100")
    left = await desk("GET", f"{SAPI}/earn-asset-balance", **sent)
    too_much = await desk("POST", f"{SAPI}/earn-asset-transfer", **(sent | {"amount": "1000"}))

    assert (left["amount"], too_much["code"]) == ("900.00000000", -2018)
    assert desk.exchange.statement(desk.account).actual_equity == equity + 100


async def test_a_bankrupt_account_repays_its_loan(poor: Desk) -> None:
    """From USDT of cross margin; without a loan there is nothing to repay."""
    nothing = await poor("POST", f"{SAPI}/repay")
    for row in await poor("GET", "um/positionRisk"):
        price = poor.exchange.market.price(row["symbol"], poor.clock.now)
        poor.move(row["symbol"], price * (1 - Decimal("0.3").copy_sign(Decimal(row["positionAmt"]))))
    poor.clock.now += 1
    loan = Decimal((await poor("GET", f"{SAPI}/pmLoan"))["amount"])
    refused = await poor("POST", f"{SAPI}/repay")
    state = poor.exchange._state(poor.account)
    state.wallet.free["USDT"] += loan
    repaid = await poor("POST", f"{SAPI}/repay")
    history = await poor("GET", f"{SAPI}/pmloan-history")

    assert nothing["code"] == -21004
    assert loan > 0
    assert (refused.get("code", -21005), "tranId" in (repaid if "tranId" in repaid else refused)) == (-21005, True)
    assert [Decimal(row["amount"]) for row in history["rows"]] == [loan]
    assert (await poor("GET", f"{SAPI}/account"))["accountStatus"] != "BANKRUPTED"


async def test_the_value_of_an_account_is_that_of_its_balances(desk: Desk) -> None:
    """Wallets, loans and unrealised profit add up, whatever has happened."""
    await desk("POST", "marginLoan", asset="BTC", amount="1")
    await desk("POST", "cm/order", symbol="BTCUSD_PERP", side="BUY", type="MARKET", quantity="10")
    desk.move("BTCUSDT", "61000")
    worth = Decimal(0)
    for row in await desk("GET", "balance"):
        price = desk.exchange.market.usd(row["asset"], desk.clock.now)
        profit = Decimal(row["umUnrealizedPNL"]) + Decimal(row["cmUnrealizedPNL"] or 0)
        owed = Decimal(row["crossMarginBorrowed"]) + Decimal(row["crossMarginInterest"])
        worth += (Decimal(row["totalWalletBalance"]) + profit - owed) * price

    assert worth == pytest.approx(desk.exchange.statement(desk.account).actual_equity, abs=Decimal("0.001"))
