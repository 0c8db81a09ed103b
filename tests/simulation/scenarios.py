"""The scenarios, as data: senders, their world, and the targets.

To add one, write a row into `SCENARIOS`: the tests and the table take it from there.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec

from binance_pm.budget import LimitType
from tests.simulation.measure import Targets
from tests.simulation.network import Network
from tests.simulation.server import Variants
from tests.simulation.traffic import Bursts, Demand, ExternalTraffic, Orders, Polling, Rescue

Row = Literal[
    "none",
    "alone",
    "steady",
    "bursty",
    "orders",
    "cold",
    "cold shared",
    "orders, restart",
    "orders, burst",
    "bursts",
    "fair",
    "restart",
    "clock",
    "shared",
    "redis lost",
]
"""The row of the printed table to which a scenario belongs."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One world."""

    name: str
    demand: tuple[Demand, ...]
    """The demand of each process."""
    demand_of_others: tuple[Demand, ...] | None = None
    """The demand of all processes but the first, if different."""
    targets: Targets
    row: Row = "none"
    external: ExternalTraffic = ExternalTraffic()
    variants: Variants = Variants()
    network: Network = Network()
    processes: int = 1
    """How many processes run on the machine, each with its own limiter."""
    shared: bool = False
    """Whether their limiters share their state."""
    instances: int = 1
    """Among how many processes a limiter divides the limit."""
    store_gone: tuple[float, float] = (math.inf, math.inf)
    """From when to when the shared store cannot be reached, in seconds from the start."""
    store_gone_every: float = math.inf
    """After how many seconds the outage repeats."""
    store_gone_for_first: tuple[float, float] = (math.inf, math.inf)
    """The same, for the first process only."""
    store_emptied: float | None = None
    """When the store restarts without its memory, in seconds from the start."""
    first_killed: tuple[float, ...] = ()
    """When the first process is killed and restarted, in seconds from the start."""
    restart_every: float | None = None
    """Seconds after which a process is killed and restarted."""
    wall_error: float = 0.0
    """By how many seconds the machine's wall clock is wrong."""
    wall_steps: tuple[tuple[float, float], ...] = ()
    """When the wall clock steps, in seconds from the start, and by how much."""
    minutes: int = 3
    """Duration of the test of the scenario; the table takes an hour."""


def saturating(accounts: int) -> Polling:
    """Return polls beyond the limit, of so many accounts."""
    return Polling(accounts=accounts, outstanding=max(1, 50 // accounts))


_ALL_OF_IT: Final = Targets(use=0.995)
_NEARLY: Final = Targets(use=0.99)
_SAFE: Final = Targets(use=0.9)
_BURSTY: Final = ExternalTraffic(steady=0.1, burst=200)
_STEADY: Final = ExternalTraffic(steady=0.3)
_PROMPT: Final = Targets(order_p99=0.2, order_max=0.5, use=0.985)
_TRADING: Final = (saturating(50), Orders(per_second=5))

SCENARIOS: Final = (
    *(
        Scenario(name=f"{number} accounts", demand=(saturating(number),), targets=_ALL_OF_IT, row="alone")
        for number in (1, 10, 100, 1000)
    ),
    Scenario(
        name="polls of many weights",
        demand=(Polling(accounts=50, weights=(1, 5, 20, 40)),),
        targets=_NEARLY,
    ),
    Scenario(
        name="foreign 10 %",
        demand=(saturating(50),),
        external=ExternalTraffic(steady=0.1),
        targets=_NEARLY,
        row="steady",
    ),
    Scenario(name="foreign 30 %", demand=(saturating(50),), external=_STEADY, targets=_NEARLY, row="steady"),
    Scenario(
        name="foreign bursts",
        demand=(saturating(50),),
        external=_BURSTY,
        targets=Targets(refusals=None, use=0.97),
        row="bursty",
    ),
    Scenario(name="orders among polls", demand=(saturating(50), Orders()), targets=_PROMPT, row="orders"),
    Scenario(
        name="orders among 1000 accounts",
        demand=(saturating(1000), Orders(per_second=5)),
        targets=_PROMPT,
        row="orders",
    ),
    Scenario(
        name="orders, foreign 30 %",
        demand=(saturating(50), Orders()),
        external=_STEADY,
        targets=Targets(order_p99=0.2, order_max=0.5, use=0.98),
        row="orders",
    ),
    Scenario(
        name="orders, cold starts",
        demand=_TRADING,
        # Every restart is in mid-minute, and many are in a minute that the process has used before.
        restart_every=47,
        targets=_PROMPT,
        row="cold",
    ),
    Scenario(
        name="orders, restarts",
        demand=_TRADING,
        restart_every=200,
        targets=Targets(order_p99=0.2, order_max=0.5, use=0.99),
        row="orders, restart",
        minutes=8,
    ),
    Scenario(
        name="orders, a foreign burst in mid-minute",
        demand=_TRADING,
        # A quarter of the limit within a second, 20 s into every other minute.
        external=ExternalTraffic(burst=1500, every=120.0),
        targets=Targets(order_p99=0.2, order_max=0.5, use=0.97),
        row="orders, burst",
        minutes=5,
    ),
    Scenario(
        name="orders, foreign bursts",
        demand=_TRADING,
        external=_BURSTY,
        targets=Targets(refusals=None, order_p99=0.2, order_max=0.5, use=0.97),
        row="orders, burst",
    ),
    Scenario(
        name="bursts of 300 polls",
        demand=(Bursts(),),
        targets=Targets(poll_p99=0.5),
        row="bursts",
        minutes=6,
    ),
    Scenario(
        name="a hog",
        demand=(Polling(accounts=15, hog=200),),
        targets=Targets(jain=0.99, use=0.99),
        row="fair",
        # At the start the bucket serves any call at once, and only one account has high demand.
        minutes=9,
    ),
    Scenario(
        name="restarts",
        demand=(saturating(50),),
        restart_every=200,
        targets=_NEARLY,
        row="restart",
        minutes=8,
    ),
    Scenario(
        name="restarts, foreign 30 %",
        demand=(saturating(50),),
        external=_STEADY,
        restart_every=200,
        targets=Targets(use=0.98),
        minutes=8,
    ),
    Scenario(
        name="rescue of 3000",
        demand=(saturating(50), Rescue()),
        targets=Targets(rescue_max=60.5, use=0.97),
        minutes=6,
    ),
    Scenario(name="clock 30 s wrong", demand=(saturating(50),), wall_error=30, targets=_NEARLY, row="clock"),
    Scenario(name="clock 30 s slow", demand=(saturating(50),), wall_error=-30, targets=_NEARLY, row="clock"),
    Scenario(
        name="clock steps",
        demand=(saturating(50),),
        wall_steps=((70, 45.0), (130, -90.0), (200, 3600.0)),
        minutes=4,
        targets=_NEARLY,
        row="clock",
    ),
    Scenario(name="lost answers", demand=(saturating(50),), network=Network(lost=0.01), targets=_SAFE),
    Scenario(
        name="slow answers",
        demand=(saturating(150),),
        network=Network(down=(0.005, 3.0)),
        targets=_SAFE,
    ),
    Scenario(
        name="slow requests",
        demand=(saturating(150),),
        network=Network(up=(0.005, 3.0)),
        targets=_SAFE,
    ),
    Scenario(
        name="refusals not counted",
        demand=(saturating(50),),
        external=_BURSTY,
        variants=Variants(refusals_count=False, retry_after="zero"),
        targets=Targets(refusals=None, use=0.97),
    ),
    Scenario(
        name="no headers",
        demand=(saturating(50),),
        variants=Variants(header_share=0.0),
        targets=_SAFE,
    ),
    Scenario(
        name="headers in half of the answers",
        demand=(saturating(50),),
        external=ExternalTraffic(steady=0.1),
        variants=Variants(header_share=0.5),
        targets=_SAFE,
    ),
    Scenario(
        name="edges disagree",
        demand=(saturating(50),),
        variants=Variants(edges=(-0.4, 0.0, 0.7)),
        targets=_SAFE,
    ),
    Scenario(
        name="rolling window",
        demand=(saturating(50),),
        variants=Variants(rolling=True),
        # Noticed at the first turn: nothing is sent until the burst has left the window, then half of the limit.
        targets=Targets(use=0.2),
    ),
    Scenario(
        name="few orders allowed",
        demand=(Orders(per_second=1.6, accounts=2),),
        variants=Variants(limits={("papi", LimitType.ORDERS): 60}),
        targets=Targets(order_max=60.5),
    ),
    Scenario(
        name="SAPI beside PAPI",
        demand=(saturating(50), Polling(accounts=20, path="/sapi/v1/portfolio/account", weights=(40,))),
        targets=_ALL_OF_IT,
    ),
    Scenario(
        name="four processes apart",
        demand=(saturating(20),),
        processes=4,
        targets=Targets(refusals=None, use=0.8),
    ),
    Scenario(
        name="four processes, a quarter each",
        demand=(saturating(20),),
        processes=4,
        instances=4,
        targets=_NEARLY,
    ),
    Scenario(
        name="four processes shared",
        demand=(saturating(20), Orders(per_second=0.5)),
        external=ExternalTraffic(steady=0.1),
        processes=4,
        shared=True,
        targets=Targets(order_p99=0.2, use=0.99),
        row="shared",
    ),
    Scenario(
        name="four processes, cold starts",
        demand=(saturating(20), Orders(per_second=1.25)),
        processes=4,
        shared=True,
        restart_every=47,
        targets=Targets(order_p99=0.2, use=0.99),
        row="cold shared",
    ),
    Scenario(
        name="four processes, store gone",
        demand=(saturating(20), Orders(per_second=0.5)),
        external=ExternalTraffic(steady=0.1),
        processes=4,
        shared=True,
        store_gone=(50, 110),
        targets=Targets(use=0.97),
        row="redis lost",
    ),
    Scenario(
        name="four processes, store gone over and over",
        demand=(saturating(20), Orders(per_second=0.5)),
        external=ExternalTraffic(steady=0.1),
        processes=4,
        shared=True,
        store_gone=(50, 52),
        store_gone_every=7,
        targets=Targets(use=0.9),
    ),
    Scenario(
        name="four processes, store gone for one",
        demand=(saturating(20), Orders(per_second=0.5)),
        external=ExternalTraffic(steady=0.1),
        processes=4,
        shared=True,
        store_gone_for_first=(50, 110),
        targets=Targets(use=0.97),
    ),
    Scenario(
        name="four processes, store emptied",
        demand=(saturating(20), Orders(per_second=0.5)),
        external=ExternalTraffic(steady=0.1),
        processes=4,
        shared=True,
        store_emptied=70,
        targets=Targets(use=0.98),
    ),
    Scenario(
        name="four processes, one killed",
        demand=(saturating(20), Orders(per_second=0.5)),
        external=ExternalTraffic(steady=0.1),
        processes=4,
        shared=True,
        first_killed=(70, 100),
        targets=Targets(use=0.98),
    ),
    Scenario(
        name="four processes, rescue of 3000",
        demand=(saturating(20), Rescue(every=(50.0, 60.0))),
        demand_of_others=(saturating(20),),
        processes=4,
        shared=True,
        targets=Targets(rescue_max=60.5, use=0.97),
        minutes=4,
    ),
    Scenario(
        name="four processes, one busy",
        demand=(saturating(50),),
        demand_of_others=(Orders(per_second=0.02),),
        processes=4,
        shared=True,
        targets=Targets(order_p99=0.2, use=0.985),
    ),
)
"""All scenarios."""
