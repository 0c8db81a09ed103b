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
_SHORTEST_RSA: Final = 2048

_Flaw = tuple[bytes, str, str]
"""A pattern in a faulty text, the finding, and the advice."""

_WRAPPED: Final[tuple[_Flaw, ...]] = (
    (rb"\A['\"`]|['\"`]\Z", "is in quotes", "Remove the quotes."),
    (rb"[\x00-\x20]", "contains white space", "Remove the white space, such as a line end that was copied along."),
    (rb"[^\x00-\x7f]", "contains a character outside ASCII", "Copy the key again."),
)
_API_KEY: Final[tuple[_Flaw, ...]] = (
    (_PEM, "is a PEM file, such as a private key", "Give the API key as Binance shows it."),
    *_WRAPPED,
    (rb"[^A-Za-z0-9]", "contains characters other than letters and digits", "Copy the key again."),
    (rb"\A(?!.{64}\Z)", "has {length} characters instead of 64", "Copy the whole key again."),
)
_SECRET: Final[tuple[_Flaw, ...]] = (
    *_WRAPPED,
    # The text that follows the first line of a PEM with a PKCS#8 Ed25519 or RSA key.
    (rb"\A(MC4CAQAwBQYDK2VwBCIE|MIIE|MIIJ)", "is a PEM file without its first line", "Give the whole PEM file."),
    (rb"/|\.pem\Z", "is the path of a file", "Give the path as the file of a private key."),
)
_PRIVATE_KEY: Final[tuple[_Flaw, ...]] = (
    (rb" PUBLIC KEY-----", "is a public key", "Give the private key."),
    (rb"\A(?!.*-----BEGIN)", "is not a PEM file", "Give the whole file, from its line BEGIN to its line END."),
)


def check_key(subject: Target) -> Check:
    """Check whether key and secret have the exchange's format, and of which kind they are."""
    api_key, secret = subject.api_key.reveal(), subject.secret.reveal()
    flaw = _flaw("API key", api_key, _API_KEY)
    if subject.is_private_key or _PEM in secret:
        flaw = flaw or _flaw("private key", secret, _PRIVATE_KEY)
    elif secret == api_key:
        flaw = flaw or ("the secret is the same text as the API key", "Give the secret, which Binance showed once.")
    else:
        flaw = flaw or _flaw("secret", secret, _SECRET)
    if flaw is not None:
        return Check("key", subject.label, "failed", *flaw)
    try:
        kind = key_kind(secret, passphrase=subject.passphrase)
    except ValueError as error:
        return Check("key", subject.label, "failed", str(error), "Give the private key as it was created.")
    if kind == "HMAC" and len(secret) != _LENGTH:
        what = f"HMAC, but the secret has {len(secret)} characters instead of {_LENGTH}"
        return Check("key", subject.label, "warning", what, "Copy the secret again if the signature is refused.")
    if (bits := re.search(r"\d+", kind)) and int(bits[0]) < _SHORTEST_RSA:
        what, advice = f"{kind}, too short to be safe", f"Create a key of {_SHORTEST_RSA} bits, or an Ed25519 key."
        return Check("key", subject.label, "warning", what, advice)
    return Check("key", subject.label, "ok", f"{kind}, with an API key of {_LENGTH} letters and digits")


def _flaw(name: str, text: bytes, flaws: Iterable[_Flaw]) -> tuple[str, str] | None:
    """Return finding and advice of the first flaw that the text has."""
    for pattern, what, advice in flaws:
        if re.search(pattern, text, re.DOTALL):
            return f"the {name} {what.format(length=len(text))}", advice
    return None
