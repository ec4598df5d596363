"""What has been heard of one order over the bus, and what must hold of any such story."""

from __future__ import annotations

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
class OrderLog:
    """One order, and its events."""

    name: str
    product: str
    id: str = field(default="", kw_only=True)
    events: dict[str, Event] = field(default_factory=dict, kw_only=True)  # by event_id
    problems: list[str] = field(default_factory=list, kw_only=True)

    def key(self) -> str:
        """What its event ids begin with."""
        return f"{self.product}/{self.id}"

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

    def events_in_order(self) -> list[Event]:
        """Its events in their own order."""
        return sorted(self.events.values(), key=lambda event: event.detail["seq"])

    def outcome(self) -> Optional[Event]:
        """The event that announced its end."""
        return next((event for event in self.events_in_order() if event.kind in OUTCOMES), None)

    def check_numbering(self) -> None:
        """Its events are numbered from 1 without a gap, and their ids follow from the number."""
        for seq, event in enumerate(self.events_in_order(), start=1):
            event_id = event.detail["event_id"]
            if (event.detail["seq"], event_id) != (seq, f"{self.key()}#{seq}"):
                self.problems.append(f"event {seq} has the id {event_id} and the seq {event.detail['seq']}")
