"""What is seen of a key without asking anybody."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from binance_pm.doctor import Check, Target
from binance_pm.doctor.key import check_key
from binance_pm.sandbox import Account
from binance_pm.signing import Secret

ACCOUNT = Account("account-01")
API_KEY, SECRET, PEM = "k" * 64, "s" * 64, ACCOUNT.ed25519.secret
INSIDE = PEM.splitlines()[1]


def looked_at(api_key: str = API_KEY, secret: str = SECRET, *, passphrase: str = "", is_private: bool = False) -> Check:
    """What is told of a key; its secret is not in it."""
    told = check_key(
        Target(
            origin="here",
            api_key=Secret(api_key),
            secret=Secret(secret),
            is_private_key=is_private,
            passphrase=Secret(passphrase) if passphrase else None,
        )
    )
    for text in (told.finding, told.advice):
        assert API_KEY[:20] not in text
        assert SECRET[:20] not in text
        assert INSIDE not in text
    return told


def encoded(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, passphrase: bytes = b"") -> str:
    """The key as PEM."""
    how = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how).decode()


@pytest.mark.parametrize(
    ("secret", "kind"),
    [(SECRET, "HMAC"), (PEM, "Ed25519"), (ACCOUNT.rsa.secret, "RSA of 2048 bits")],
    ids=["HMAC", "Ed25519", "RSA"],
)
def test_each_kind_is_named(secret: str, kind: str) -> None:
    """As the exchange calls it."""
    told = looked_at(secret=secret)

    assert (told.verdict, told.finding) == ("ok", f"{kind}, and an API key of 64 letters and digits")


@pytest.mark.parametrize(
    ("api_key", "what"),
    [
        (PEM, "the API key is a PEM"),
        (f'"{API_KEY}"', "the API key has quotes around it"),
        (f"{API_KEY}\n", "the API key has white space in it"),
        ("k" * 63 + "é", "the API key has a character outside ASCII in it"),
        ("k" * 63 + "-", "no letters or digits"),
        ("k" * 60, "the API key has 60 characters, where the exchange's have 64"),
    ],
)
def test_an_api_key_of_another_form(api_key: str, what: str) -> None:
    """It would be refused with -2014; here it is said why."""
    told = looked_at(api_key)

    assert (told.verdict, bool(told.advice)) == ("failed", True)
    assert what in told.finding


@pytest.mark.parametrize(
    ("secret", "what"),
    [
        (f"'{SECRET}'", "the secret has quotes around it"),
        (f" {SECRET}", "the secret has white space in it"),
        (INSIDE, "the secret is the inside of a PEM"),
        ("/home/me/key.pem", "the secret is the path of a file"),
        ("key.pem", "the secret is the path of a file"),
        (API_KEY, "the secret is the API key once more"),
        (ACCOUNT.ed25519.public_pem, "the private key is a public one"),
        (PEM[:60], "the private key cannot be read"),
        pytest.param(encoded(ec.generate_private_key(ec.SECP256R1())), "does not support this kind", id="EC"),
    ],
)
def test_a_secret_of_another_form(secret: str, what: str) -> None:
    """It would be refused with -1022, or could not be used at all."""
    told = looked_at(secret=secret)

    assert (told.verdict, bool(told.advice)) == ("failed", True)
    assert what in told.finding


def test_a_private_key_that_is_no_pem() -> None:
    """A file of something else."""
    assert looked_at(secret=SECRET, is_private=True).finding == "the private key is no PEM"


def test_an_encrypted_key_needs_its_passphrase() -> None:
    """And no other."""
    secret = encoded(rsa.generate_private_key(65537, 2048), b"right")

    assert looked_at(secret=secret, passphrase="right").verdict == "ok"
    assert "is encrypted: give its passphrase" in looked_at(secret=secret).finding
    assert "the passphrase is wrong" in looked_at(secret=secret, passphrase="wrong").finding


def test_what_is_odd_is_a_warning() -> None:
    """Nobody has documented how long a secret is; a short RSA key works, and is not safe."""
    short = encoded(rsa.generate_private_key(65537, 1024))  # noqa: S505 - that is what is told

    assert (looked_at(secret="s" * 40).verdict, looked_at(secret=short).verdict) == ("warning", "warning")
