"""The orders of the demo: what is sent, what must happen to each, and what has been heard of it so far."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Optional

TRACKED, QUEUED, UNCERTAIN = "Order Tracked", "Order Queued", "Order Uncertain"
FULFILLED, REFUNDED, CARD_REVEALED = "Order Fulfilled", "Order Refunded", "Card Revealed"
OUTCOMES = {FULFILLED: "FULFILLED", REFUNDED: "REFUNDED"}


@dataclass
class Event:
    """One event as it came over the bus."""

    kind: str
    detail: dict[str, Any]
    heard_at: float
    repeats: int = 0


@dataclass
class Order:
    """One order: its script, and its story."""

    name: str
    product: str
    send: dict[str, Any]
    expected: tuple[str, ...]
    by_event: bool = False  # made known by a `Top-up Sent` event instead of a PUT
    id: str = ""
    sent_at: float = 0.0
    vendor_status: str = ""
    events: dict[str, Event] = field(default_factory=dict)  # by event_id
    card_asked: bool = False
    problems: list[str] = field(default_factory=list)

    def hear(self, kind: str, detail: dict[str, Any], heard_at: float) -> bool:
        """Takes in an event; answers whether it is new. A repeat must say exactly what the first said."""
        known = self.events.get(detail["event_id"])
        if known is None:
            self.events[detail["event_id"]] = Event(kind, detail, heard_at)
            return True
        known.repeats += 1
        if (known.kind, known.detail) != (kind, detail):
            self.problems.append(f"two different events under the id {detail['event_id']}")
        return False

    def story(self) -> list[Event]:
        """Its events in their own order."""
        return sorted(self.events.values(), key=lambda event: event.detail["seq"])

    def outcome(self) -> Optional[Event]:
        """The event that announced its end."""
        return next((event for event in self.story() if event.kind in OUTCOMES), None)

    def wants_card_read(self) -> bool:
        """Whether its card can be fetched now, and has not been."""
        return CARD_REVEALED in self.expected and self.outcome() is not None and not self.card_asked

    def is_complete(self) -> bool:
        """Whether everything that the script says has been heard."""
        kinds = [event.kind for event in self.story()]
        return all(kinds.count(kind) >= self.expected.count(kind) for kind in self.expected)

    def check(self, asked: dict[str, Any]) -> None:
        """Compares its story with the script and with what the vendor says of it at the end."""
        kinds = tuple(event.kind for event in self.story())
        if kinds != self.expected:
            self.problems.append(f"events were {', '.join(kinds) or 'none'}; expected {', '.join(self.expected)}")
        for seq, (event_id, event) in enumerate(sorted(self.events.items(), key=lambda item: item[1].detail["seq"]), start=1):
            if (event.detail["seq"], event_id) != (seq, f"{self.product}/{self.id}#{seq}"):
                self.problems.append(f"event {seq} has the id {event_id} and the seq {event.detail['seq']}")
        if self.story() and self.story()[0].detail.get("by") != ("poller" if self.by_event else "put"):
            self.problems.append(f"tracked by {self.story()[0].detail.get('by')}")
        outcome = self.outcome()
        if outcome is not None:
            said = outcome.detail["order"]
            for name in ("status", "refund_message", "suggested_offers"):
                # As text: the order of an object's members counts too.
                if json.dumps(said.get(name)) != json.dumps(asked.get(name)):
                    self.problems.append(f"{name} in the event differs from the vendor's")


def script() -> list[Order]:
    """One order of every kind."""
    def mobile(number: str) -> dict[str, Any]:
        return {"plan_code": "PREPAID_DJEZZY", "MSSIDN": number, "amount": 500}

    def internet(kind: str, number: str) -> dict[str, Any]:
        return {"type": kind, "number": number, "value": 1000}

    return [
        Order("mobile, ordinary", "mobile", mobile("0778037340"), (TRACKED, FULFILLED)),
        Order("mobile 0600000001", "mobile", mobile("0600000001"), (TRACKED, REFUNDED)),
        Order("mobile 0600000002", "mobile", mobile("0600000002"), (TRACKED, REFUNDED)),
        Order("mobile 0600000003", "mobile", mobile("0600000003"), (TRACKED, UNCERTAIN, FULFILLED)),
        Order("ADSL with a card", "internet", internet("ADSL", "036401234"), (TRACKED, FULFILLED, CARD_REVEALED)),
        Order("4G with a card", "internet", internet("4G", "0213401234"), (TRACKED, FULFILLED, CARD_REVEALED), by_event=True),
        Order("ADSL, queued", "internet", internet("ADSL", "036000001"), (TRACKED, QUEUED, FULFILLED, CARD_REVEALED)),
    ]
