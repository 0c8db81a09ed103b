"""What one call costs on this machine: CPU of our own part, piece by piece.

Run it with ``nox -s bench``. The transport answers at once and in memory, so that only our own work is counted:
the route of a call, the reservation and its settlement, the signature, and the decoding of the answer.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from email.utils import formatdate
from functools import partial
from itertools import islice

import msgspec

from binance_pm import ENDPOINTS, Client, Session
from binance_pm.budget import Budget, Charge, Family, LimitType, Reservation, pool_of
from binance_pm.classify import classify
from binance_pm.errors import CallInfo
from binance_pm.signing import signer
from binance_pm.transport.http import HttpRequest, HttpResponse
from binance_pm.wire import encode_query
from tests.benchmarks.answering import LARGE, SMALL, body_of
from tests.simulation.virtual import run

ROUNDS = 7
CALLS = 1_000
DECODINGS = 100
TARGETS = {"reserve and settle": 20.0, "whole call, 1 position": 60.0}
DECODING_TARGET = 1.1
WAITERS = 1_000, 10_000
# Any minute's start does.
CALL = CallInfo("um_account")
EPOCH = 1_800_000_000.0


def answers_with(body: bytes, now: Callable[[], float] = time.time) -> Iterator[HttpResponse]:
    """Answers of an exchange that counts 5 with each, minute by minute."""
    minute, used = 0, 0
    while True:
        if now() // 60 != minute:
            minute, used = now() // 60, 0
        used += 5
        yield HttpResponse(200, {"date": formatdate(now(), usegmt=True), "x-mbx-used-weight-1m": str(used)}, body)


class Instant:
    """A transport that answers at once."""

    def __init__(self, body: bytes) -> None:
        self._answers = answers_with(body)

    async def send(self, request: HttpRequest, departing: Callable[[], None]) -> HttpResponse:
        """The next answer."""
        del request
        departing()
        return next(self._answers)

    async def aclose(self) -> None:
        """Nothing is open."""


async def cpu_microseconds(work: Callable[[], Awaitable[object]]) -> float:
    """CPU time of one piece of work: the fastest of some rounds, for whatever disturbs them only adds."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            await work()
        rounds.append((time.process_time() - began) / CALLS * 1e6)
    return min(rounds)


async def measure() -> dict[str, float]:
    """Each piece, in microseconds."""
    limits: dict[tuple[Family, LimitType], int] = {("papi", LimitType.IP): 10**9}
    sign = signer("s" * 64)
    charges = (Charge(pool_of("papi", LimitType.IP, origin="h", path="/papi/v2/um/account", key_id="a"), 5),)
    budget = Budget(limits=limits)
    small, large = body_of(SMALL), body_of(LARGE)
    answers = deque(classify(CALL, it).feedback for it in islice(answers_with(small), ROUNDS * CALLS))
    decode = ENDPOINTS["um_account"].decode

    async def reserve() -> None:
        reservation: Reservation
        async with budget.reserve(charges, call=CALL, max_wait=1) as reservation:
            reservation.mark_sent()
            reservation.settle(answers.popleft())

    async def signed() -> None:
        sign(encode_query({"recvWindow": 5000, "timestamp": 1_780_000_000_000}).encode())

    async def decoded() -> None:
        decode(small)

    results = {"reserve and settle": await cpu_microseconds(reserve)}
    results["encode and sign (HMAC)"] = await cpu_microseconds(signed)
    results["decode, 1 position"] = await cpu_microseconds(decoded)
    for name, body in (("1 position", small), ("600 positions", large)):
        session = Session(budget=Budget(limits=limits))
        async with session, Client("k" * 64, "s" * 64, session=session) as client:
            vars(session)["_transport"] = Instant(body)
            results[f"whole call, {name}"] = await cpu_microseconds(client.um_account)
    return results


def decoding_ratio() -> float:
    """What decoding 600 positions takes, in terms of what msgspec takes for the same type."""
    body, endpoint = body_of(LARGE), ENDPOINTS["um_account"]
    msgspec_alone = msgspec.json.Decoder(endpoint.returns).decode

    def seconds(decode: Callable[[bytes], object]) -> float:
        began = time.process_time()
        decode(body)
        return time.process_time() - began

    # In turns, as the machine's speed changes.
    pairs = [(seconds(endpoint.decode), seconds(msgspec_alone)) for _ in range(DECODINGS)]
    return min(ours for ours, _ in pairs) / min(alone for _, alone in pairs)


async def wait_in_line(waiters: int) -> float:
    """CPU microseconds of each of so many calls that wait at once, from joining the queue until it is answered.

    The time is virtual: they are served in as many minutes as the limit takes.
    """
    now = asyncio.get_running_loop().time
    budget = Budget(monotonic=now, wall=now)
    answers = answers_with(b"", now=now)

    async def call(number: int) -> None:
        account = str(number)
        charge = Charge(pool_of("papi", LimitType.IP, origin="h", path="/papi/v2/um/account", key_id=account), 5)
        async with budget.reserve((charge,), call=CallInfo("um_account", account), max_wait=math.inf) as reservation:
            reservation.mark_sent()
            await asyncio.sleep(0.05)
            reservation.settle(classify(CALL, next(answers)).feedback)

    began = time.process_time()
    await asyncio.gather(*map(call, range(waiters)))
    return (time.process_time() - began) / waiters * 1e6


def main() -> None:
    """Print the table."""
    for name, microseconds in asyncio.run(measure()).items():
        aim = TARGETS.get(name)
        verdict = f"   at most {aim:g} us: {'met' if microseconds <= aim else 'missed'}" if aim else ""
        print(f"{name:<28}{microseconds:>9.1f} us{verdict}")
    ratio = decoding_ratio()
    verdict = "met" if ratio <= DECODING_TARGET else "missed"
    print(f"{'decode, 600 positions':<28}{ratio:>9.2f} times msgspec alone   at most {DECODING_TARGET:g}: {verdict}")
    few, many = (run(partial(wait_in_line, waiters), start=EPOCH) for waiters in WAITERS)
    print(f"{f'each of {WAITERS[0]:,} waiters':<28}{few:>9.1f} us")
    print(f"{f'each of {WAITERS[1]:,} waiters':<28}{many:>9.1f} us")


if __name__ == "__main__":
    main()
