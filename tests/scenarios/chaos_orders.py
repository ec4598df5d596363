"""The orders of a chaos run: the kinds, the share of each, and what must hold for every order at the end."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from tests.scenarios.order_log import OUTCOMES, TRACKED, OrderLog

Step = tuple[float, str, dict[str, Any]]  # seconds after the send, status, further fields


@dataclass
class Order(OrderLog):
    """One order, and how it is made."""

    number: str
    service: str = ""  # `mobile`, `ADSL` or `4G`: the order is sent to the vendor …
    direct: dict[str, Any] = field(default_factory=dict)  # … or made in the sandbox by this body, with a timeline of its own
    start: str = ""  # how the tracker learns of the order, and what starts its pollers
    at: float = 0.0  # seconds after the start of the run
    linked: list["Order"] = field(default_factory=list)  # orders that the tracker learns of by a link only
    is_known: bool = False  # the tracker has accepted the order

    def check(self, truth: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Compares the events and the stored item with the sandbox's timeline."""
        self.check_numbering()
        kinds = self.kinds()
        if kinds.count(TRACKED) != 1 or kinds[0] != TRACKED:
            self.problems.append(f"events were {', '.join(kinds) or 'none'}")
        for event in self.events_in_order():
            stated = [moment["at"] for moment in truth["timeline"] if moment["status"] == OUTCOMES.get(event.kind)]
            if event.kind in OUTCOMES and not any(datetime.fromisoformat(at) <= datetime.fromisoformat(event.detail["occurred_at"]) for at in stated):
                self.problems.append(f"{event.kind} without such a status at the vendor")
        outcomes = [OUTCOMES[kind] for kind in kinds if kind in OUTCOMES]
        if outcomes != [truth["ends_as"]]:
            self.problems.append(f"outcomes published: {', '.join(outcomes) or 'none'}; the vendor's last status: {truth['ends_as']}")
        if record.get("outcome", {}).get("S") != truth["ends_as"].lower():
            self.problems.append(f"stored as {record.get('phase', {}).get('S')} {record.get('outcome', {}).get('S')}")
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


def digits(rng: random.Random, first: str, count: int) -> str:
    """A number: 0, one of the digits `first`, and `count` random ones."""
    return f"0{rng.choice(first)}{''.join(rng.choices('0123456789', k=count))}"


def sent(kind: str, rng: random.Random, service: str, number: str = "") -> Order:
    """An order that is sent, to a special number of the sandbox or to an ordinary one."""
    if service == "mobile":
        return Order(kind, "mobile", number or digits(rng, "567", 8), service)
    return Order(kind, "internet", number or digits(rng, "2345", 7), service)


def timed(kind: str, rng: random.Random, product: str, *steps: Step) -> Order:
    """An order with this timeline. The fields `CARD` become a random card."""
    number, plan = (digits(rng, "567", 8), {"plan_code": "PREPAID_DJEZZY"}) if product == "mobile" else (digits(rng, "3", 7), {"type": "ADSL"})
    card = {"card_code": digits(rng, "123456789", 10), "num_trans": f"AT-2026-{digits(rng, '123456789', 3)}"}
    timeline = [{"after_seconds": after, "status": status, "fields": card if fields == CARD else fields} for after, status, fields in steps]
    return Order(kind, product, number, direct={"product": product, "id": f"{rng.getrandbits(96):024x}", "number": number, "amount": 500,
                                                "timeline": timeline, **plan})


def chain(kind: str, rng: random.Random, link: str, *timelines: tuple[Step, ...]) -> Order:
    """Mobile orders that each name the next one, from their second step on; only the first is made known to the tracker."""
    first, *others = orders = [timed(kind, rng, "mobile", *steps) for steps in timelines]
    for order, following in pairwise(orders):
        for step in order.direct["timeline"][1:]:
            step["fields"] = {**step["fields"], link: following.direct["id"]}
    first.linked = others
    return first


CARD = {"card": "random"}
HANDLING, FULFILLED = "HANDLING", "FULFILLED"
MESSAGE = {"refund_message": "الرصيد المطلوب غير متوفر لهذا الرقم"}
DOUBT = {"refund_message": "هذه العملية حالتها غير معروفة، يرجى التأكد مع عميلك"}
# Share in percent, and how the order is made. tests/sandbox/README.md lists the special numbers.
KINDS: dict[str, tuple[float, Callable[..., Order], tuple[Any, ...]]] = {
    "mobile, ordinary": (33, sent, ("mobile",)),
    "mobile, refunded": (8, sent, ("mobile", "0600000001")),
    "mobile, refunded with offers": (6, sent, ("mobile", "0600000002")),
    "mobile, uncertain then fulfilled": (5, sent, ("mobile", "0600000003")),
    "mobile, uncertain then refunded": (
        3, timed, ("mobile", (0, "PENDING", {}), (5, HANDLING, {}), (15, "UNKNOWN_ERROR", DOUBT), (45, "REFUNDED", MESSAGE))),
    "mobile, unknown to the vendor at first": (2, timed, ("mobile", (9, HANDLING, {}), (20, FULFILLED, {}))),
    "mobile, unknown for longer than the grace": (2, timed, ("mobile", (40, HANDLING, {}), (60, "REFUNDED", MESSAGE))),
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
    "linked, retried after a refund": (0.5, chain, ("retry_orderid", ((0, HANDLING, {}), (12, "REFUNDED", MESSAGE)),
                                                    ((12, HANDLING, {}), (40, FULFILLED, {})))),
}
