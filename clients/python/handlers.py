"""What a shop does for each event of the tracker. `webhook.py` and `feed.py` both use `handle`. About the events: docs/events.md.

An event is the `detail` of docs/events.md. Only `Order Refunded` is a reason to refund.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import shop

Event = dict[str, Any]

# `reason` of `Order Needs Review`, and what the operator is to do. None of them is a reason to refund.
REVIEWS = {
    "overdue": "it takes longer than the vendor says; ask the vendor",
    "unrecognised_status": "the vendor stated an unknown status; ask the vendor what it means",
    "contradiction": "the vendor now states something else than its outcome; ask the vendor which is true",
    "not_found": "the vendor does not know the order; check the id, and whether the key is of the same account",
    "card_missing": "it is fulfilled but has no card; ask the vendor for the card",
    "retried": "the vendor retried it under another id; wait for that order, or if you have refunded already, ask the vendor",
    "followed": "the vendor redirected it to another id; wait for that order, or if you have refunded already, ask the vendor",
    "unreadable": "the vendor's answers cannot be read; ask the vendor about the order",
    "rejected": "the vendor rejects every call about it; check the id",
    "vanished": "the vendor does not know it any more; ask the vendor",
    "store_refuses": "the tracker cannot store the vendor's answer; read the tracker's log",
}


def order_fulfilled(event: Event) -> str:
    """An outcome: the customer has the credit, or a card can be read."""
    order = event["order"]
    if order["card"]["available"]:
        return shop.deliver_card(order)
    if order["product"] == "internet":
        return shop.tell_customer(order, "it worked; the card follows")  # with `Card Available`
    return shop.deliver(order)


def card_available(event: Event) -> str:
    """The card came after `Order Fulfilled`."""
    return shop.deliver_card(event["order"])


def order_refunded(event: Event) -> str:
    """An outcome: the vendor has given you the money back. If the vendor continues under another id, that order decides."""
    order = event["order"]
    if other := order["retry_order_id"] or order["follow_order_id"]:
        return shop.tell_customer(order, f"it takes longer; order {other} continues it")
    return shop.refund(order)


def order_queued(event: Event) -> str:
    """No failure: the vendor delivers later. Do not refund."""
    return shop.tell_customer(event["order"], "it comes within 12 to 48 hours")


def order_uncertain(event: Event) -> str:
    """UNKNOWN_ERROR: the vendor does not know yet. The customer may have the credit already. Do not refund, do not send again."""
    order = event["order"]
    return shop.tell_customer(order, order["refund_message"] or "the operator checks it; we know more within 24 hours")


def order_delayed(event: Event) -> str:
    """Nothing is known yet. Do not refund."""
    return shop.tell_customer(event["order"], "it takes longer than usual")


def order_needs_review(event: Event) -> str:
    """A person must look at the order. Reasons can be added."""
    reason = event["reason"]
    advice = REVIEWS.get(reason, "a new reason; read docs/events.md")
    return shop.tell_operator(f"{shop.name(event['order'])} ({reason} {event.get('stated_status', '')}): {advice}. Do not refund for this")


def for_the_records(event: Event) -> str:
    """The shop has nothing to do."""
    return shop.note(f"{shop.name(event['order'])} has the status {event['order']['status']}")


def vendor_suspended(event: Event) -> str:
    """No calls are made with the vendor's key."""
    return shop.tell_operator(f"the vendor refuses the key ({event['reason']}): check the key and its address list at the vendor")


def vendor_resumed(event: Event) -> str:
    """The vendor's key works again."""
    return shop.tell_operator("the vendor answers again; nothing to do")


def vendor_list_degraded(event: Event) -> str:
    """A list of the vendor's does not work. Orders are checked one by one."""
    return shop.tell_operator(f"the vendor's list of {event['product']} orders does not work ({event['reason']}); nothing to do")


HANDLERS: dict[str, Callable[[Event], str]] = {
    "Order Fulfilled": order_fulfilled,
    "Card Available": card_available,
    "Order Refunded": order_refunded,
    "Order Queued": order_queued,
    "Order Uncertain": order_uncertain,
    "Order Delayed": order_delayed,
    "Order Needs Review": order_needs_review,
    "Order Tracked": for_the_records,
    "Order Resumed": for_the_records,
    "Card Revealed": for_the_records,
    "Order Reviewed": for_the_records,
    "Vendor Suspended": vendor_suspended,
    "Vendor Resumed": vendor_resumed,
    "Vendor List Degraded": vendor_list_degraded,
}
# What a later event makes untrue. Webhooks can come in another order than the events happened.
PASSING = {"Order Queued", "Order Uncertain", "Order Delayed", "Vendor Suspended", "Vendor Resumed", "Vendor List Degraded"}


def handle(event: Event, is_late: bool = False) -> str:
    """Does what the event asks for; returns one line that says what was done. `is_late`: a later event about the same order or key was handled before.
    Raises an error if the event cannot be handled: then it must be tried again."""
    if event["version"] != 1:
        raise ValueError(f"the event has version {event['version']}, this program knows version 1")
    kind = event["detail_type"]
    if kind not in HANDLERS:
        return "ignored: this program does not know the type"
    if is_late and kind in PASSING:
        return "ignored: a later event was handled before"
    return HANDLERS[kind](event)
