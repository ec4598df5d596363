"""The orders of a chaos run: of which kinds, how many of each, and what must hold of every one at its end."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Callable, Mapping

from tests.scenarios.order_log import OUTCOMES, TRACKED, OrderLog

LINKED = "linked"  # the kinds of linked orders begin with it
STARTS = ("PUT, StartExecution", "PUT, Top-up Sent", "Top-up Sent, StartExecution, PUT")
REFUSED = "الرصيد المطلوب غير متوفر لهذا الرقم"
UNSURE = "هذه العملية حالتها غير معروفة، يرجى التأكد مع عميلك"


@dataclass
class Order(OrderLog):
    """One order, and how it comes about."""

    send: dict[str, Any] = field(default_factory=dict)  # the vendor is sent this …
    direct: dict[str, Any] = field(default_factory=dict)  # … or the sandbox is given this, with a timeline of its own
    number: str = ""
    start: str = ""  # how the tracker hears of it, and who starts its two pollers
    at: float = 0.0  # seconds after the run's start
    linked: list[Order] = field(default_factory=list)  # orders that the shop does not know; only a link leads to them
    is_known: bool = False  # the tracker has taken it

    def check(self, truth: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Compares what was announced and stored with the sandbox's truth."""
        self.check_numbering()
        events = self.events_in_order()
        kinds = [event.kind for event in events]
        if kinds.count(TRACKED) != 1 or kinds[:1] != [TRACKED]:
            self.problems.append(f"events were {', '.join(kinds) or 'none'}")
        for event in events:
            stated = [moment["at"] for moment in truth["timeline"] if moment["status"] == OUTCOMES.get(event.kind)]
            if event.kind in OUTCOMES and not any(time_of(at) <= time_of(event.detail["occurred_at"]) for at in stated):
                self.problems.append(f"{event.kind}, which the vendor had not stated")
        outcomes = [OUTCOMES[kind] for kind in kinds if kind in OUTCOMES]
        if outcomes != [truth["ends_as"]]:
            self.problems.append(f"outcomes announced: {', '.join(outcomes) or 'none'}; the vendor ended with {truth['ends_as']}")
        if record.get("outcome", {}).get("S") != truth["ends_as"].lower():
            self.problems.append(f"stored as {record.get('phase', {}).get('S')} {record.get('outcome', {}).get('S')}")
        if truth.get("card_code") and "card_ciphertext" not in record:
            self.problems.append("its card is not stored")


def shop(count: int, seconds: float, rng: random.Random) -> list[Order]:
    """So many orders, spread over so many seconds: one of every kind first, the rest by share."""
    kinds = list(KINDS)
    chosen = kinds[:count] + rng.choices(kinds, [KINDS[kind][0] for kind in kinds], k=max(count - len(kinds), 0))
    orders = [KINDS[kind][1](kind, rng) for kind in chosen]
    for order in orders:
        order.at = rng.uniform(0, seconds)
        order.start = rng.choice(STARTS)
    return sorted(orders, key=lambda order: order.at)


def time_of(moment: str) -> datetime:
    """An RFC 3339 time."""
    return datetime.fromisoformat(moment.replace("Z", "+00:00"))


def digits(rng: random.Random, count: int) -> str:
    """So many random digits."""
    return "".join(rng.choices("0123456789", k=count))


def mobile(number: str = "") -> Callable[[str, random.Random], Order]:
    """A mobile order that is sent; without a number, any ordinary one."""
    def make(kind: str, rng: random.Random) -> Order:
        chosen = number or f"0{rng.choice('567')}{digits(rng, 8)}"
        return Order(kind, "mobile", number=chosen, send={"plan_code": "PREPAID_DJEZZY", "MSSIDN": chosen, "amount": 500})
    return make


def internet(service: str, number: str = "") -> Callable[[str, random.Random], Order]:
    """An internet order that is sent."""
    def make(kind: str, rng: random.Random) -> Order:
        chosen = number or f"0{rng.choice('2345')}{digits(rng, 7)}"
        return Order(kind, "internet", number=chosen, send={"type": service, "number": chosen, "value": 1000})
    return make


def direct(product: str, *steps: tuple[float, str, dict[str, Any]]) -> Callable[[str, random.Random], Order]:
    """An order whose timeline is our own: seconds, status, further fields. `card` stands for a card of its own."""
    def make(kind: str, rng: random.Random) -> Order:
        number = f"0{rng.choice('567')}{digits(rng, 8)}" if product == "mobile" else f"036{digits(rng, 6)}"
        card = {"card_code": digits(rng, 12), "num_trans": f"AT-2026-{digits(rng, 5)}"}
        timeline = [{"after_seconds": after, "status": status, "fields": card if fields == CARD else fields} for after, status, fields in steps]
        body = {"product": product, "id": f"{rng.getrandbits(96):024x}", "number": number, "amount": 500, "timeline": timeline,
                **({"plan_code": "PREPAID_DJEZZY"} if product == "mobile" else {"type": "ADSL"})}
        return Order(kind, product, direct=body, number=number)
    return make


def chain(link: str, *orders: Callable[[str, random.Random], Order]) -> Callable[[str, random.Random], Order]:
    """Orders of which each names the next, from its second step on; the shop knows the first."""
    def make(kind: str, rng: random.Random) -> Order:
        made = [make_one(kind, rng) for make_one in orders]
        for order, following in zip(made, made[1:]):
            for step in order.direct["timeline"][1:]:
                step["fields"] = {**step["fields"], link: following.direct["id"]}
        made[0].linked = made[1:]
        return made[0]
    return make


CARD = {"card": "its own"}
MESSAGE, DOUBT = {"refund_message": REFUSED}, {"refund_message": UNSURE}
# Share in percent, and how to make one. The sandbox's numbers do what its README says.
KINDS: dict[str, tuple[float, Callable[[str, random.Random], Order]]] = {
    "mobile, ordinary": (33, mobile()),
    "mobile, refunded": (8, mobile("0600000001")),
    "mobile, refunded with offers": (6, mobile("0600000002")),
    "mobile, uncertain then fulfilled": (5, mobile("0600000003")),
    "mobile, uncertain then refunded": (3, direct("mobile", (0, "PENDING", {}), (5, "HANDLING", {}), (15, "UNKNOWN_ERROR", DOUBT),
                                                  (45, "REFUNDED", MESSAGE))),
    "mobile, unknown to the vendor at first": (2, direct("mobile", (9, "HANDLING", {}), (20, "FULFILLED", {}))),
    "mobile, unknown for longer than the grace": (2, direct("mobile", (40, "HANDLING", {}), (60, "REFUNDED", MESSAGE))),
    "mobile, an unrecognised status in between": (2, direct("mobile", (0, "HANDLING", {}), (6, "SENT_TO_OPERATOR", {}),
                                                            (30, "FULFILLED", {}))),
    "ADSL with a card": (12, internet("ADSL")),
    "4G with a card": (8, internet("4G")),
    "ADSL, refunded": (4, internet("ADSL", "036000002")),
    "ADSL, queued then fulfilled": (5, internet("ADSL", "036000001")),
    "ADSL, queued then refunded": (3, internet("ADSL", "036000005")),
    "ADSL, the card comes late": (3, internet("ADSL", "036000004")),
    "ADSL, slower than the poll deadline": (2, internet("ADSL", "036000003")),
    "ADSL, queued, moving again, fulfilled": (1, direct("internet", (0, "HANDLING", {}), (8, "QUEUED", {}), (45, "HANDLING", {}),
                                                        (120, "FULFILLED", CARD))),
    f"{LINKED}, redirected twice": (0.5, chain(
        "follow_orderid",
        direct("mobile", (0, "HANDLING", {}), (5, "HANDLING", {}), (45, "FULFILLED", {})),
        direct("mobile", (0, "HANDLING", {}), (5, "HANDLING", {}), (50, "FULFILLED", {})),
        direct("mobile", (0, "HANDLING", {}), (55, "FULFILLED", {})))),
    f"{LINKED}, retried after a refund": (0.5, chain(
        "retry_orderid",
        direct("mobile", (0, "HANDLING", {}), (12, "REFUNDED", MESSAGE)),
        direct("mobile", (12, "HANDLING", {}), (40, "FULFILLED", {})))),
}
