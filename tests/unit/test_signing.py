"""The signed bytes are the sent bytes, every type of key gives valid signatures, and no secret is shown."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import inspect
import json
import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from binance_pm import Budget, Client, ConfigurationError, Session
from binance_pm.signing import Credential, Secret, Signer, check_key, signer

API_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
# The exchange's own example of a key, on its page of Portfolio Margin Pro.
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
PASSPHRASE = "correct-horse-battery"
PAYLOAD = b"symbol=BTCUSDT&timestamp=1499827319559"

posix = pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")


class Pair(NamedTuple):
    """A private key, as PEM and as an object, to verify with its public half."""

    key: Ed25519PrivateKey | RSAPrivateKey
    plain: str
    encrypted: str

    def verify(self, signature: str, payload: bytes) -> None:
        """Raise if the signature is not the key's for the payload."""
        held = base64.b64decode(signature, validate=True)
        if isinstance(self.key, Ed25519PrivateKey):
            self.key.public_key().verify(held, payload)
        else:
            self.key.public_key().verify(held, payload, PKCS1v15(), SHA256())


def pair_of(key: Ed25519PrivateKey | RSAPrivateKey) -> Pair:
    """Return the key with its two PEM texts."""
    plain, encrypted = (
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()
        for encryption in (NoEncryption(), BestAvailableEncryption(PASSPHRASE.encode()))
    )
    return Pair(key, plain, encrypted)


@pytest.fixture(scope="module")
def rsa() -> Pair:
    """An RSA key, made once because it takes long."""
    return pair_of(generate_rsa_key(public_exponent=65537, key_size=2048))


@pytest.fixture(scope="module")
def ed25519() -> Pair:
    """An Ed25519 key."""
    return pair_of(Ed25519PrivateKey.generate())


@pytest.fixture(params=["ed25519", "rsa"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """A key of either type."""
    return request.getfixturevalue(request.param)


def signed(sign: Signer, payload: bytes) -> str:
    """Return the signature of a synchronous signer."""
    signature = sign(payload)
    assert isinstance(signature, str)
    return signature


def report_of(error: BaseException) -> str:
    """Return everything that an error, its chain and a report show."""
    shown = "".join(traceback.format_exception(error))
    chain: BaseException | None = error
    while chain is not None:
        shown += repr((chain, chain.args, vars(chain)))
        chain = chain.__cause__ or chain.__context__
    return shown


def refusal(credential: Credential, passphrase: str | bytes | Secret | None = None) -> ValueError:
    """Return the error with which a credential is refused."""
    with pytest.raises(ValueError, match=r"key|secret") as caught:
        signer(credential, passphrase=passphrase)
    return caught.value


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    """Write a file with the given text and permissions."""
    path = folder / "key.pem"
    path.write_text(text)
    path.chmod(mode)
    return path


ORDER = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC"
REST = "quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
# The key of the Portfolio Margin page; the signatures there are wrong, so this one is recomputed.
OTHER_SECRET = "YtP1BudNOWZE1ag5uzCkh4hIC7qSmQOu797r5EJBFGhxBYivjj8HIX0iiiPof5yG"
OTHER_ORDER = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=2000&recvWindow=5000"


@pytest.mark.parametrize(
    ("secret", "payload", "signature"),
    [
        (SECRET, f"{ORDER}&{REST}", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        # Query and body are joined without a separator.
        (SECRET.encode(), f"{ORDER}{REST}", "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77"),
        (
            OTHER_SECRET,
            f"{OTHER_ORDER}&timestamp=1611825601400",
            "4c633cd74726176f44d7a81ac9c86ffd6045169b3fadac568b577285ac95ca45",
        ),
    ],
    ids=["query", "query and body", "another key"],
)
def test_the_exchanges_own_examples(secret: str | bytes, payload: str, signature: str) -> None:
    """An HMAC signer gives the signatures on the exchange's pages, for a secret as text or bytes."""
    assert signer(secret)(payload.encode()) == signature


def test_signatures_are_independent() -> None:
    """A signature does not change the state kept between signatures."""
    sign = signer(SECRET)

    assert sign(PAYLOAD) == sign(PAYLOAD) != sign(b"")


def test_a_private_key_signs(pair: Pair) -> None:
    """Ed25519 and RSA signatures verify with the public key."""
    pair.verify(signed(signer(pair.plain), PAYLOAD), PAYLOAD)


@pytest.mark.parametrize("around", ["", "\n", "  \r\n\t"])
@pytest.mark.parametrize("kind", ["text", "bytes", "path"])
def test_a_private_key_is_accepted_in_three_ways(ed25519: Pair, tmp_path: Path, kind: str, around: str) -> None:
    """PEM as text, bytes or the path of a file, with white space around it."""
    text = around + ed25519.plain + around
    given: Credential = {"text": text, "bytes": text.encode(), "path": key_file(tmp_path, text)}[kind]

    ed25519.verify(signed(signer(given), PAYLOAD), PAYLOAD)


@pytest.mark.parametrize("passphrase", [PASSPHRASE, PASSPHRASE.encode(), Secret(PASSPHRASE)], ids=repr)
def test_the_passphrase_opens_an_encrypted_key(pair: Pair, passphrase: str | bytes | Secret) -> None:
    """The passphrase as text, bytes or a `Secret`."""
    sign = signer(pair.encrypted, passphrase=passphrase)

    pair.verify(signed(sign, PAYLOAD), PAYLOAD)


@pytest.mark.parametrize("passphrase", ["", b"", Secret("")], ids=repr)
def test_an_empty_passphrase_is_no_passphrase(ed25519: Pair, passphrase: str | bytes | Secret) -> None:
    """An unset variable leaves an empty text, which is ignored for a key that needs none."""
    ed25519.verify(signed(signer(ed25519.plain, passphrase=passphrase), PAYLOAD), PAYLOAD)


@pytest.mark.parametrize("passphrase", [None, "", Secret(""), "wrong-and-secret", "wrong-and-secret\ud800"], ids=repr)
def test_an_encrypted_key_needs_its_passphrase(pair: Pair, passphrase: str | Secret | None) -> None:
    """The error shows neither a wrong passphrase nor the key."""
    error = refusal(pair.encrypted, passphrase)

    assert "wrong-and-secret" not in report_of(error)
    assert pair.encrypted.splitlines()[1] not in report_of(error)


SPOILED: dict[str, Callable[[str], str]] = {
    "truncated": lambda pem: pem[:-60],
    "changed": lambda pem: pem.replace("M", "N"),
    "not Unicode": lambda pem: f"{pem[:60]}\ud800{pem[60:]}",
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_damaged_key_is_refused(pair: Pair, spoil: Callable[[str], str]) -> None:
    """The error shows no part of the PEM."""
    spoilt = spoil(pair.plain)

    assert spoilt.splitlines()[1][:20] not in report_of(refusal(spoilt))


@posix
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700, 0o644, 0o604, 0o602, 0o601, 0o666, 0o777, 0o640, 0o620, 0o610])
def test_only_the_owner_may_read_a_key_file(ed25519: Pair, tmp_path: Path, mode: int) -> None:
    """A file that others or a group may use is refused, even if the user belongs to the group."""
    path = key_file(tmp_path, ed25519.plain, mode)
    if mode & 0o077:
        refusal(path)
    else:
        ed25519.verify(signed(signer(path), PAYLOAD), PAYLOAD)


@posix
def test_another_owners_file_may_be_readable_by_a_group(
    ed25519: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets mounted into a container have another owner, and the reader's group."""
    path = key_file(tmp_path, ed25519.plain, 0o440)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)

    ed25519.verify(signed(signer(path), PAYLOAD), PAYLOAD)


def test_a_file_without_a_key_is_refused(tmp_path: Path) -> None:
    """A file without PEM, such as an HMAC secret, is refused and not shown."""
    assert SECRET not in report_of(refusal(key_file(tmp_path, SECRET)))


@pytest.mark.parametrize(
    "secret",
    [
        "",
        b"",
        f"{SECRET}\n",
        f" {SECRET}",
        f"{SECRET[:9]} {SECRET[9:]}",
        f"{SECRET}\t",
        f"{SECRET}\x00",
        f"{SECRET}\x7f",
        f"{SECRET}é",
        f"\ufeff{SECRET}",
        f"{SECRET}\ud800",
        f"{SECRET}\u200b".encode(),
    ],
    ids=ascii,
)
def test_a_badly_copied_secret_is_refused(secret: str | bytes) -> None:
    """Extra characters are found before anything is sent; the error shows nothing of the secret."""
    assert SECRET[:9] not in report_of(refusal(secret))


def test_a_key_may_have_any_printable_character() -> None:
    """Future formats of the exchange are accepted: all visible ASCII characters."""
    check_key(bytes(range(0x21, 0x7F)), "the API key")


def test_a_function_is_used_as_the_signer() -> None:
    """A signer of the caller is called directly."""

    def sign(payload: bytes) -> str:
        return payload.hex()

    assert signer(sign) is sign


# Ways in which people and tools inspect a value.
LOOKS: dict[str, Callable[[Any], object]] = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": "{}".format,
    "padded": "{0!r:>99}".format,
    "percent": "%s".__mod__,
    "f-string": lambda secret: f"{secret}",
    "list": lambda secret: [secret],
    "dict": lambda secret: {"secret": secret},
    "vars": vars,
    "slots": lambda secret: [getattr(secret, name) for name in secret.__slots__],
    "dir": lambda secret: [repr(getattr(secret, name)) for name in dir(secret)],
    "getmembers": inspect.getmembers,
    "json": json.dumps,
    "json as text": lambda secret: json.dumps(secret, default=str),
    "msgspec": msgspec.json.encode,
    "builtins": msgspec.to_builtins,
    "bytes": bytes,
    "iter": list[object],
    "add": lambda secret: secret + "",
    "int": int,
    "hash": hash,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_secret_is_not_shown(look: Callable[[Any], object]) -> None:
    """Each way fails or shows nothing of the secret."""
    try:
        seen = look(Secret(SECRET))
    except (TypeError, AttributeError) as refused:
        seen = report_of(refused)

    assert SECRET not in f"{seen!r} {seen}"


TAKES: dict[str, Callable[[Any], object]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "nested": lambda secret: copy.deepcopy({"held": secret}),
    "pickle": pickle.dumps,
    "oldest pickle": lambda secret: pickle.dumps(secret, 0),
    "getstate": lambda secret: secret.__getstate__(),
    "reduce": lambda secret: secret.__reduce__(),
    "reduce_ex": lambda secret: secret.__reduce_ex__(4),
}


@pytest.mark.parametrize("take", TAKES.values(), ids=TAKES)
def test_a_secret_cannot_be_copied_or_pickled(take: Callable[[Any], object]) -> None:
    """Both are refused."""
    with pytest.raises(TypeError, match="secret"):
        take(Secret(SECRET))


def test_secrets_are_not_compared() -> None:
    """Equal secrets are not equal, as a comparison would leak information."""
    held, other = Secret(SECRET), Secret(SECRET)

    assert (held == other, held == SECRET, held == held) == (False, False, True)  # noqa: PLR0124 - identity is the fact


@pytest.mark.parametrize(("value", "revealed"), [("a", b"a"), (b"\xff", b"\xff"), ("é", "é".encode()), ("", b"")])
def test_a_secret_reveals_its_bytes_on_request(value: str | bytes, revealed: bytes) -> None:
    """For the code that signs."""
    assert Secret(value).reveal() == revealed


def test_making_a_secret_shows_nothing() -> None:
    """Invalid Unicode is accepted, as an error would quote the text."""
    assert Secret(f"{SECRET}\ud800").reveal().startswith(SECRET.encode())


ADDED = {"recvWindow", "timestamp", "signature"}


class Heard:
    """An exchange in memory that records requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Record the request, and send an empty response."""
        self.requests.append(request)
        return httpx.Response(200, json={})

    @property
    def query(self) -> bytes:
        """Return the query of the last request, byte for byte."""
        return self.requests[-1].url.raw_path.partition(b"?")[2]

    def client(self, secret: Credential | None = SECRET) -> Client:
        """Return a client of this exchange."""
        session = Session(http=httpx.MockTransport(self), budget=Budget())
        return Client(API_KEY, secret, session=session)


@settings(deadline=None)
@given(
    parameters=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])).filter(lambda name: name not in ADDED),
        st.one_of(st.text(st.characters()), st.integers(-(2**63), 2**64)),
    )
)
@example({"a": "&signature=x", "b": "#?/\\%2B+ ~", "c": "", "": "\x00\r\n"})
@example({"a": "\ud800"})
@example({"a": "中😀\u202e"})
async def test_the_bytes_signed_are_the_bytes_sent(parameters: dict[str, str | int]) -> None:
    """For all of Unicode, the text before the signature is the signed text and has the requested values."""
    exchange = Heard()
    async with exchange.client() as client:
        try:
            await client.request("GET", "/papi/v1/x", weight=1, returns=dict[str, str], params=parameters)
        except ConfigurationError:
            assert not exchange.requests
            assert any("\ud800" <= character <= "\udfff" for value in parameters.values() for character in str(value))
            return

    payload, _, signature = exchange.query.rpartition(b"&signature=")
    assert hmac.new(SECRET.encode(), payload, hashlib.sha256).hexdigest().encode() == signature
    *sent, (name, timestamp) = parse_qsl(payload.decode(), keep_blank_values=True, strict_parsing=True)
    assert sent == [(name, str(value)) for name, value in parameters.items()]
    assert (name, len(timestamp)) == ("timestamp", 13)


async def test_the_key_is_sent_in_its_header() -> None:
    """Neither key nor secret is in the URL."""
    exchange = Heard()
    async with exchange.client() as client:
        await client.request("GET", "/papi/v1/x", weight=1, returns=dict[str, str])

    assert exchange.requests[-1].headers["X-MBX-APIKEY"] == API_KEY
    assert API_KEY not in str(exchange.requests[-1].url)
    assert SECRET not in str(exchange.requests[-1].headers.raw) + str(exchange.requests[-1].url)


async def test_a_base64_signature_arrives_whole(pair: Pair) -> None:
    """The plus, slash and equals sign of base64 survive the query."""
    exchange = Heard()
    async with exchange.client(pair.plain) as client:
        await client.request("GET", "/papi/v1/x", weight=1, returns=dict[str, str], params={"symbol": "BTCUSDT"})

    payload, _, signature = exchange.query.rpartition(b"&signature=")
    assert not set(b"+/=") & set(signature)
    pair.verify(httpx.QueryParams(b"s=" + signature)["s"], payload)
