"""Shows on a local stack how orders are tracked, and checks what it shows. `make demo`.

The stack is the deployed template on a local AWS, with a sandbox in the vendor's place. In part 1, orders of every kind are checked one by one.
In part 2, twenty mobile orders at once are checked with list checks, each of which shows many orders.

Exit status 1 if anything is not as expected, or if a card code, the vendor's key or the API token is readable in a log, an event or a table item.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from infra.local import settings, stack
from infra.local.local_stack import Stack
from tests.scenarios.order_log import CARD_REVEALED, FULFILLED, OUTCOMES, QUEUED, REFUNDED, TRACKED, UNCERTAIN, OrderLog, seconds_of
from tests.scenarios.stack_client import StackClient, console, own_stack

# A production key has 120 calls a minute; the sends take the rest. Queued and uncertain orders take seconds here instead of hours.
SETTINGS = {"VENDOR_CALLS_PER_MINUTE": "110", "VENDOR_CALLS_BURST": "30", "LIST_CHECKS": "off", "RECHECK_QUEUED": "8s", "RECHECK_UNCERTAIN": "8s",
            "RECHECK_CARD": "5s", "RETRY_AFTER_FAILURE": "5s", "SANDBOX_FLAGS": "--uncertain-settles-after 8s --queued-settles-after 8s"}
MEANINGS = {  # with a colour for the terminal
    TRACKED: ("", "The tracker knows the order and checks its status at the vendor from now on."),
    FULFILLED: ("green", "The outcome: the customer has the credit, or the card can be read. Deliver."),
    REFUNDED: ("yellow", "The outcome: the vendor has given the money back. Refund your customer."),
    QUEUED: ("magenta", "Not an outcome: the vendor will deliver in 12 to 48 hours (here in seconds). Tell your customer."),
    UNCERTAIN: ("magenta", "Not an outcome: the vendor does not know it yet. Do not refund; wait."),
    CARD_REVEALED: ("", "A client has read the card code from the tracker. For your records."),
}
NEXT = """
What to try next
  make up                # a local stack for you to use; `make down` stops it
  . .local/stack.env     # its addresses, key and token
  ID=$(curl -s "$ONECLICKDZ_BASE_URL/mobile/send" -H "X-Access-Token: $ONECLICKDZ_API_KEY" -H "Content-Type: application/json" \\
       -d '{"plan_code": "PREPAID_DJEZZY", "MSSIDN": "0778037340", "amount": 500}' | sed 's/.*"topupId":"\\([^"]*\\)".*/\\1/')
  curl -s -X PUT "$API_URL/orders/mobile/$ID" -H "Authorization: Bearer $API_TOKEN"     # track the order
  curl -s "$API_URL/orders/mobile/$ID" -H "Authorization: Bearer $API_TOKEN"            # its status
  curl -s "$API_URL/orders/mobile/$ID/history" -H "Authorization: Bearer $API_TOKEN"    # its events
  make test              # all tests, on local stacks
Read docs/api.md for requests and events, docs/operations.md for deployment, docs/runbook.md for alarms.
"""


@dataclass
class Order(OrderLog):
    """One order, and the events that it must have."""

    service: str
    number: str
    expected: tuple[str, ...]
    by_event: bool = False  # made known to the tracker by a `Top-up Sent` event instead of PUT

    def compare(self, vendor: Mapping[str, Any]) -> None:
        """Compares the events with the expected ones and with the vendor's answer at the end."""
        self.check_numbering()
        if self.kinds() != self.expected:
            self.problems.append(f"events were {', '.join(self.kinds()) or 'none'}; expected {', '.join(self.expected)}")
        for event in self.events_in_order():
            if event.kind == TRACKED and event.detail.get("by") != ("poller" if self.by_event else "put"):
                self.problems.append(f"tracked by {event.detail.get('by')}")
            if event.kind in OUTCOMES:  # as text, because the order of members counts too
                self.problems += [f"{name} in the event differs from the vendor's" for name in ("status", "refund_message", "suggested_offers")
                                  if json.dumps(event.detail["order"].get(name)) != json.dumps(vendor.get(name))]


PART_1 = (
    Order("mobile", "mobile", "mobile", "0778037340", (TRACKED, FULFILLED)),
    Order("mobile, refunded", "mobile", "mobile", "0600000001", (TRACKED, REFUNDED)),
    Order("mobile, refunded with offers", "mobile", "mobile", "0600000002", (TRACKED, REFUNDED)),
    Order("mobile, uncertain at first", "mobile", "mobile", "0600000003", (TRACKED, UNCERTAIN, FULFILLED)),
    Order("ADSL card", "internet", "ADSL", "036401234", (TRACKED, FULFILLED, CARD_REVEALED)),
    Order("4G card", "internet", "4G", "0213401234", (TRACKED, FULFILLED, CARD_REVEALED), by_event=True),
    Order("ADSL card, queued at first", "internet", "ADSL", "036000001", (TRACKED, QUEUED, FULFILLED, CARD_REVEALED)),
)
PART_2 = tuple(Order(f"mobile {number}", "mobile", "mobile", f"07780373{number}", (TRACKED, FULFILLED)) for number in range(41, 61))


class Demo(StackClient):
    """Sends the orders of a part, follows their events, and checks them."""

    began = 0.0  # when the orders of a part were tracked

    def place(self, order: Order) -> None:
        """Sends an order to the vendor and makes it known to the tracker."""
        ref = f"demo-{order.number}"
        order.id = self.send(order.service, order.number, ref)
        self.by_key[order.key()] = order
        if order.by_event:
            self.publish_sent({"product": order.product, "id": order.id, "ref": ref})
        else:
            self.tracker("PUT", f"/orders/{order.key()}", {"ref": ref})

    def follow(self, orders: tuple[Order, ...]) -> None:
        """Prints the progress of the orders until all have their last event, and none has arrived for 3 s more."""
        self.began = time.monotonic()
        while time.monotonic() < self.began + 120:
            if self.receive(3):
                continue
            missing = [order for order in orders if order.expected[-1] not in order.kinds()]
            only_parked = missing and all({QUEUED, UNCERTAIN} & set(order.kinds()) for order in missing)
            console.print(f"{time.monotonic() - self.began:5.1f} s  {len(orders) - len(missing)} of {len(orders)} orders are complete"
                          f"{'; a recheck of the queued and uncertain ones starts' if only_parked else ''}")
            if not missing:
                return
            if only_parked:
                self.start_recheck()

    def receive_new(self, order: OrderLog, kind: str) -> None:
        """Prints an event of the first part. Reads the card of a fulfilled order."""
        if order in PART_1:
            console.print(f"{time.monotonic() - self.began:5.1f} s  {order.name:28} {kind}", style=MEANINGS.get(kind, ("",))[0])
        if kind == FULFILLED and order.product == "internet":
            card = self.tracker("GET", f"/orders/{order.key()}/card")  # compared, and not shown
            if card["card_code"] != self.vendor_orders()[order.id]["card_code"]:
                order.problems.append("the card from the tracker is not the vendor's")

    def part(self, title: str, orders: tuple[Order, ...]) -> tuple[dict[str, Any], dict[str, float]]:
        """Sends, follows and checks orders; returns the tracker's calls to the vendor, as counted by the sandbox, and the delay of each order."""
        console.print(f"\n{title}", style="bold")
        since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        with ThreadPoolExecutor(len(orders)) as pool:
            list(pool.map(self.place, orders))
        console.print(f"{len(orders)} orders are sent and tracked. The vendor settles them in 10 to 25 s.")
        self.follow(orders)
        calls, ended, delays = self.sandbox(f"/calls?endpoint_kind=check,list&since={since}"), self.vendor_orders(), {}
        for order in orders:
            order.compare(self.vendor("GET", f"/{order.product}/check-id/{order.id}"))
            self.wrong["orders that are not as expected"] |= {f"{order.name}: {problem}" for problem in order.problems}
            outcome = order.outcome()
            delays[order.id] = outcome.received_at - seconds_of(ended[order.id]["ended_at"]) if outcome else math.nan
        return calls, delays

    def part_1(self) -> int:
        """Orders of every kind, checked one by one; returns the calls for an ordinary mobile order."""
        calls, delays = self.part("Part 1: orders of every kind, each checked by itself", PART_1)
        table = Table("order", "calls to\nthe vendor", "delay, s", "events", "as expected")
        table.columns[1].justify = table.columns[2].justify = "right"
        for order in PART_1:
            delay = "< 0.1" if delays[order.id] < 0.1 else f"{delays[order.id]:.1f}"
            table.add_row(order.name, str(calls["by_order"].get(order.id, 0)), delay,
                          " → ".join(kind.removeprefix("Order ") for kind in order.kinds()), "NO" if order.problems else "yes")
        table.add_section()
        table.add_row("total", str(calls["total"]))
        console.print("\nPart 1: the result", style="bold")
        console.print(table, soft_wrap=False)
        console.print("Delay: from the vendor's outcome to the event. An order in flight is checked every few seconds; a queued\n"
                      "or uncertain one by the recheck, which runs every minute, and which this demo started too.\n\nWhat the events mean:")
        for kind, (colour, meaning) in MEANINGS.items():
            console.print(f"  {kind:16} {meaning}", style=colour)
        return int(calls["by_order"].get(PART_1[0].id, 0))

    def part_2(self, own: Stack, single: int) -> None:
        """Twenty mobile orders at once, with list checks, compared with `single` calls an order."""
        console.print("\nSwitching list checks on: one call then shows many orders.", style="bold")
        stack.up(own.directory, {**settings.without(os.environ), **SETTINGS, "LIST_CHECKS": "on"}, with_build=False)
        calls, delays = self.part("Part 2: twenty mobile orders at once, with list checks", PART_2)
        lists, alone = calls["by_endpoint"].get("mobile/list", 0), single * len(PART_2)
        if not 0 < lists <= calls["total"] < alone:
            self.wrong["calls of part 2"].add(f"{calls['total']} calls, of which {lists} list checks; expected list checks, and less than {alone} calls")
        console.print("\nPart 2: the result", style="bold")
        console.print(f"{len(PART_2)} orders, {calls['total']} calls, of which {lists} list checks; mean delay {statistics.mean(delays.values()):.1f} s, "
                      f"longest {max(delays.values()):.1f} s.\nWithout list checks, with {single} calls for each order as in part 1: {alone} calls.\n")


def run(with_build: bool) -> bool:
    """Both parts on a stack of their own; returns whether all was as expected."""
    console.print("Starting a local stack. The demo takes about 90 s; the first time some five minutes more on 2 cores, to install tools and\n"
                  "to compile.", style="bold")
    with own_stack("demo", SETTINGS, with_build) as own:
        demo = Demo(own.read_env())
        demo.part_2(own, demo.part_1())
        demo.wrong["dead letters"] |= set(demo.dead_letters())
        orders, items = demo.vendor_orders(), demo.items()
    demo.search_for_secrets(orders, items)
    console.print(NEXT)
    return demo.conclude(f"{len(PART_1) + len(PART_2)} orders")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-build", action="store_true", help="use what is built")
    options = parser.parse_args()
    sys.exit(0 if run(not options.no_build) else 1)


if __name__ == "__main__":
    main()
