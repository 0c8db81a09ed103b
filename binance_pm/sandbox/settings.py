"""What an account has only stored: switches, its listen key, its savings, download ids, and how often it asked."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from hashlib import sha512
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from binance_pm.sandbox import order_errors
from binance_pm.sandbox.messages import Refusal

if TYPE_CHECKING:
    from binance_pm.sandbox.stream_faults import StreamProduct


class ListenKeyRecord(NamedTuple):
    """A listen key."""

    key: str
    until: float
    """When the key expires, in seconds since the epoch."""


class Download(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was ordered."""

    download_id: str
    kind: str
    """``trade``, ``order`` or ``income``."""
    token: str
    """The part of the link that is a secret."""
    ready: float
    """When the file is made, in seconds since the epoch."""
    expires: float
    """When the link ends, in seconds since the epoch."""
    content: bytes

    @property
    def path(self) -> str:
        """The path on the file server."""
        return f"/um-{self.kind}.csv"


class RepaymentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A repayment of the bankruptcy loan."""

    asset: str
    amount: Decimal
    time: int


class Settings:
    """The switches and stored values of one account.

    Attributes:
        repays_futures: whether negative balances of the futures wallets are covered from cross margin every hour.
        delta_mode: whether the delta mode of Portfolio Margin Pro is on.
        margin_call_level: the uniMMR at which the account wants to be warned, if it chose one.
        earn: the balance of LDUSDT, which earns interest.
        downloads: the downloads that were ordered, by id.
        repayments: repayments of the bankruptcy loan, oldest first.
        issued: all listen keys that were ever issued, by the product of their stream.
        listen_key_seconds: how long a listen key is valid after it was created or extended.
    """

    def __init__(self, holder: str) -> None:
        self.repays_futures = True
        self.delta_mode = False
        self.margin_call_level: Decimal | None = None
        self.earn: Decimal = Decimal(1000)
        self.downloads: dict[str, Download] = {}
        self.repayments: list[RepaymentRow] = []
        self._holder = holder
        self.issued: dict[StreamProduct, set[str]] = {"pm": set(), "pro": set()}
        self.listen_key_seconds: float = 3600.0
        self._listening: dict[StreamProduct, ListenKeyRecord] = {}
        self._expired: dict[StreamProduct, list[str]] = {}
        self._asked: defaultdict[str, list[float]] = defaultdict(list)

    def count(self, name: str, now: float, *, most: int, seconds: float, span: str) -> None:
        """Count a request that may only be made so often in a rolling time.

        Args:
            name: the request.
            now: seconds since the epoch.
            most: how often.
            seconds: the length of the rolling time.
            span: the same in words.

        Raises:
            Refusal: it was made too often.
        """
        recent = [at for at in self._asked[name] if now - at < seconds]
        if len(recent) >= most:
            raise Refusal(order_errors.TOO_OFTEN, most=most, span=span)
        self._asked[name] = [*recent, now]

    def listen_key(self, product: StreamProduct, now: float) -> str | None:
        """Return the active listen key, or None."""
        record = self._listening.get(product)
        return record.key if record and now < record.until else None

    def extend_listen_key(self, product: StreamProduct, now: float) -> str:
        """Extend the active listen key, or create one if no key is active, and return the key."""
        key = self.listen_key(product, now)
        if key is None:
            self._retire(product, now)
            number = len(self.issued[product]) + 1
            key = sha512(f"{self._holder}:listen:{product}:{number}".encode()).hexdigest()[:64]
            self.issued[product].add(key)
        self._listening[product] = ListenKeyRecord(key, now + self.listen_key_seconds)
        return key

    def close_listen_key(self, product: StreamProduct) -> None:
        """Delete the listen key."""
        self._listening.pop(product, None)

    def expire_listen_key(self, product: StreamProduct, now: float) -> None:
        """Make the active listen key expire now, if there is one."""
        record = self._listening.get(product)
        if record and now < record.until:
            self._listening[product] = record._replace(until=now)

    def take_expired(self, product: StreamProduct, now: float) -> list[str]:
        """Return the listen keys that have expired since the last call."""
        self._retire(product, now)
        return self._expired.pop(product, [])

    def _retire(self, product: StreamProduct, now: float) -> None:
        record = self._listening.get(product)
        if record and now >= record.until:
            del self._listening[product]
            self._expired.setdefault(product, []).append(record.key)

    def order_download(self, kind: str, *, ready: float, expires: float, content: bytes) -> Download:
        """Order a file."""
        number = str(546_975_389_218_332_000 + len(self.downloads))
        token = sha512(f"{self._holder}:download:{number}".encode()).hexdigest()[:48]
        row = Download(download_id=number, kind=kind, token=token, ready=ready, expires=expires, content=content)
        self.downloads[row.download_id] = row
        return row
