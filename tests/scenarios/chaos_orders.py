"""The orders of a chaos run: the kinds, the share of each, and what must hold for every order at the end."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tests.scenarios.order_log import REFUND, PlannedOrder, card, for_sandbox, phone_number, step

Step = tuple[float, str, dict[str, Any]]  # seconds after the send, status, further fields


@dataclass
class Order(PlannedOrder):
    """One order, and how it is made: sent to the vendor, or in the sandbox with a timeline of its own."""

    number: str
    service: str = ""  # `mobile`, `ADSL` or `4G` for an order that is sent
    start: str = ""  # how the tracker learns of the order, and what starts its pollers
    linked: list["Order"] = field(default_factory=list)  # orders that the tracker learns of by a link only

    def check(self, truth: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Compares the events and the stored item with the sandbox's timeline, now that every order has ended."""
        super().check(truth, record)
        if self.outcome() is None:
            self.problems.append("no outcome was published")
        if truth.get("card_code") and "card_ciphertext" not in record:
            self.problems.append("its card is not stored")


def make_orders(count: int, seconds: float, rng: random.Random) -> list[Order]:
    """`count` orders over `seconds`: one of every kind first, the rest by share."""
    kinds = list(KINDS)
    chosen = kinds[:count] + rng.choices(kinds, [kind[0] for kind in KINDS.values()], k=max(count - len(kinds), 0))
    orders = [KINDS[kind][1](kind, rng, *KINDS[kind][2]) for kind in chosen]
    for order in orders:
        order.at = rng.uniform(0, seconds)
        order.start = rng.choice(("PUT, StartExecution", "PUT, Top-up Sent", "Top-up Sent, StartExecution, PUT"))
    return sorted(orders, key=lambda order: order.at)


def sent(kind: str, rng: random.Random, service: str, number: str = "") -> Order:
    """An order that is sent, to a special number of the sandbox or to an ordinary one."""
    product = "mobile" if service == "mobile" else "internet"
    return Order(kind, product, number or phone_number(product, rng), service)


def timed(kind: str, rng: random.Random, product: str, *steps: Step) -> Order:
    """An order with this timeline. The fields `CARD` become a random card."""
    number, delivered = phone_number(product, rng), card(rng)
    timeline = [step(after, status, delivered if fields == CARD else fields) for after, status, fields in steps]
    return Order(kind, product, number, direct=for_sandbox(product, f"{rng.getrandbits(96):024x}", number, "", timeline))


def chain(kind: str, rng: random.Random, link: str, *timelines: tuple[Step, ...]) -> Order:
    """Mobile orders that each name the next one, from their second step on; only the first is made known to the tracker."""
    first, *others = orders = [timed(kind, rng, "mobile", *steps) for steps in timelines]
    for order, following in pairwise(orders):
        for later in order.direct["timeline"][1:]:
            later["fields"][link] = following.direct["id"]
    first.linked = others
    return first


CARD = {"card": "random"}
HANDLING, FULFILLED = "HANDLING", "FULFILLED"
DOUBT = {"refund_message": "هذه العملية حالتها غير معروفة، يرجى التأكد مع عميلك"}
# Share in percent, and how the order is made. tests/sandbox/README.md lists the special numbers.
KINDS: dict[str, tuple[float, Callable[..., Order], tuple[Any, ...]]] = {
    "mobile, ordinary": (33, sent, ("mobile",)),
    "mobile, refunded": (8, sent, ("mobile", "0600000001")),
    "mobile, refunded with offers": (6, sent, ("mobile", "0600000002")),
    "mobile, uncertain then fulfilled": (5, sent, ("mobile", "0600000003")),
    "mobile, uncertain then refunded": (
        3, timed, ("mobile", (0, "PENDING", {}), (5, HANDLING, {}), (15, "UNKNOWN_ERROR", DOUBT), (45, "REFUNDED", REFUND))),
    "mobile, unknown to the vendor at first": (2, timed, ("mobile", (9, HANDLING, {}), (20, FULFILLED, {}))),
    "mobile, unknown for longer than the grace": (2, timed, ("mobile", (40, HANDLING, {}), (60, "REFUNDED", REFUND))),
    "mobile, an unrecognised status in between": (2, timed, ("mobile", (0, HANDLING, {}), (6, "SENT_TO_OPERATOR", {}), (30, FULFILLED, {}))),
    "ADSL with a card": (12, sent, ("ADSL",)),
    "4G with a card": (8, sent, ("4G",)),
    "ADSL, refunded": (4, sent, ("ADSL", "036000002")),
    "ADSL, queued then fulfilled": (5, sent, ("ADSL", "036000001")),
    "ADSL, queued then refunded": (3, sent, ("ADSL", "036000005")),
    "ADSL, the card comes late": (3, sent, ("ADSL", "036000004")),
    "ADSL, slower than the poll deadline": (2, sent, ("ADSL", "036000003")),
    "ADSL, queued, in flight again, fulfilled": (
        1, timed, ("internet", (0, HANDLING, {}), (8, "QUEUED", {}), (45, HANDLING, {}), (120, FULFILLED, CARD))),
    "linked, redirected twice": (0.5, chain, ("follow_orderid", ((0, HANDLING, {}), (5, HANDLING, {}), (45, FULFILLED, {})),
                                              ((0, HANDLING, {}), (5, HANDLING, {}), (50, FULFILLED, {})), ((0, HANDLING, {}), (55, FULFILLED, {})))),
    "linked, retried after a refund": (0.5, chain, ("retry_orderid", ((0, HANDLING, {}), (12, "REFUNDED", REFUND)),
                                                    ((12, HANDLING, {}), (40, FULFILLED, {})))),
}
