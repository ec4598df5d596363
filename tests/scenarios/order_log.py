"""The events that arrived for one order, and the rules that hold for every order's events."""

from dataclasses import dataclass, field
from typing import Any

TRACKED, QUEUED, UNCERTAIN = "Order Tracked", "Order Queued", "Order Uncertain"
FULFILLED, REFUNDED, CARD_REVEALED = "Order Fulfilled", "Order Refunded", "Card Revealed"
OUTCOMES = {FULFILLED: "FULFILLED", REFUNDED: "REFUNDED"}


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

    def check_numbering(self) -> None:
        """Checks that the events are numbered from 1 without a gap, and that each id contains its number."""
        for seq, event in enumerate(self.events_in_order(), start=1):
            event_id = event.detail["event_id"]
            if (event.detail["seq"], event_id) != (seq, f"{self.key()}#{seq}"):
                self.problems.append(f"event {seq} has the id {event_id} and the seq {event.detail['seq']}")
