"""Your shop, as a stand-in: put your own code into these functions. Each returns one line that says what was done.

Find the customer's order by `order["ref"]`. An order that the vendor made itself (a retry, a redirection) has no `ref` of yours:
then `order["linked_from"]` has the ids of the orders that it continues. So store the vendor's id beside each of your orders.
"""

from __future__ import annotations

from typing import Any

Order = dict[str, Any]


def name(order: Order) -> str:
    """The customer's order, for a log line."""
    return str(order["ref"] or " ".join(order["linked_from"]) or order["id"])


def deliver(order: Order) -> str:
    """Marks the customer's order as completed, and tells the customer.

    In a table, let one statement decide: UPDATE orders SET state = 'delivered' WHERE ref = … AND state = 'sent'.
    Only if it changed a row, tell the customer. Then a second run changes nothing.
    """
    return f"delivered {name(order)}"


def deliver_card(order: Order) -> str:
    """Shows the card to the customer: reads it once (`card.py`), and stores it encrypted with the customer's order. Never log the code."""
    return f"the card of {name(order)} can be handed over: card.py {order['id']}"


def refund(order: Order) -> str:
    """Gives the customer the money back, once: UPDATE orders SET state = 'refunded' WHERE ref = … AND state = 'sent', as in `deliver`.

    Show `refund_message` unchanged (it is Arabic), and offer the plans in `suggested_offers`. Both can be None.
    """
    offers = [offer.get("plan_code") for offer in order["suggested_offers"] or [] if isinstance(offer, dict)]
    return f"refunded {name(order)}; message: {order['refund_message']}; other plans: {offers or 'none'}"


def tell_customer(order: Order, text: str) -> str:
    """Tells the customer. The order stays open: no refund, no second send."""
    return f"told the customer of {name(order)}: {text}"


def tell_operator(text: str) -> str:
    """Tells the person who runs the shop, for example by e-mail."""
    return f"told the operator: {text}"


def note(text: str) -> str:
    """Keeps it for the records."""
    return f"noted: {text}"
