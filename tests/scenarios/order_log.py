"""One order of a scenario: what the sandbox is to say of it, the events that arrived for it, and the rules that hold for every order."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

TRACKED, QUEUED, UNCERTAIN, DELAYED = "Order Tracked", "Order Queued", "Order Uncertain", "Order Delayed"
FULFILLED, REFUNDED, CARD_REVEALED = "Order Fulfilled", "Order Refunded", "Card Revealed"
OUTCOMES = {FULFILLED: "FULFILLED", REFUNDED: "REFUNDED"}
PARKED = {"QUEUED": QUEUED, "UNKNOWN_ERROR": UNCERTAIN}
REFUND = {"refund_message": "الرصيد المطلوب غير متوفر لهذا الرقم"}


@dataclass
class Event:
    """One event as it arrived from the bus."""

    kind: str
    detail: dict[str, Any]
    received_at: float
    repeats: int = 0


@dataclass
class OrderLog:
    """One order and its events."""

    name: str
    product: str
    id: str = field(default="", kw_only=True)
    events: dict[str, Event] = field(default_factory=dict, kw_only=True)  # by event_id
    problems: list[str] = field(default_factory=list, kw_only=True)

    def key(self) -> str:
        """The start of the order's event ids."""
        return f"{self.product}/{self.id}"

    def receive(self, kind: str, detail: dict[str, Any], received_at: float) -> bool:
        """Adds an event; returns whether it is new. A repeat must equal the first delivery."""
        known = self.events.get(detail["event_id"])
        if known is None:
            self.events[detail["event_id"]] = Event(kind, detail, received_at)
            return True
        known.repeats += 1
        if (known.kind, known.detail) != (kind, detail):
            self.problems.append(f"two different events have the id {detail['event_id']}")
        return False

    def events_in_order(self) -> list[Event]:
        """The events by their sequence number."""
        return sorted(self.events.values(), key=lambda event: event.detail["seq"])

    def kinds(self) -> tuple[str, ...]:
        """The kinds of the events, by their sequence number."""
        return tuple(event.kind for event in self.events_in_order())

    def outcome(self) -> Event | None:
        """The event with the order's outcome."""
        return next((event for event in self.events_in_order() if event.kind in OUTCOMES), None)

    def first_change(self) -> Event | None:
        """The first event about a change that the vendor made: parked, or an outcome."""
        return next((event for event in self.events_in_order() if event.kind in (*PARKED.values(), *OUTCOMES)), None)

    def lacks_card(self) -> bool:
        """Whether an internet order was published as fulfilled without its card."""
        fulfilled = [event.detail["order"] for event in self.events.values() if event.kind == FULFILLED]
        return self.product == "internet" and not all(order["card"]["available"] for order in fulfilled)

    def check_numbering(self) -> None:
        """Checks that the events are numbered from 1 without a gap, and that each id contains its number."""
        for seq, event in enumerate(self.events_in_order(), start=1):
            event_id = event.detail["event_id"]
            if (event.detail["seq"], event_id) != (seq, f"{self.key()}#{seq}"):
                self.problems.append(f"event {seq} has the id {event_id} and the seq {event.detail['seq']}")

    def check(self, truth: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Compares the events and the stored item with the sandbox's timeline. An outcome that has not come yet is no problem here."""
        self.check_numbering()
        kinds = self.kinds()
        if kinds[:1] != (TRACKED,) or kinds.count(TRACKED) > 1:
            self.problems.append(f"events were {', '.join(kinds) or 'none'}")
        outcomes = [event for event in self.events_in_order() if event.kind in OUTCOMES]
        for event in outcomes:
            stated = [seconds_of(moment["at"]) for moment in truth["timeline"] if moment["status"] == OUTCOMES[event.kind]]
            if min(stated, default=math.inf) > seconds_of(event.detail["occurred_at"]):
                self.problems.append(f"{event.kind} before the vendor had stated it")
        if outcomes and [OUTCOMES[event.kind] for event in outcomes] != [truth["ends_as"]]:
            self.problems.append(f"outcomes published: {', '.join(event.kind for event in outcomes)}; the vendor ended with {truth['ends_as']}")
        if outcomes and record.get("outcome", {}).get("S") != truth["ends_as"].lower():
            self.problems.append(f"stored as {record.get('phase', {}).get('S')} {record.get('outcome', {}).get('S')}")


@dataclass
class PlannedOrder(OrderLog):
    """An order that is sent at its time."""

    at: float = field(default=0.0, kw_only=True)  # seconds after the start of the run
    late: float = field(default=0.0, kw_only=True)  # seconds after that
    direct: dict[str, Any] = field(default_factory=dict, kw_only=True)  # for the sandbox
    is_sold: bool = field(default=False, kw_only=True)  # sent, and known to the tracker


def for_sandbox(product: str, order_id: str, number: str, ref: str, timeline: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An order with a timeline of its own, for the sandbox's control API."""
    service = {"plan_code": "PREPAID_DJEZZY"} if product == "mobile" else {"type": "ADSL"}
    return {"product": product, "id": order_id, "number": number, "amount": 500, "ref": ref, "timeline": timeline, **service}


def step(after: float, status: str, fields: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A step of a timeline."""
    return {"after_seconds": round(after, 3), "status": status, "fields": dict(fields or {})}


def phone_number(product: str, rng: random.Random) -> str:
    """A random number, of which the sandbox knows nothing special."""
    return f"0{rng.choice('567')}{rng.randrange(10**8):08}" if product == "mobile" else f"036{rng.randrange(10**6):06}"


def card(rng: random.Random) -> dict[str, str]:
    """The fields of a delivered card."""
    return {"card_code": f"{rng.randrange(10**12):012}", "num_trans": f"AT-2026-{rng.randrange(10**5):05}"}


def seconds_of(moment: str) -> float:
    """An RFC 3339 time in seconds."""
    return datetime.fromisoformat(moment).timestamp()
