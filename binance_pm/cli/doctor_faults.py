"""The faults that ``binance-pm doctor --sandbox`` can inject into the local exchange."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from cyclopts import CycloptsError

from binance_pm.sandbox import Fault, StreamFault


def _refuse(code: int, message: str, *paths: str, status: int = 400) -> tuple[Fault, ...]:
    return tuple(Fault(path=path, status=status, code=code, msg=message, times=None) for path in paths)


_PAPI: Final = "/papi/v1/account"
_SAPI: Final = ("/sapi/v2/portfolio/account", "/sapi/v1/portfolio/account")
_REFUSED_KEY: Final = "Invalid API-key, IP, or permissions for action."
_IN_DANGER: Final = (
    b'{"uniMMR":"1.30","accountEquity":"1300","actualEquity":"1300","accountInitialMargin":"1500",'
    b'"accountMaintMargin":"1000","accountStatus":"MARGIN_CALL","accountType":"PM_3","virtualMaxWithdrawAmount":"0",'
    b'"totalAvailableBalance":"","totalMarginOpenLoss":"","riskUnitMMList":[],"marginMM":"0","otherMM":"0",'
    b'"updateTime":0}'
)

FAULTS: Final[Mapping[str, tuple[Fault, ...]]] = {
    "clock": (Fault(skew=300),),
    # The first call opens the connection; the second is measured.
    "slow": (Fault(path="/papi/v1/time"), Fault(path="/papi/v1/time", delay=1.2)),
    "silent": (Fault(drop=True, times=None),),
    "place": (Fault(status=451, body=b"", times=None),),
    "portal": (Fault(body=b"<html>Welcome to our hotel</html>", times=None),),
    "key": _refuse(-2014, "API-key format invalid.", _PAPI, *_SAPI, status=401),
    "permission": _refuse(-2015, _REFUSED_KEY, _PAPI, *_SAPI, status=401),
    "signature": _refuse(-1022, "Signature for this request is not valid.", _PAPI, *_SAPI),
    "timestamp": _refuse(-1021, "Timestamp for this request is outside of the recvWindow.", _PAPI, *_SAPI),
    "product": (
        *_refuse(-2015, _REFUSED_KEY, _PAPI, status=401),
        *_refuse(-21001, "Request ID is not a Portfolio Margin Account.", *_SAPI),
    ),
    "external": (Fault(path=_PAPI, headers={"x-mbx-used-weight-1m": "4000"}),),
    "danger": tuple(Fault(path=path, body=_IN_DANGER) for path in (_PAPI, *_SAPI)),
    "limit": (Fault(status=429, code=-1003, msg="Too many requests.", headers={"Retry-After": "30"}, times=None),),
    "ban": (Fault(status=418, code=-1003, msg="Way too many requests.", headers={"Retry-After": "120"}, times=None),),
}
"""Faults that can be injected into the local exchange, by name."""

_LISTEN_KEY: Final = "/papi/v1/listenKey"

STREAM_FAULTS: Final[Mapping[str, tuple[Fault | StreamFault, ...]]] = {
    "listen_key": (Fault(method="POST", path=_LISTEN_KEY, status=503, effect=False, times=None),),
    # The first POST returns the active key, and every later POST another key.
    "other_key": (
        Fault(method="POST", path=_LISTEN_KEY),
        Fault(method="POST", path=_LISTEN_KEY, body=b'{"listenKey":"other"}', times=None),
    ),
    "keepalive": (
        Fault(
            method="PUT", path=_LISTEN_KEY, status=400, code=-1125, msg="This listenKey does not exist.", effect=False
        ),
    ),
    "break": (StreamFault(kind="break", connections="oldest"),),
    "half_open": (StreamFault(kind="half_open", connections="newest"),),
    "one_silent": (StreamFault(kind="silent", connections="oldest"),),
    "garbage": (StreamFault(kind="garbage"),),
    "delete_key": (StreamFault(kind="delete_key"),),
    "expire_key": (StreamFault(kind="expire_key"),),
}
"""Faults of user data streams, by name; a `StreamFault` is applied when both connections are open."""


def faults_of(name: str, *, stream: bool) -> tuple[Fault | StreamFault, ...]:
    """Return the faults with a name, or the fault given as JSON.

    Raises:
        CycloptsError: there is no such fault, or it has no effect without ``stream``.
    """
    if name.startswith("{"):
        found = (_fault_of(name),)
    elif name in FAULTS:
        return FAULTS[name]
    elif name in STREAM_FAULTS:
        found = STREAM_FAULTS[name]
        if not stream:
            raise CycloptsError(msg=f"--fault {name} has no effect without --stream.")
    else:
        known = ", ".join([*FAULTS, *STREAM_FAULTS])
        raise CycloptsError(msg=f"Unknown fault {name!r}: use {known}, or a Fault or StreamFault as JSON.")
    if not stream and any(isinstance(fault, StreamFault) for fault in found):
        raise CycloptsError(msg="--fault: a StreamFault has no effect without --stream.")
    return found


def _fault_of(text: str) -> Fault | StreamFault:
    # Only a `StreamFault` has a kind.
    kind = StreamFault if '"kind"' in text else Fault
    try:
        return msgspec.json.decode(text, type=kind)
    except ValueError as error:
        raise CycloptsError(msg=f"--fault: {error}") from None
