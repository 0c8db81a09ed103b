"""What one call costs on this machine: CPU of our own part, piece by piece.

Run it with ``nox -s bench``. The transport answers at once and in memory, so that only our own work is counted:
the route of a call, the reservation and its settlement, the signature, and the decoding of the answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import statistics
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from email.utils import formatdate
from functools import partial
from itertools import islice
from typing import Final

import msgspec

from binance_pm import ENDPOINTS, Client, Session
from binance_pm.budget import Budget, Charge, Family, LimitType, Reservation, pool_of
from binance_pm.classify import classify
from binance_pm.errors import CallInfo
from binance_pm.signing import signer
from binance_pm.transport.http import HttpRequest, HttpResponse
from binance_pm.wire import encode_query
from tests.benchmarks.answering import Size, body_of, maker
from tests.benchmarks.verdicts import Ratio, print_ratios
from tests.simulation.virtual import run

ROUNDS = 7
CALLS = 1_000
DECODINGS = 100
POOLS = {"reserve and settle": (LimitType.IP,), "the same, two pools": (LimitType.IP, LimitType.ORDERS)}
SIGNING = "HMAC of the standard library"
TARGETS = {"reserve and settle": 1.5, "the same, two pools": 2.0}
"""In terms of the HMAC of a query by ``hmac.new``, which keeps no state."""
DECODING: Final[dict[Size, float]] = {"realistic": 1.0, "all change": 1.3}
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

    def __init__(self, body: bytes, now: Callable[[], float] = time.time) -> None:
        self._answers = answers_with(body, now)

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
    """Return each piece, in microseconds."""
    limits: dict[tuple[Family, LimitType], int] = {("papi", LimitType.IP): 10**9, ("papi", LimitType.ORDERS): 10**9}
    sign, query = signer("s" * 64), {"recvWindow": 5000, "timestamp": 1_780_000_000_000}
    payload, small, realistic = encode_query(query).encode(), body_of("small"), body_of("realistic")
    decode = ENDPOINTS["um_account"].decode

    async def digested() -> None:
        hmac.new(b"s" * 64, payload, hashlib.sha256).hexdigest()

    async def signed() -> None:
        sign(payload)

    async def encoded() -> None:
        encode_query(query)

    async def decoded() -> None:
        decode(small)

    results = {SIGNING: await cpu_microseconds(digested), "sign": await cpu_microseconds(signed)}
    for name, kinds in POOLS.items():
        results[name] = await reserving(Budget(limits=limits), kinds)
    results["encode a query"] = await cpu_microseconds(encoded)
    results["decode, 1 position"] = await cpu_microseconds(decoded)
    for name, body in (("1 position", small), ("600 positions, unchanged", realistic)):
        session = Session(budget=Budget(limits=limits))
        async with session, Client("k" * 64, "s" * 64, session=session) as client:
            vars(session)["_transport"] = Instant(body)
            results[f"whole call, {name}"] = await cpu_microseconds(client.um_account)
    return results


async def reserving(budget: Budget, kinds: tuple[LimitType, ...]) -> float:
    """Return the microseconds of a reservation and its settlement."""
    path = "/papi/v2/um/account"
    charges = tuple(Charge(pool_of("papi", kind, origin="h", path=path, key_id="a"), 5) for kind in kinds)
    answers = deque(classify(CALL, it).feedback for it in islice(answers_with(b"{}"), ROUNDS * CALLS))

    async def reserve() -> None:
        reservation: Reservation
        async with budget.reserve(charges, call=CALL, max_wait=1) as reservation:
            reservation.mark_sent()
            reservation.settle(answers.popleft())

    return await cpu_microseconds(reserve)


def decoding_ratio(size: Size) -> float:
    """Return what decoding a response takes, in terms of what msgspec takes for the same type."""
    make, endpoint = maker(size), ENDPOINTS["um_account"]
    msgspec_alone = msgspec.json.Decoder(endpoint.returns).decode

    def seconds(decode: Callable[[bytes], object], body: bytes) -> float:
        began = time.process_time()
        decode(body)
        return time.process_time() - began

    # In turns, as the machine's speed changes.
    bodies = map(make, range(DECODINGS))
    return statistics.median(seconds(endpoint.decode, body) / seconds(msgspec_alone, body) for body in bodies)


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
    """Print the tables."""
    pieces = asyncio.run(measure())
    for waiters in WAITERS:
        pieces[f"each of {waiters:,} waiting calls"] = run(partial(wait_in_line, waiters), start=EPOCH)
    print("| step of a call | CPU µs |")
    print("|---|---:|")
    for name, microseconds in pieces.items():
        print(f"| {name} | {microseconds:,.1f} |")
    print()
    figures = [Ratio(name, SIGNING, most, pieces[name] / pieces[SIGNING]) for name, most in TARGETS.items()]
    figures += [
        Ratio("decode", f"{size}, to msgspec alone", most, decoding_ratio(size)) for size, most in DECODING.items()
    ]
    print_ratios(figures)


if __name__ == "__main__":
    main()
