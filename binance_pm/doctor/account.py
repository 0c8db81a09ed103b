"""Checks of the responses to signed reads of an account: permissions, product and status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import anyio

from binance_pm.amounts import text_of
from binance_pm.api.account import ProAccount, SpanAccount
from binance_pm.client import Client
from binance_pm.doctor.check import Check
from binance_pm.doctor.targets import Target
from binance_pm.endpoint import ENDPOINTS
from binance_pm.enums import AccountStatus
from binance_pm.errors import BudgetExceeded, ExchangeError, GateClosed, PortfolioMarginError, RateLimited
from binance_pm.fleet.products import BY_ACCOUNT_TYPE, HEADLINES, PRODUCTS, Product
from binance_pm.fleet.summary import headline_of

Answers = Mapping[str, Any]
"""The outcome of the call of each endpoint, by name: a Struct, or the error that the call raised."""

_NO_PORTFOLIO_MARGIN: Final = -21001
_REFUSED_KEY: Final = -2015
_OF_PRODUCT: Final = {_NO_PORTFOLIO_MARGIN, _REFUSED_KEY}
WAITING: Final = (BudgetExceeded, GateClosed, RateLimited)
"""Errors of the limits, which give no information about the key."""

_KEY_REFUSED: Final = (
    "the key is refused (-2015): the key is wrong, this IP is not on the key's list, a permission is missing, or the "
    "key was created before Portfolio Margin was enabled, which permanently removes its futures permission"
)
_NEW_KEY: Final = (
    "Create a new key with the permission for Portfolio Margin, and with this machine's IP if the key has a list: the "
    "IPv6 address if egress shows IPv6, or use IPv4 only: Session(local_address='0.0.0.0')."
)


async def ask(client: Client, names: Sequence[str]) -> dict[str, Any]:
    """Read the named endpoints; if one is refused for its product, also read the headline endpoints of all products."""
    answers = await _ask_all(client, names)
    if any(isinstance(answer, ExchangeError) and answer.code in _OF_PRODUCT for answer in answers.values()):
        answers |= await _ask_all(client, [name for name in HEADLINES if name not in answers])
    return answers


async def _ask_all(client: Client, names: Sequence[str]) -> dict[str, Any]:
    answers: dict[str, Any] = {}

    async def ask_one(name: str) -> None:
        try:
            answers[name] = await client.call(ENDPOINTS[name], {})
        except PortfolioMarginError as error:
            answers[name] = error

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(ask_one, name)
    # In the order of the names, not in the order in which the responses arrived.
    return {name: answers[name] for name in names}


def check_permissions(subject: Target, answers: Answers) -> Check:
    """Check whether a signed read works, and if not, why."""
    errors = {name: answer for name, answer in answers.items() if isinstance(answer, PortfolioMarginError)}
    if works := [name for name in answers if name not in errors]:
        return Check("permissions", subject.label, "ok", f"a signed read works: {', '.join(works)}")
    codes = _codes(answers)
    if _NO_PORTFOLIO_MARGIN in codes:
        return Check("permissions", subject.label, "ok", "the exchange knows the key and its signature (-21001)")
    # An error of the exchange is more informative than a missing response.
    error = min(errors.values(), key=lambda error: not isinstance(error, ExchangeError))
    if isinstance(error, WAITING):
        return Check("permissions", subject.label, "not checked", error.reason)
    if codes == {_REFUSED_KEY}:
        return Check("permissions", subject.label, "failed", _KEY_REFUSED, _NEW_KEY)
    return Check("permissions", subject.label, "failed", f"{error.endpoint}: {error.reason}", error.advice)


def check_product(subject: Target, answers: Answers) -> Check:
    """Check which product the account is on, and whether that is the expected product."""
    found = _product(answers)
    refused = [answers[name] for name in subject.read if isinstance(answers.get(name), PortfolioMarginError)]
    if found is None and len(refused) in {0, len(subject.read)}:
        return _on_no_product(subject, answers)
    shown = f"{found.label} ({found.name})" if found else ""
    is_expected = found is None or subject.product in {None, found.name}
    correct = f'Write product = "{found.name}" in the accounts file.' if found else ""
    if subject.product is not None and refused:
        error = refused[0]
        what = f"{error.endpoint}: {error.reason}" + f"; the account is {shown}" * (not is_expected)
        return Check("product", subject.label, "failed", what, error.advice if is_expected else correct)
    if not is_expected:
        what = f"{shown}, but the file says {subject.product}; all endpoints of the file can be read"
        return Check("product", subject.label, "warning", what, correct)
    works = ", ".join(name for name in answers if _answered(answers, name))
    return Check("product", subject.label, "ok", f"{shown}: {works} can be read")


def _on_no_product(subject: Target, answers: Answers) -> Check:
    if _NO_PORTFOLIO_MARGIN not in _codes(answers):
        return Check("product", subject.label, "not checked", "no response shows the product")
    what = "the account is not on Portfolio Margin (-21001)"
    advice = "Enable Portfolio Margin, then create a new key: older keys never work with Portfolio Margin."
    return Check("product", subject.label, "failed", what, advice)


def check_account(subject: Target, answers: Answers) -> Check:
    """Check the status of the account: only NORMAL is ok."""
    answer = headline_of(answers)
    if answer is None:
        return Check("account", subject.label, "not checked", "no response shows the status")
    what = f"{answer.account_status}, uniMMR {text_of(answer.uni_mmr, '.2f')}"
    if answer.account_status == AccountStatus.NORMAL:
        return Check("account", subject.label, "ok", what)
    return Check("account", subject.label, "warning", what, "Add margin or close positions: the setup is correct.")


def _codes(answers: Answers) -> set[int | None]:
    """Return the exchange's codes of the refused calls."""
    return {answer.code for answer in answers.values() if isinstance(answer, ExchangeError)}


def _product(answers: Answers) -> Product | None:
    """Return the product that the account reports, or else the product of an endpoint that responded without error."""
    for answer in answers.values():
        if isinstance(answer, SpanAccount | ProAccount) and answer.account_type in BY_ACCOUNT_TYPE:
            return BY_ACCOUNT_TYPE[answer.account_type]
    return next((product for product in reversed([*PRODUCTS.values()]) if _answered(answers, product.headline)), None)


def _answered(answers: Answers, name: str) -> bool:
    return name in answers and not isinstance(answers[name], PortfolioMarginError)
