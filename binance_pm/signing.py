"""Signatures, and the one type that holds secrets.

HMAC-SHA256 keys, Ed25519 and RSA keys (PKCS#8 PEM, encrypted too), or a function of the caller's own for a key that
lives in a hardware module or a key service.

Source: https://developers.binance.com/docs/derivatives/portfolio-margin/general-info (read 2026-11-21); Ed25519 is
not described there, the exchange's own SDK signs with it for every product.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from binance_pm.extras import installation

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

Signer = Callable[[bytes], str | Awaitable[str]]
"""From the bytes to sign to the signature as the exchange expects it: hex for HMAC, base64 for Ed25519 and RSA."""

Credential = str | bytes | Path | Signer
"""An HMAC secret; a private key in PEM, as text or as the path of its file; or a `Signer`."""

_PEM: Final = b"-----BEGIN"


class Secret:
    """A text that cannot be printed, pickled, copied or compared, only revealed where it is used."""

    __slots__ = ("__reveal",)

    def __init__(self, value: str | bytes) -> None:
        held = _encoded(value)
        # Kept in a closure: a debugger or an error reporter that lists attributes prints a function.
        self.__reveal: Final = lambda: held

    def reveal(self) -> bytes:
        """The secret itself."""
        return self.__reveal()

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret can be neither copied nor pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret can be neither copied nor pickled")


def signer(credential: Credential, *, passphrase: str | bytes | Secret | None = None) -> Signer:
    """The function that signs with the given credential.

    Args:
        credential: what the exchange, or the caller, holds the other half of.
        passphrase: opens an encrypted private key.

    Raises:
        ValueError: the credential cannot be used; the text says why and never shows it.
    """
    if isinstance(credential, Path):
        return _private_key_signer(read_private(credential, "the private key file"), passphrase)
    if callable(credential):
        return credential
    # What a caller without a type checker may hand over.
    if not isinstance(credential, str | bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        kind = type(credential).__name__
        raise ValueError(f"the API secret is {kind}: give text, bytes, a pathlib.Path or a function that signs")
    held = _encoded(credential)
    if held.lstrip().startswith(_PEM):
        return _private_key_signer(held, passphrase)
    check_key(held, "the API secret")
    if passphrase:
        raise ValueError("a passphrase was given, but the API secret is no private key")
    return _hmac_signer(held)


def key_kind(credential: str | bytes, *, passphrase: str | bytes | Secret | None = None) -> str:
    """What the exchange calls such a key: ``HMAC``, ``Ed25519``, or ``RSA of 2048 bits``.

    Args:
        credential: an HMAC secret, or a private key in PEM.
        passphrase: opens an encrypted private key.

    Raises:
        ValueError: the credential cannot be used; the text says why and never shows it.
    """
    held = _encoded(credential)
    if not held.lstrip().startswith(_PEM):
        check_key(held, "the API secret")
        return "HMAC"
    bits = getattr(_private_key(held, passphrase), "key_size", None)
    return "Ed25519" if bits is None else f"RSA of {bits} bits"


def check_key(key: bytes, name: str) -> None:
    """Refuse a key that was cut or copied with something around it, before the exchange does with -2014 or -1022.

    Raises:
        ValueError: with the reason, never the key.
    """
    if not key:
        raise ValueError(f"{name} is empty")
    if any(byte <= 0x20 or byte >= 0x7F for byte in key):
        raise ValueError(f"{name} has white space or a character outside ASCII in it: copy it again")


def read_private(path: Path, name: str) -> bytes:
    """The bytes of a file that nobody else may read, as ssh asks for it.

    Raises:
        ValueError: it cannot be read, or by too many; the text says why, by the given name.
    """
    try:
        with path.open("rb") as file:
            if os.name == "posix" and (others := _readers(os.fstat(file.fileno()))):
                raise ValueError(f"{name} {path} can be read by {others}: chmod 600 it")
            return file.read(1 << 20)
    except OSError as error:
        raise ValueError(f"{name} {path} cannot be read: {error.strerror}") from error


def _hmac_signer(secret: bytes) -> Signer:
    # The keyed state is what is kept: the secret itself is gone, and each signature saves the key schedule.
    keyed = hmac.new(secret, digestmod=hashlib.sha256)

    def sign(payload: bytes) -> str:
        signature = keyed.copy()
        signature.update(payload)
        return signature.hexdigest()

    return sign


def _private_key_signer(pem: bytes, passphrase: str | bytes | Secret | None) -> Signer:
    key = _private_key(pem, passphrase)
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - the extra `keys`
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding  # noqa: PLC0415 - the extra `keys`

    if isinstance(key, ed25519.Ed25519PrivateKey):
        ed25519_key = key
        return lambda payload: base64.b64encode(ed25519_key.sign(payload)).decode()
    rsa_key, scheme, digest = key, padding.PKCS1v15(), hashes.SHA256()
    return lambda payload: base64.b64encode(rsa_key.sign(payload, scheme, digest)).decode()


def _private_key(pem: bytes, passphrase: str | bytes | Secret | None) -> Ed25519PrivateKey | RSAPrivateKey:
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - the extra `keys`
        from cryptography.hazmat.primitives.asymmetric import ed25519, rsa  # noqa: PLC0415 - the extra `keys`
    except ImportError as error:
        raise ValueError(f"a private key needs the extra `keys`: {installation('keys')}") from error
    opening = _passphrase(passphrase)
    try:
        key = serialization.load_pem_private_key(pem.strip(), opening)
    except TypeError:
        reason = "is encrypted: give its passphrase" if opening is None else "is not encrypted: give no passphrase"
        raise ValueError(f"the private key {reason}") from None
    except Exception:  # noqa: BLE001 - the library raises many kinds, and their texts may quote the key
        raise ValueError("the private key cannot be read: not PKCS#8 PEM, or the passphrase is wrong") from None
    if isinstance(key, ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
        return key
    raise ValueError("the private key is of a kind that the exchange does not know: give Ed25519 or RSA")


def _passphrase(passphrase: str | bytes | Secret | None) -> bytes | None:
    # An empty one opens nothing: it is what an unset variable or a skipped prompt leaves.
    return (passphrase.reveal() if isinstance(passphrase, Secret) else _encoded(passphrase or b"")) or None


def _encoded(text: str | bytes) -> bytes:
    # An error in encoding would quote the whole text: what is not Unicode is let through, and refused as not ASCII.
    return text.encode(errors="surrogatepass") if isinstance(text, str) else text


def _readers(status: os.stat_result) -> str:
    if status.st_mode & stat.S_IRWXO:
        return "everybody"
    # A group may read a file that somebody else owns: that is how secrets are mounted into a container.
    if status.st_mode & stat.S_IRWXG and status.st_uid == os.geteuid():
        return "its group"
    return ""
