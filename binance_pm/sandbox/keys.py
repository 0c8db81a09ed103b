"""API keys of the three types that the exchange supports, generated from a seed, and the check of their signatures.

Source: https://developers.binance.com/docs/derivatives/portfolio-margin/general-info (read 2026-11-21). The page
describes HMAC and RSA; the official SDK also signs with Ed25519, for every product and in the same way.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import string
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

KeyKind = Literal["HMAC", "ED25519", "RSA"]

_GENERATING = Lock()


@dataclass(frozen=True)
class Key:
    """One API key. Its ``repr`` shows only its type.

    The HMAC and Ed25519 keys of a seed are always the same. An RSA key is generated on first use, which takes a tenth
    of a second, and differs between runs; only its ``api_key`` is fixed.
    """

    kind: KeyKind
    seed: str = field(repr=False)

    @cached_property
    def api_key(self) -> str:
        """The 64 letters and digits of the header ``X-MBX-APIKEY``."""
        return _letters(f"{self.seed}:{self.kind}:api-key")

    @cached_property
    def secret(self) -> str:
        """The signing secret: the secret of an HMAC key, or the PKCS#8 PEM of the other types."""
        if self.kind == "HMAC":
            return _letters(f"{self.seed}:{self.kind}:secret")
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @cached_property
    def public_pem(self) -> str:
        """The public key as PEM, which the owner registers at the exchange; an HMAC key has none.

        Raises:
            ValueError: the key is an HMAC key.
        """
        if self.kind == "HMAC":
            raise ValueError("an HMAC key has no public key")
        return self._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def verify(self, payload: bytes, signature: str) -> bool:
        """Return whether the signature is valid for this payload: hex for HMAC, base64 for the other types."""
        if self.kind == "HMAC":
            expected = hmac.new(self.secret.encode(), payload, hashlib.sha256).hexdigest()
            return hmac.compare_digest(expected.encode(), signature.lower().encode())
        try:
            self._verify_public(base64.b64decode(signature, validate=True), payload)
        except (binascii.Error, ValueError, InvalidSignature):
            return False
        return True

    def _verify_public(self, signature: bytes, payload: bytes) -> None:
        private = self._private
        if isinstance(private, RSAPrivateKey):
            private.public_key().verify(signature, payload, PKCS1v15(), SHA256())
        else:
            private.public_key().verify(signature, payload)

    @cached_property
    def _private(self) -> Ed25519PrivateKey | RSAPrivateKey:
        if self.kind == "ED25519":
            return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{self.seed}:ed25519".encode()).digest())
        return self._rsa

    @property
    def _rsa(self) -> RSAPrivateKey:
        # Client and server threads may request the key at the same time, and must get the same key.
        with _GENERATING:
            if "_generated" not in self.__dict__:
                self.__dict__["_generated"] = generate_private_key(public_exponent=65537, key_size=2048)
            return self.__dict__["_generated"]


def _letters(text: str) -> str:
    alphabet = string.ascii_letters + string.digits
    return "".join(alphabet[byte % len(alphabet)] for byte in hashlib.sha512(text.encode()).digest())
