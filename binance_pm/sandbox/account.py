"""An account of the local exchange: its type, its keys and their permissions."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from binance_pm.sandbox.keys import Key

if TYPE_CHECKING:
    from binance_pm.sandbox.facts import AccountType

EVERY_FAMILY = frozenset({"papi", "sapi", "api", "fapi"})


@dataclass(frozen=True)
class SimulatedAccount:
    """One account. Its ``repr`` shows no key and no secret.

    Attributes:
        label: the name, such as ``account-01``; holdings and keys are generated from label and seed.
        seed: the seed from which the keys are generated, together with the label.
        account_type: PM_1 Portfolio Margin Pro, PM_2 Portfolio Margin, PM_3 Portfolio Margin Pro SPAN.
        enabled: whether portfolio margin is enabled; if not, /sapi refuses with -21001 and /papi with -2015.
        families: the parts of the API that its keys may use; other parts refuse with -2015.
        allowed_ips: the client addresses that may use its keys, None for any; others are refused with -2015.
        uni_mmr: uniMMR when the exchange starts; prices then change it.
        holds_ethbtc: whether the account also holds ETHBTC, a contract that is settled in BTC.
    """

    label: str
    _: KW_ONLY
    seed: int = field(default=7, repr=False)
    account_type: AccountType = "PM_3"
    enabled: bool = True
    families: frozenset[str] = EVERY_FAMILY
    allowed_ips: frozenset[str] | None = None
    uni_mmr: str = "3.00"
    holds_ethbtc: bool = False

    @cached_property
    def hmac(self) -> Key:
        """Its HMAC key, the same for every run of a seed."""
        return Key("HMAC", self._key_seed)

    @cached_property
    def ed25519(self) -> Key:
        """Its Ed25519 key, the same for every run of a seed."""
        return Key("ED25519", self._key_seed)

    @cached_property
    def rsa(self) -> Key:
        """Its RSA key of 2048 bits, generated when first used."""
        return Key("RSA", self._key_seed)

    @property
    def keys(self) -> tuple[Key, Key, Key]:
        """All of its keys."""
        return (self.hmac, self.ed25519, self.rsa)

    @property
    def api_key(self) -> str:
        """The API key of its HMAC key."""
        return self.hmac.api_key

    @property
    def api_secret(self) -> str:
        """The secret of its HMAC key."""
        return self.hmac.secret

    @property
    def _key_seed(self) -> str:
        return f"{self.seed}:{self.label}"


# uniMMR at the start. The market falls for two minutes: several of these accounts cross a threshold meanwhile.
_STARTS = ("2.40", "1.56", "1.90", "3.20", "1.66", "1.28", "5.00", "1.12", "8.00", "2.10", "1.54", "12.00")


def make_accounts(count: int, *, seed: int) -> list[SimulatedAccount]:
    """Return SPAN accounts named ``account-01`` and so on, near and far from the thresholds."""
    starts = (_STARTS[number % len(_STARTS)] for number in range(count))
    return [
        SimulatedAccount(f"account-{number:02}", seed=seed, uni_mmr=start) for number, start in enumerate(starts, 1)
    ]
