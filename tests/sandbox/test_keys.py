"""Keys are made up from a seed, verify what their owners sign, and show nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import get_args

import pytest

from binance_pm.sandbox import Exchange, SimulatedAccount
from binance_pm.sandbox.keys import Key, KeyKind

KINDS = get_args(KeyKind)
Signing = Callable[[Key, str], str]


@pytest.mark.parametrize("kind", KINDS)
def test_api_key_has_the_form_of_the_exchange(kind: KeyKind) -> None:
    """An API key is 64 letters and digits."""
    assert re.fullmatch("[A-Za-z0-9]{64}", Key(kind, "7").api_key)


@pytest.mark.parametrize("kind", KINDS)
def test_verifies_what_its_owner_signed(kind: KeyKind, signing: Signing) -> None:
    """The signature made with the secret is accepted."""
    key = Key(kind, "7")

    assert key.verify(b"timestamp=1", signing(key, "timestamp=1"))


@pytest.mark.parametrize("kind", KINDS)
def test_refuses_the_signature_of_another_payload(kind: KeyKind, signing: Signing) -> None:
    """A signature is for one payload."""
    key = Key(kind, "7")

    assert not key.verify(b"timestamp=2", signing(key, "timestamp=1"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("signature", ["", "nonsense", "é", "aGVsbG8="])
def test_refuses_nonsense(kind: KeyKind, signature: str) -> None:
    """What is no signature at all is refused, without an error."""
    assert not Key(kind, "7").verify(b"timestamp=1", signature)


def test_hexadecimal_may_be_upper_case(signing: Signing) -> None:
    """An HMAC signature is not case sensitive."""
    key = Key("HMAC", "7")

    assert key.verify(b"timestamp=1", signing(key, "timestamp=1").upper())


def test_base64_may_not_change_case(signing: Signing) -> None:
    """An Ed25519 signature is case sensitive."""
    key = Key("ED25519", "7")

    assert not key.verify(b"timestamp=1", signing(key, "timestamp=1").swapcase())


@pytest.mark.parametrize("kind", ["HMAC", "ED25519"])
def test_secrets_are_the_same_every_time(kind: KeyKind) -> None:
    """The same seed gives the same secret."""
    assert Key(kind, "7").secret == Key(kind, "7").secret


@pytest.mark.parametrize("kind", ["HMAC", "ED25519"])
def test_secrets_differ_by_seed(kind: KeyKind) -> None:
    """Another seed gives another secret."""
    assert Key(kind, "7").secret != Key(kind, "8").secret


def test_one_rsa_key_for_all_who_ask() -> None:
    """The RSA key is generated once."""
    key = Key("RSA", "7")

    assert key._rsa is key._rsa


@pytest.mark.parametrize("kind", ["ED25519", "RSA"])
def test_public_key_is_pem(kind: KeyKind) -> None:
    """The public half can be handed out."""
    assert Key(kind, "7").public_pem.startswith("-----BEGIN PUBLIC KEY-----")


def test_hmac_has_no_public_key() -> None:
    """Asking an HMAC key for its public half is an error."""
    with pytest.raises(ValueError, match="HMAC"):
        _ = Key("HMAC", "7").public_pem


def test_published_example() -> None:
    """The signature printed on the page of Portfolio Margin Pro is accepted."""
    key = Key("HMAC", "")
    key.__dict__["secret"] = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
    order = b"symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1"
    payload = order + b"&recvWindow=5000&timestamp=1499827319559"

    assert key.verify(payload, "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71")


@pytest.mark.parametrize("kind", KINDS)
def test_shows_no_secret(kind: KeyKind) -> None:
    """The text of a key is its kind, before and after use."""
    key = Key(kind, "7")
    assert key.secret

    assert repr(key) == f"Key(kind='{kind}')"


def test_an_account_shows_no_secret() -> None:
    """The text of an account holds neither key nor secret nor seed."""
    account = SimulatedAccount("desk", seed=7919)

    shown = repr(account)

    assert not any(hidden in shown for hidden in (account.api_key, account.api_secret, "7919"))


def test_no_two_keys_are_alike() -> None:
    """Every key of every account has an API key of its own."""
    accounts = Exchange(accounts=40).accounts

    assert len({key.api_key for account in accounts for key in account.keys}) == 120
