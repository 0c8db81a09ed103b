"""Signatures, and the type that holds secrets.

Supported are HMAC-SHA256 keys, Ed25519 and RSA keys (PKCS#8 PEM, also encrypted), and a caller's own function for a key
in a hardware module or a key service.

Source: https://developers.binance.com/docs/derivatives/portfolio-margin/general-info (read 2026-11-21); Ed25519 is
not described there, but the exchange's own SDK signs with it for every product.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import hmac
import os
import re
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from traceback import clear_frames
from typing import TYPE_CHECKING, Final, NoReturn

from binance_pm.extras import installation
from binance_pm.files import open_at_once

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

Signer = Callable[[bytes], str | Awaitable[str]]
"""Maps the bytes to sign to the signature in the exchange's format: hex for HMAC, base64 for Ed25519 and RSA."""

Credential = str | bytes | Path | Signer
"""An HMAC secret; a private key in PEM, as text or as the path of its file; or a `Signer`."""

LARGEST_KEY: Final = 2**16
"""In bytes; the largest private key in use is a fifth of this size."""

# Compiled when they are needed, to keep importing fast.
_BLOCK: Final = rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----"
# An ASN.1 sequence that begins with a small integer, or with a sequence that begins with an object identifier: every
# private key, plain or encrypted, every public key and every certificate begins like this.
_DER: Final = rb"\x30(?:[\x00-\x7f]|\x81.|\x82..)(?:\x02\x01[\x00-\x04]|\x30(?:.|\x81.|\x82..)[\x06\xa0])"
_QUOTES: Final = "'\"`´‘’‚“”„«»"  # noqa: RUF001 - quotes that word processors insert
_PLACEHOLDER: Final = (
    rb"<.*>|\{.*\}|\[.*\]|%.*%|\$\w+|\$[({].*[)}]|(?:your|my|insert|enter|paste|replace)[-_].*|change[-_]?me"
    rb"|placeholder|redacted|none|null|undefined|x{3,}|\*+|\.+"
)
_PATH: Final = rb"(?:~|\.{1,2})?/.*|[A-Za-z]:\\.*|file:.*|.*\.(?:pem|key|txt|der|env)"


class Secret:
    """A text that cannot be printed, pickled, copied or compared, only revealed when it is used."""

    __slots__ = ("__reveal",)

    def __init__(self, value: str | bytes) -> None:
        held = _encoded(value)
        # Kept in a closure: a debugger or an error reporter that lists attributes prints a function.
        self.__reveal: Final = lambda: held

    def reveal(self) -> bytes:
        """Return the secret itself."""
        return self.__reveal()

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret can be neither copied nor pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret can be neither copied nor pickled")


def signer(credential: Credential, *, passphrase: str | bytes | Secret | None = None) -> Signer:
    """Return the function that signs with the given credential.

    Args:
        credential: an HMAC secret, a private key, or a function that signs.
        passphrase: decrypts an encrypted private key.

    Raises:
        ValueError: the credential cannot be used; the text says why and never shows the credential.
    """
    if isinstance(credential, Path):
        return _private_key_signer(read_key(credential, "the private key file"), passphrase)
    # A class is callable, but its result is not a signature.
    if callable(credential) and not isinstance(credential, type):
        return credential
    # Callers without a type checker may pass other types.
    if not isinstance(credential, str | bytes):
        kind = type(credential).__name__
        raise ValueError(f"the API secret is {kind}: give text, bytes, a pathlib.Path or a function that signs")
    held = _encoded(credential)
    if is_pem(held):
        return _private_key_signer(held, passphrase)
    check_secret(held)
    if passphrase:
        raise ValueError("a passphrase was given, but the API secret is not a private key")
    return _hmac_signer(held)


def is_pem(credential: bytes) -> bool:
    """Return whether the credential is a private key as text rather than an HMAC secret."""
    return b"-----BEGIN" in _plain(credential)


def key_kind(credential: str | bytes, *, passphrase: str | bytes | Secret | None = None) -> str:
    """Return what the exchange calls such a key: ``HMAC``, ``Ed25519``, or ``RSA of 2048 bits``.

    Args:
        credential: an HMAC secret, or a private key in PEM.
        passphrase: decrypts an encrypted private key.

    Raises:
        ValueError: the credential cannot be used; the text says why and never shows the credential.
    """
    held = _encoded(credential)
    if not is_pem(held):
        check_secret(held)
        return "HMAC"
    bits = getattr(_private_key(held, passphrase), "key_size", None)
    return "Ed25519" if bits is None else f"RSA of {bits} bits"


def check_key(key: bytes, name: str) -> None:
    """Reject a key that is truncated or has extra characters, before the exchange does with -2014 or -1022.

    Raises:
        ValueError: the key is rejected; the text gives the reason, never the key.
    """
    if not key.strip():
        raise ValueError(f"{name} is empty")
    if is_pem(key):
        raise ValueError(f"{name} is a PEM, such as a private key: give the key that Binance shows")
    text = key.decode(errors="replace").strip()
    if text[0] in _QUOTES or text[-1] in _QUOTES:
        raise ValueError(f"{name} has quotes around it: remove them")
    if re.fullmatch(_PLACEHOLDER, key.strip(), re.IGNORECASE):
        raise ValueError(f"{name} is a placeholder: replace it with the key that Binance shows")
    if any(byte <= 0x20 or byte >= 0x7F for byte in key):
        raise ValueError(f"{name} has white space or a character outside ASCII in it: copy it again")


def check_secret(secret: bytes) -> None:
    """Reject a text that is not an HMAC secret: signing would succeed, but every signature would be wrong.

    Raises:
        ValueError: the secret is rejected; the text gives the reason, never the secret.
    """
    if form := key_form(secret):
        raise ValueError(f"the API secret is a private key {form}")
    check_key(secret, "the API secret")
    if re.fullmatch(_PATH, secret):
        raise ValueError("the API secret is the path of a file: give a pathlib.Path, or BINANCE_PM_PRIVATE_KEY_FILE")


def read_key(path: Path, name: str, *, is_secret: bool = True) -> bytes:
    """Return the bytes of a small file without waiting for a writer, as reading a pipe would.

    Args:
        path: path of the file; ``~`` is the home directory.
        name: name of the file in an error.
        is_secret: whether other users must not be able to read the file, as ssh requires.

    Raises:
        ValueError: the file cannot be read, or too many users can read it; the text says why and contains `name`.
    """
    if "\0" in str(path):
        raise ValueError(f"{name} cannot be read: its path has a null character in it")
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ValueError(
            f"{name} {path} cannot be read: the home directory is not known. Give an absolute path"
        ) from None
    try:
        with open(path, "rb", opener=open_at_once) as file:
            if flaw := _file_flaw(path, os.fstat(file.fileno()), is_secret=is_secret):
                raise ValueError(f"{name} {path} {flaw}")
            return file.read(LARGEST_KEY)
    except OSError as error:
        raise ValueError(f"{name} {path} cannot be read: {error.strerror}") from None


def clear_locals(error: BaseException) -> None:
    """Remove the local variables from the tracebacks of an error and of its causes, but keep the lines."""
    link: BaseException | None = error
    while link is not None:
        clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__


def _hmac_signer(secret: bytes) -> Signer:
    # Only the keyed state is kept: the secret itself is gone, and each signature saves the key schedule.
    return partial(_hmac_signature, hmac.new(secret, digestmod=hashlib.sha256))


def _hmac_signature(keyed: hmac.HMAC, payload: bytes) -> str:
    signature = keyed.copy()
    signature.update(payload)
    return signature.hexdigest()


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
    label, block = _private_block(pem)
    opening = _passphrase(passphrase)
    load = serialization.load_ssh_private_key if label.startswith(b"OPENSSH") else serialization.load_pem_private_key
    try:
        key = load(block, opening)
    except TypeError:
        reason = "is encrypted: give its passphrase" if opening is None else "is not encrypted: give no passphrase"
        raise ValueError(f"the private key {reason}") from None
    except Exception:  # noqa: BLE001 - the library raises many kinds, and their texts may quote the key
        raise ValueError(_UNREADABLE_OPENSSH if load is serialization.load_ssh_private_key else _UNREADABLE) from None
    if isinstance(key, ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
        return key
    raise ValueError("the exchange does not support this kind of private key: give Ed25519 or RSA")


_UNREADABLE: Final = "the private key cannot be read: not PKCS#8 PEM, or the passphrase is wrong"
_UNREADABLE_OPENSSH: Final = (
    "the private key cannot be read in OpenSSH's format: convert it with ssh-keygen -p -m PKCS8 -f FILE"
)


def _private_block(pem: bytes) -> tuple[bytes, bytes]:
    """Return label and text of the one private key in a PEM, without the text around it.

    Raises:
        ValueError: the PEM has no private key, or more than one.
    """
    blocks: list[tuple[bytes, bytes]] = re.findall(_BLOCK, _plain(pem), re.DOTALL)
    private = [(label, body) for label, body in blocks if label.endswith(b"PRIVATE KEY")]
    if len(private) == 1:
        label, body = private[0]
        return label, b"-----BEGIN %s-----\n%s\n-----END %s-----\n" % (label, _folded(body), label)
    if private:
        raise ValueError("the PEM contains several private keys: keep the one that belongs to the API key")
    if blocks:
        what = blocks[0][0].decode().lower()
        raise ValueError(f"the PEM contains a {what}, not a private key: give the private key")
    if not is_pem(pem) and (form := key_form(pem)):
        raise ValueError(f"the private key is {form}")
    raise ValueError(_UNREADABLE)


def _folded(body: bytes) -> bytes:
    """Restore the line breaks of a PEM: an environment variable may have indented or joined the lines."""
    if b":" in body:
        return b"\n".join(line.strip() for line in body.strip().splitlines())
    joined = b"".join(body.split())
    return b"\n".join(joined[place : place + 64] for place in range(0, len(joined), 64))


def _plain(pem: bytes) -> bytes:
    r"""Return a PEM in ASCII, with line ends in place of the ``\n`` of an environment variable."""
    if pem.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        pem = pem.decode("utf-16", errors="replace").encode()
    if b"-----BEGIN" not in pem:
        return pem
    return pem.replace(b"\\r", b"").replace(b"\\n", b"\n")


def key_form(held: bytes, *, times: str = " twice") -> str:
    """Return how to fix a private key that is not a PEM; an empty text if the value is not a private key."""
    if b"-----END " in held or b"PRIVATE KEY" in held:
        return "without its line BEGIN: give the whole PEM"
    if re.match(_DER, held, re.DOTALL):
        return "in DER: give it as PEM"
    for coding, decoded in _decodings(held):
        if is_pem(decoded):
            return f"in {coding}: decode it, and give the PEM"
        if re.match(_DER, decoded, re.DOTALL) or decoded.startswith(b"openssh-key-v1"):
            return "without its lines BEGIN and END: give the whole PEM"
        if times and key_form(decoded, times=""):
            return f"in {coding}{times}: decode it, and give the PEM"
    return ""


def _decodings(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the decoded text, if it can be hexadecimal, and if it can be base64."""
    joined = b"".join(text.replace(b"\\n", b"").split()).strip(b"'\"")
    with suppress(ValueError):
        yield "hexadecimal", bytes.fromhex(joined.decode("ascii"))
    with suppress(ValueError):
        # A truncated key is recognised by its beginning.
        whole = joined.rstrip(b"=").translate(_URL_SAFE)
        yield "base64", base64.b64decode(whole[: len(whole) // 4 * 4], validate=True)


_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")


def _passphrase(passphrase: str | bytes | Secret | None) -> bytes | None:
    # An empty passphrase counts as missing: it is the result of an unset variable or a skipped prompt.
    return (passphrase.reveal() if isinstance(passphrase, Secret) else _encoded(passphrase or b"")) or None


def _encoded(text: str | bytes) -> bytes:
    # An encoding error would quote the whole text, so invalid Unicode passes here and is rejected later as not ASCII.
    return text.encode(errors="surrogatepass") if isinstance(text, str) else text


def _file_flaw(path: Path, status: os.stat_result, *, is_secret: bool) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "cannot be read: it is not a regular file"
    if status.st_size > LARGEST_KEY:
        return f"cannot be read: it is larger than any key ({LARGEST_KEY} bytes)"
    if not is_secret or os.name != "posix":
        return ""
    # A group may read a file that another user owns: secrets are mounted into containers in this way.
    is_own = status.st_uid == os.geteuid()
    others = "all users" if status.st_mode & stat.S_IRWXO else "its group" if status.st_mode & stat.S_IRWXG else ""
    if not others or (others == "its group" and not is_own):
        return ""
    is_mounted = bool(os.statvfs(path).f_flag & os.ST_RDONLY) or not status.st_mode & 0o222
    if not is_mounted and (is_own or os.geteuid() == 0):
        return f"can be read by {others}: run chmod 600"
    return (
        f"can be read by {others}: run chmod 400. If the file is mounted and cannot be changed, mount it with mode "
        "0400 (Kubernetes: defaultMode, Docker: mode and uid) or start the program with its own copy of mode 0600"
    )
