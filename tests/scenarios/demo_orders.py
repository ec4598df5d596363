"""The orders of the demo: what is sent, what must happen to each, and what has been heard of it so far."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.scenarios.order_log import CARD_REVEALED, FULFILLED, QUEUED, REFUNDED, TRACKED, UNCERTAIN, OrderLog


@dataclass
class Order(OrderLog):
    """One order: its script, and its story."""

    send: dict[str, Any]
    expected: tuple[str, ...]
    by_event: bool = False  # made known by a `Top-up Sent` event instead of a PUT
    sent_at: float = 0.0
    vendor_status: str = ""
    card_asked: bool = False

    def wants_card_read(self) -> bool:
        """Whether its card can be fetched now, and has not been."""
        return CARD_REVEALED in self.expected and self.outcome() is not None and not self.card_asked

    def is_complete(self) -> bool:
        """Whether everything that the script says has been heard."""
        kinds = [event.kind for event in self.events_in_order()]
        return all(kinds.count(kind) >= self.expected.count(kind) for kind in self.expected)

    def check(self, asked: dict[str, Any]) -> None:
        """Compares its story with the script and with what the vendor says of it at the end."""
        kinds = tuple(event.kind for event in self.events_in_order())
        if kinds != self.expected:
            self.problems.append(f"events were {', '.join(kinds) or 'none'}; expected {', '.join(self.expected)}")
        self.check_numbering()
        if self.events_in_order() and self.events_in_order()[0].detail.get("by") != ("poller" if self.by_event else "put"):
            self.problems.append(f"tracked by {self.events_in_order()[0].detail.get('by')}")
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
