"""Flaws of a key that are found without a request; tests/messages has the texts."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from binance_pm.doctor import Target
from binance_pm.doctor.key import check_key
from binance_pm.sandbox import SimulatedAccount
from binance_pm.signing import Secret

ACCOUNT = SimulatedAccount("account-01")
API_KEY, SECRET, PEM = "k" * 64, "s" * 64, ACCOUNT.ed25519.secret
INSIDE = PEM.splitlines()[1]


def encoded(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, passphrase: bytes = b"") -> str:
    """Return the key as PEM."""
    how = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how).decode()


LOCKED = encoded(rsa.generate_private_key(65537, 2048), b"right")
SHORT_RSA = encoded(rsa.generate_private_key(65537, 1024))  # noqa: S505 - too short on purpose


@pytest.mark.parametrize(
    ("verdict", "what", "changes"),
    [
        ("ok", "HMAC", {}),
        ("ok", "Ed25519", {"secret": PEM}),
        ("ok", "RSA of 2048 bits", {"secret": ACCOUNT.rsa.secret}),
        ("ok", "RSA", {"secret": LOCKED, "passphrase": Secret("right")}),
        ("warning", "63 characters", {"secret": "s" * 63}),
        ("warning", "1024", {"secret": SHORT_RSA}),
        ("failed", "API key is a PEM", {"api_key": PEM}),
        ("failed", "API key is in quotes", {"api_key": f'"{API_KEY}"'}),
        ("failed", "API key contains white space", {"api_key": f"{API_KEY}\n"}),
        ("failed", "API key contains a character outside ASCII", {"api_key": "k" * 63 + "é"}),
        ("failed", "other than letters and digits", {"api_key": "k" * 63 + "-"}),
        ("failed", "API key has 65 characters", {"api_key": "k" * 65}),
        ("failed", "secret is in quotes", {"secret": f"'{SECRET}"}),
        ("failed", "secret is in quotes", {"secret": f"{SECRET}`"}),
        ("failed", "secret contains white space", {"secret": f" {SECRET}"}),
        ("failed", "without its first line", {"secret": INSIDE}),
        ("failed", "path of a file", {"secret": "/home/me/key"}),
        ("failed", "path of a file", {"secret": "key.pem"}),
        ("failed", "same text as the API key", {"secret": API_KEY}),
        ("failed", "public key", {"secret": ACCOUNT.ed25519.public_pem}),
        ("failed", "cannot be read", {"secret": PEM[:60]}),
        ("failed", "kind", {"secret": encoded(ec.generate_private_key(ec.SECP256R1()))}),
        ("failed", "not a PEM", {"secret": SECRET, "is_private_key": True}),
        ("failed", "encrypted", {"secret": LOCKED}),
        ("failed", "passphrase", {"secret": LOCKED, "passphrase": Secret("wrong")}),
    ],
    ids=lambda value: "" if isinstance(value, dict) else str(value),
)
def test_every_flaw_is_found_and_no_text_shows_the_key(verdict: str, what: str, changes: dict[str, Any]) -> None:
    """A flaw fails the check, with advice, before the exchange could refuse the key with -2014 or -1022."""
    given: dict[str, Any] = {"api_key": API_KEY, "secret": SECRET} | changes
    api_key, secret = Secret(given.pop("api_key")), Secret(given.pop("secret"))
    check = check_key(Target(origin="here", api_key=api_key, secret=secret, **given))

    assert (check.verdict, bool(check.advice)) == (verdict, verdict != "ok")
    assert what in check.finding
    assert not any(text in check.finding + check.advice for text in (API_KEY[:20], SECRET[:20], INSIDE))
