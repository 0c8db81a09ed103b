"""Checks of a key that need no request."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from binance_pm.doctor.check import Check
from binance_pm.doctor.targets import Target
from binance_pm.signing import key_kind

_LENGTH: Final = 64
_PEM: Final = b"-----BEGIN"
# The text that follows the first line of a PEM with a PKCS#8 Ed25519 or RSA key.
_INSIDE_PEM: Final = (b"MC4CAQAwBQYDK2VwBCIE", b"MIIE", b"MIIJ")
_SHORTEST_RSA: Final = 2048
_QUOTES: Final = {b"'", b'"', b"`"}


def check_key(subject: Target) -> Check:
    """Check whether key and secret have the exchange's format, and of which kind they are."""
    api_key, secret = subject.api_key.reveal(), subject.secret.reveal()
    is_private_key = subject.is_private_key or _PEM in secret
    flaw = _api_key_flaw(api_key) or (_private_key_flaw(secret) if is_private_key else _secret_flaw(secret, api_key))
    if flaw is not None:
        return Check("key", subject.label, "failed", *flaw)
    try:
        kind = key_kind(secret, passphrase=subject.passphrase)
    except ValueError as error:
        return Check("key", subject.label, "failed", str(error), "Give the private key as it was made.")
    if kind == "HMAC" and len(secret) != _LENGTH:
        what = f"HMAC, but the secret has {len(secret)} characters, where the exchange's have {_LENGTH}"
        return Check("key", subject.label, "warning", what, "Copy the secret again if the signature is refused.")
    if (bits := re.search(r"\d+", kind)) and int(bits[0]) < _SHORTEST_RSA:
        what = f"{kind}, which is too short to be safe"
        return Check("key", subject.label, "warning", what, f"Make one of {_SHORTEST_RSA} bits, or an Ed25519 key.")
    return Check("key", subject.label, "ok", f"{kind}, and an API key of {_LENGTH} letters and digits")


_Flaw = tuple[str, str]
"""A flaw, and what to do about it."""


def _api_key_flaw(key: bytes) -> _Flaw | None:
    flaws = (
        (_PEM in key, "the API key is a PEM: it was mistaken for the private key", "Give the key as Binance shows it."),
        *_wrappings("API key", key),
        (not key.isalnum(), "the API key has characters in it that are no letters or digits", "Copy it again."),
        (
            len(key) != _LENGTH,
            f"the API key has {len(key)} characters, where the exchange's have {_LENGTH}",
            "Copy it again, whole.",
        ),
    )
    return _first(flaws)


def _private_key_flaw(pem: bytes) -> _Flaw | None:
    flaws = (
        (b" PUBLIC KEY-----" in pem, "the private key is a public one", "Give the private half."),
        (_PEM not in pem, "the private key is no PEM", "Give the whole file, from its line BEGIN to its line END."),
    )
    return _first(flaws)


def _secret_flaw(secret: bytes, api_key: bytes) -> _Flaw | None:
    flaws = (
        *_wrappings("secret", secret),
        (
            secret.startswith(_INSIDE_PEM),
            "the secret is the inside of a PEM",
            "Give the private key with its first and its last line.",
        ),
        (
            b"/" in secret or secret.endswith(b".pem"),
            "the secret is the path of a file",
            "Give it as the file of a private key.",
        ),
        (secret == api_key, "the secret is the API key once more", "Give the secret, which Binance showed once."),
    )
    return _first(flaws)


def _wrappings(name: str, text: bytes) -> tuple[tuple[bool, str, str], ...]:
    return (
        (text[:1] in _QUOTES or text[-1:] in _QUOTES, f"the {name} has quotes around it", "Take the quotes away."),
        (
            any(byte <= 0x20 for byte in text),
            f"the {name} has white space in it",
            "Take it away: mostly it is a line end that was copied along.",
        ),
        (not text.isascii(), f"the {name} has a character outside ASCII in it", "Copy it again."),
    )


def _first(flaws: Iterable[tuple[bool, str, str]]) -> _Flaw | None:
    return next(((what, advice) for is_there, what, advice in flaws if is_there), None)
