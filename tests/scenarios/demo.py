#!/usr/bin/env python3
"""Sends one order of every kind through a local stack of its own, shows each to its end, and checks it. `make demo`.

Exit status 0 only if every order ended as scripted, and no card code, key or token is found in any log, event or item.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from datetime import datetime
from typing import Any, Optional

from infra.local import tools

if __name__ == "__main__":
    tools.enter("cargo-lambda", "aws")

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.local import settings
from infra.local import stack
from tests.scenarios.demo_orders import Order, script
from infra.local.local_stack import DEFAULT_DIRECTORY, Stack
from infra.local.processes import Failure
from tests.scenarios.order_log import CARD_REVEALED, OUTCOMES
from tests.scenarios.stack_client import StackClient, as_text, leaks

DIRECTORY = DEFAULT_DIRECTORY / "demo"
# The vendor takes hours over these, and so do we; here it takes seconds. Polling and the documented sandbox times are as always.
# Seven orders at the same moment, on a production key's 120 calls a minute less the sends: the defaults are for a key that sells too.
SETTINGS = {"VENDOR_CALLS_PER_MINUTE": "110", "VENDOR_CALLS_BURST": "30",
            "RECHECK_QUEUED": "20s", "RECHECK_UNCERTAIN": "20s", "RECHECK_CARD": "10s", "RETRY_AFTER_FAILURE": "10s",
            "SANDBOX_FLAGS": "--uncertain-settles-after 25s --queued-settles-after 25s"}
BOUND_SECONDS = 200.0  # the sweep fires every minute, at worst a few seconds late; the last order needs two of them
QUIET_SECONDS = 3.0  # after the last expected event: time for one too many to show up
COLOURS = {"Order Fulfilled": "green", "Order Refunded": "yellow", "Order Queued": "magenta", "Order Uncertain": "magenta",
           "Order Needs Review": "red"}


class Demo(StackClient):
    """One run: the orders, and what became of them."""

    def __init__(self, env: dict[str, str], console: Console) -> None:
        super().__init__(env)
        self.console = console
        self.orders = script()
        self.calls: dict[str, int] = {}
        self.truth: dict[str, dict[str, Any]] = {}

    # ------------------------------------------------------------------ sending and hearing

    def send(self, order: Order) -> None:
        """Sends an order to the vendor, and makes it known to the tracker."""
        reference = f"demo-{order.name.replace(' ', '-').replace(',', '')}-{int(time.time())}"
        order.id = self.vendor("POST", f"/{order.product}/send", {**order.send, "ref": reference})["topupId"]
        order.sent_at = time.time()
        if order.by_event:
            self.say_sent({"product": order.product, "id": order.id, "ref": reference})
        else:
            self.tracker("PUT", f"/orders/{order.product}/{order.id}", {"ref": reference})

    def take_in(self) -> list[tuple[Order, str, float]]:
        """Gives the events heard since to their orders; answers what is new."""
        by_id = {order.key(): order for order in self.orders}
        new = []
        while not self.heard.empty():
            event, heard_at = self.heard.get()
            order = by_id.get(str(event["detail"].get("event_id", "")).partition("#")[0])
            if order is not None and order.hear(event["detail-type"], event["detail"], heard_at):
                new.append((order, event["detail-type"], heard_at))
        return new

    def look_at_truth(self) -> list[tuple[Order, str]]:
        """Reads from the sandbox what each order is by now; answers what has changed."""
        self.truth = {order["id"]: order for order in self.sandbox("/orders")["orders"]}
        changed = []
        for order in self.orders:
            status = self.truth.get(order.id, {}).get("status") or ""
            if order.id and status != order.vendor_status:
                order.vendor_status = status
                changed.append((order, status))
        return changed

    def read_card(self, order: Order) -> None:
        """Fetches the card of a fulfilled order; it must be the vendor's. It is compared, and never shown."""
        order.card_asked = True
        card = self.tracker("GET", f"/orders/{order.product}/{order.id}/card")
        if card["card_code"] != self.truth[order.id]["card_code"]:
            order.problems.append("the card read from the tracker is not the vendor's")

    # ------------------------------------------------------------------ the run

    def run(self) -> None:
        """Sends everything and shows it until every order has ended, or the time is up."""
        threading.Thread(target=self.listen, daemon=True).start()
        live = Live(console=self.console, refresh_per_second=4) if self.console.is_terminal else None
        try:
            if live:
                live.start()
            self.follow(live)
        finally:
            self.over.set()
            if live:
                live.stop()

    def follow(self, live: Optional[Live]) -> None:
        """The loop behind `run`."""
        deadline = time.monotonic() + BOUND_SECONDS
        unsent, complete_since = list(self.orders), None
        while time.monotonic() < deadline and not self.listener_error:
            if unsent:
                self.send(unsent.pop(0))
            lines = [(order, f"vendor: {status or 'unknown'}") for order, status in self.look_at_truth()]
            lines += [(order, f"event:  {kind}") for order, kind, _ in self.take_in()]
            for order in self.orders:
                if order.wants_card_read():
                    self.read_card(order)
                    lines.append((order, "card:   read by the merchant"))
            if live:
                live.update(self.progress())
            else:
                for order, line in lines:
                    self.console.print(f"{datetime.now():%H:%M:%S}  {order.name:18} {line}", highlight=False)
            if all(order.is_complete() for order in self.orders):
                complete_since = complete_since or time.monotonic()
                if time.monotonic() - complete_since > QUIET_SECONDS:
                    return
            time.sleep(0.0 if unsent else 0.5)

    def progress(self) -> Table:
        """Each order's story so far."""
        table = Table(title="Orders on their way", title_justify="left", caption_justify="left",
                      caption="queued and uncertain orders end by the sweep, which runs once a minute")
        for heading in ("order", "made known by", "at the vendor now", "events, seconds after sending"):
            table.add_column(heading, no_wrap=heading != "events, seconds after sending")
        for order in self.orders:
            story = Text(" → ").join(
                Text(f"{event.heard_at - order.sent_at:.1f} {event.kind.replace('Order ', '')}", COLOURS.get(event.kind, ""))
                for event in order.events_in_order())
            table.add_row(order.name, "Top-up Sent" if order.by_event else "PUT", order.vendor_status or "-", story)
        return table

    # ------------------------------------------------------------------ judging

    def judge(self) -> None:
        """Counts the vendor calls, then compares each order with its script and the vendor's last word."""
        for order in filter(lambda order: order.id, self.orders):
            asked = self.sandbox(f"/calls?order={order.id}")["by_endpoint"]
            self.calls[order.id] = sum(count for endpoint, count in asked.items() if endpoint.endswith("/check-id"))
        for order in self.orders:
            order.check(self.vendor("GET", f"/{order.product}/check-id/{order.id}") if order.id else {})

    def table(self) -> Table:
        """How it ended."""
        table = Table(title="Outcomes", title_justify="left")
        table.add_column("order", no_wrap=True)
        table.add_column("outcome", no_wrap=True)
        table.add_column("vendor\ncalls", justify="right")
        table.add_column("vendor's outcome\nto event, s", justify="right")
        table.add_column("events in order")
        table.add_column("as scripted", no_wrap=True)
        for order in self.orders:
            outcome, ended_at = order.outcome(), self.truth.get(order.id, {}).get("ended_at")
            took = f"{outcome.heard_at - seconds_of(ended_at):.1f}" if outcome and ended_at else "-"
            table.add_row(order.name, Text(OUTCOMES[outcome.kind] if outcome else "none", COLOURS.get(outcome.kind, "") if outcome else "red"),
                          str(self.calls.get(order.id, "-")), took, " → ".join(event.kind.replace("Order ", "") for event in order.events_in_order()),
                          Text("no", "red") if order.problems else Text("yes", "green"))
        return table

    def leaks(self, items: list[dict[str, Any]]) -> list[str]:
        """Looks for every card code, the key and the token in all that was written or announced."""
        cards = {order["card_code"] for order in self.truth.values() if order.get("card_code")}
        secrets = {"card code": cards, "API key": {self.env["ONECLICKDZ_API_KEY"]}, "token": {self.env["API_TOKEN"]}}
        logs = self.logs()
        places = {**{f"log {name}": text for name, text in logs.items()}, "DynamoDB": as_text(items), "events": "\n".join(self.everything)}
        self.console.print(f"searched for {len(cards)} card codes, the API key and the token: {len(logs)} log files "
                           f"({sum(map(len, logs.values())) // 1024} KiB: {', '.join(logs)}), {len(items)} DynamoDB items, "
                           f"{len(self.everything)} events", highlight=False, soft_wrap=True)
        expected = sum(CARD_REVEALED in order.expected for order in self.orders)
        found = [] if len(cards) == expected else [f"{len(cards)} card codes known, expected {expected}: the search proves nothing"]
        empty = [place for place in ("log status.log", "log poller.log", "log recheck.log", "DynamoDB", "events") if not places.get(place)]
        return found + [f"nothing to search in {place}" for place in empty] + leaks(secrets, places)


def seconds_of(moment: str) -> float:
    """An RFC 3339 time in seconds."""
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def demonstrate(console: Console, with_build: bool) -> list[str]:
    """The whole demo, from nothing to nothing; answers what was wrong."""
    own = Stack(DIRECTORY)
    own.down()
    try:
        stack.up(DIRECTORY, {**settings.without(os.environ), **SETTINGS}, with_build)
        demo = Demo(own.read_env(), console)
        demo.run()
        demo.judge()
        console.print(demo.table())
        problems = [f"{order.name}: {problem}" for order in demo.orders for problem in order.problems]
        problems += [f"messages in {name}: {count}" for name, count in demo.dead_letters().items()]
        problems += [demo.listener_error] if demo.listener_error else []
        items = demo.items()
    finally:
        own.down()
    return problems + demo.leaks(items)  # after the end, when the last log lines are written


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-build", action="store_true", help="take what is built")
    with_build = not parser.parse_args().no_build
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else 150)
    started = time.monotonic()
    try:
        problems = demonstrate(console, with_build)
    except Failure as failure:
        tools.fail(f"{failure}\nlogs: {DIRECTORY / 'logs'}")
    except (BotoCoreError, ClientError) as error:
        tools.fail(f"AWS: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    for problem in problems:
        console.print(f"wrong: {problem}", style="red", highlight=False, soft_wrap=True)
    console.print(f"{'FAILED' if problems else 'every order ended as scripted'} after {time.monotonic() - started:.0f} s; "
                  f"logs: {os.path.relpath(DIRECTORY / 'logs')}", highlight=False, soft_wrap=True)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
