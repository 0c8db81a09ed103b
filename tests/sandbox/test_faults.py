"""Faults are data: they match, run out, combine as told and travel as JSON."""

from __future__ import annotations

import msgspec
import pytest

from binance_pm.sandbox import Fault
from binance_pm.sandbox.faults import NO_FAULT, FaultQueue
from binance_pm.sandbox.messages import Reply

PING = "/papi/v1/ping"


def armed(*faults: Fault) -> FaultQueue:
    """A list with these faults."""
    one = FaultQueue()
    for fault in faults:
        one.add(fault)
    return one


@pytest.mark.parametrize(
    ("fault", "strikes"),
    [
        (Fault(), True),
        (Fault(path=PING), True),
        (Fault(path="/papi/v1/time"), False),
        (Fault(account="account-01"), True),
        (Fault(account="key"), True),
        (Fault(account="account-02"), False),
        (Fault(path=PING, account="account-02"), False),
        (Fault(skew=1), False),
    ],
)
def test_strikes_what_it_names(fault: Fault, *, strikes: bool) -> None:
    """A fault strikes requests of its path and of its account, by label or key."""
    assert fault.matches("GET", PING, ("account-01", "key")) is strikes


def test_strikes_nobody_by_name_without_a_key() -> None:
    """A fault of an account leaves requests without a key alone."""
    assert not Fault(account="account-01").matches("GET", PING, ())


def test_strikes_once_by_default() -> None:
    """A fault is used up by the first request."""
    faults = armed(Fault(status=500))
    faults.take("GET", PING, ())

    assert faults.take("GET", PING, ()) is NO_FAULT


def test_strikes_as_often_as_told() -> None:
    """A fault of three times shows how often it is left."""
    faults = armed(Fault(status=500, times=3))

    faults.take("GET", PING, ())

    assert faults.faults == (Fault(status=500, times=2),)


def test_may_never_run_out() -> None:
    """A fault without an end stays as it is."""
    faults = armed(Fault(status=500, times=None))

    faults.take("GET", PING, ())

    assert faults.faults == (Fault(status=500, times=None),)


def test_the_first_that_matches_applies() -> None:
    """Faults wait in line, and those of other paths are passed over."""
    first, second = Fault(path="/papi/v1/time"), Fault(status=502)
    faults = armed(first, second, Fault(status=503))

    assert faults.take("GET", PING, ()) == second


def test_cleared() -> None:
    """After clearing nothing is armed."""
    faults = armed(Fault(times=None), Fault(skew=1))

    faults.clear()

    assert (faults.faults, faults.skew) == ((), 0)


def test_skews_add_up() -> None:
    """Two skews are one larger one."""
    assert armed(Fault(skew=1.5), Fault(skew=-0.5)).skew == 1.0


@pytest.mark.parametrize(
    "fault",
    [
        Fault(),
        Fault(path=PING, account="account-01", times=None, effect=False, delay=1, delay_after=2, drop=True),
        Fault(status=503, code=-1008, msg="busy", headers={"Retry-After": "1", "Date": None}, cut=3),
        Fault(body=b"\x00\xff"),
        Fault(skew=-2.5, external_usage={"papi": 0.3}),
    ],
)
def test_travels_as_json(fault: Fault) -> None:
    """A fault is the same after a journey through JSON."""
    assert msgspec.json.decode(msgspec.json.encode(fault), type=Fault) == fault


def test_defaults_are_not_sent() -> None:
    """JSON holds only what a fault says."""
    assert msgspec.json.encode(Fault(status=503)) == b'{"status":503}'


def test_misspelt_fields_are_refused() -> None:
    """A field that does not exist is an error, not a fault that does nothing."""
    with pytest.raises(msgspec.ValidationError, match="stauts"):
        msgspec.json.decode(b'{"stauts": 503}', type=Fault)


@pytest.mark.parametrize("other", [{"path": PING}, {"account": "account-01"}, {"status": 503}, {"delay": 1.0}])
def test_states_of_the_exchange_stand_alone(other: dict[str, str | int | float]) -> None:
    """A skew that seems to be of one request only is refused."""
    with pytest.raises(ValueError, match="skew"):
        msgspec.convert({"skew": 1.0, **other}, Fault)


@pytest.mark.parametrize("times", [0, -1])
def test_strikes_at_least_once(times: int) -> None:
    """A fault that never strikes is refused."""
    with pytest.raises(ValueError, match="times"):
        Fault(times=times)


REPLY = Reply(headers={"Content-Type": "text/plain", "Date": "noon"}, body=b"real")


@pytest.mark.parametrize(
    ("fault", "spoilt"),
    [
        (NO_FAULT, b"real"),
        (Fault(body=b""), b""),
        (Fault(code=-1, msg="no"), b'{"code":-1,"msg":"no"}'),
        (Fault(msg="no"), b'{"msg":"no"}'),
        (Fault(code=-1), b'{"code":-1}'),
        (Fault(status=503), b"real"),
    ],
)
def test_bodies(fault: Fault, spoilt: bytes) -> None:
    """The body is the fault's where it has one."""
    assert fault.apply(REPLY).body == spoilt


def test_headers_are_replaced_and_taken_away() -> None:
    """Headers are named in any case; None takes one away."""
    spoilt = Fault(headers={"content-type": "text/html", "DATE": None, "X-More": "1"}).apply(REPLY)

    assert spoilt.headers == {"content-type": "text/html", "X-More": "1"}
