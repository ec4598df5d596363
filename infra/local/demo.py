#!/usr/bin/env python3
"""Sends one order of every kind through a local stack of its own, shows each to its end, and checks it. `make demo`.

Exit status 0 only if every order ended as scripted, and no card code, key or token is found in any log, event or item.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any, Optional

import tools

if __name__ == "__main__":
    tools.enter("cargo-lambda", "aws")

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

import settings
import stack
from demo_orders import CARD_REVEALED, OUTCOMES, Order, script
from local_stack import DEFAULT_DIRECTORY, Stack, local_cloud
from processes import Failure

DIRECTORY = DEFAULT_DIRECTORY / "demo"
# The vendor takes hours over these, and so do we; here it takes seconds. Polling and the documented sandbox times are as always.
SETTINGS = {"RECHECK_QUEUED": "20s", "RECHECK_UNCERTAIN": "20s", "RECHECK_CARD": "10s", "RETRY_AFTER_FAILURE": "10s",
            "SANDBOX_FLAGS": "--uncertain-settles-after 25s --queued-settles-after 25s"}
BOUND_SECONDS = 200.0  # the sweep fires every minute, at worst a few seconds late; the last order needs two of them
QUIET_SECONDS = 3.0  # after the last expected event: time for one too many to show up
COLOURS = {"Order Fulfilled": "green", "Order Refunded": "yellow", "Order Queued": "magenta", "Order Uncertain": "magenta",
           "Order Needs Review": "red"}


class Demo:
    """One run: the stack's addresses, the orders, and everything heard."""

    def __init__(self, env: dict[str, str], console: Console) -> None:
        self.env, self.console = env, console
        self.orders = script()
        self.cloud = local_cloud(env["AWS_ENDPOINT_URL"])
        self.heard: queue.Queue[tuple[dict[str, Any], float]] = queue.Queue()
        self.everything: list[str] = []  # each event as text, for the search at the end
        self.calls: dict[str, int] = {}
        self.truth: dict[str, dict[str, Any]] = {}
        self.over = threading.Event()
        self.listener_error = ""

    # ------------------------------------------------------------------ talking

    def http(self, method: str, url: str, headers: dict[str, str], body: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """One call with JSON in and out."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"content-type": "application/json", **headers}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Failure(f"{method} {url} answered {error.code}: {error.read(300).decode(errors='replace')}") from None
        except (urllib.error.URLError, OSError) as error:
            raise Failure(f"{method} {url}: {error}") from None

    def vendor(self, method: str, path: str, body: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """A call to the vendor, as the merchant makes it."""
        return self.http(method, f"{self.env['ONECLICKDZ_BASE_URL']}{path}", {"X-Access-Token": self.env["ONECLICKDZ_API_KEY"]}, body)["data"]

    def tracker(self, method: str, path: str, body: Optional[dict[str, Any]] = None) -> dict[str, Any]:
        """A call to the tracker's API."""
        return self.http(method, f"{self.env['API_URL']}{path}", {"authorization": f"Bearer {self.env['API_TOKEN']}"}, body)

    def sandbox(self, path: str) -> dict[str, Any]:
        """What the sandbox knows and the vendor would not say."""
        return self.http("GET", f"{self.env['SANDBOX_URL']}/_sandbox{path}", {})

    # ------------------------------------------------------------------ sending and hearing

    def send(self, order: Order) -> None:
        """Sends an order to the vendor, and makes it known to the tracker."""
        reference = f"demo-{order.name.replace(' ', '-').replace(',', '')}-{int(time.time())}"
        order.id = self.vendor("POST", f"/{order.product}/send", {**order.send, "ref": reference})["topupId"]
        order.sent_at = time.time()
        if order.by_event:
            detail = {"product": order.product, "id": order.id, "ref": reference}
            self.cloud.client("events").put_events(Entries=[{"EventBusName": self.env["EVENT_BUS"], "Source": "demo.shop",
                                                             "DetailType": "Top-up Sent", "Detail": json.dumps(detail)}])
        else:
            self.tracker("PUT", f"/orders/{order.product}/{order.id}", {"ref": reference})

    def listen(self) -> None:
        """Takes events from the queue that hears everything, until the demo is over."""
        sqs, url = self.cloud.client("sqs"), self.env["EVENTS_QUEUE_URL"]
        try:
            while not self.over.is_set():
                answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, AttributeNames=["SentTimestamp"])
                for message in answer.get("Messages", []):
                    self.heard.put((json.loads(message["Body"]), int(message["Attributes"]["SentTimestamp"]) / 1000))
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        except (BotoCoreError, ClientError, ValueError, KeyError) as error:
            self.listener_error = f"the events could not be read: {error}"

    def take_in(self) -> list[tuple[Order, str, float]]:
        """Gives the events heard since to their orders; answers what is new."""
        by_id = {f"{order.product}/{order.id}": order for order in self.orders}
        new = []
        while not self.heard.empty():
            event, heard_at = self.heard.get()
            self.everything.append(json.dumps(event, ensure_ascii=False))
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
                for event in order.story())
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
                          str(self.calls.get(order.id, "-")), took, " → ".join(event.kind.replace("Order ", "") for event in order.story()),
                          Text("no", "red") if order.problems else Text("yes", "green"))
        return table

    def dead_letters(self) -> list[str]:
        """Queues of what could not be delivered or polled that are not empty."""
        sqs, found = self.cloud.client("sqs"), []
        for name in ("POLLER_DEAD_LETTERS", "RULE_DEAD_LETTERS", "RECHECK_FAILURES"):
            count = sqs.get_queue_attributes(QueueUrl=self.env[name], AttributeNames=["ApproximateNumberOfMessages"])
            if int(count["Attributes"]["ApproximateNumberOfMessages"]):
                found.append(f"messages in {name}: {count['Attributes']['ApproximateNumberOfMessages']}")
        return found

    def items(self) -> list[str]:
        """Every item of the table, as text."""
        pages = self.cloud.client("dynamodb").get_paginator("scan").paginate(TableName=self.env["ORDERS_TABLE"])
        return [json.dumps(item, ensure_ascii=False, default=lambda value: bytes(value).decode("latin-1"))
                for page in pages for item in page["Items"]]

    def leaks(self, items: list[str]) -> list[str]:
        """Looks for every card code, the key and the token in all that was written or announced."""
        cards = {order["card_code"] for order in self.truth.values() if order.get("card_code")}
        secrets = {"card code": cards, "API key": {self.env["ONECLICKDZ_API_KEY"]}, "token": {self.env["API_TOKEN"]}}
        logs = {file.name: file.read_text(errors="replace") for file in sorted(Path(self.env["LOG_DIR"]).rglob("*")) if file.is_file()}
        places = {**{f"log {name}": text for name, text in logs.items()}, "DynamoDB": "\n".join(items), "events": "\n".join(self.everything)}
        self.console.print(f"searched for {len(cards)} card codes, the API key and the token: {len(logs)} log files "
                           f"({sum(map(len, logs.values())) // 1024} KiB: {', '.join(logs)}), {len(items)} DynamoDB items, "
                           f"{len(self.everything)} events", highlight=False, soft_wrap=True)
        expected = sum(CARD_REVEALED in order.expected for order in self.orders)
        found = [] if len(cards) == expected else [f"{len(cards)} card codes known, expected {expected}: the search proves nothing"]
        empty = [place for place in ("log status.log", "log poller.log", "log recheck.log", "DynamoDB", "events") if not places.get(place)]
        found += [f"nothing to search in {place}" for place in empty]
        return found + [f"a {kind} in clear in {place}" for kind, values in secrets.items() for value in values
                        for place, text in places.items() if value in text]


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
        problems += demo.dead_letters() + ([demo.listener_error] if demo.listener_error else [])
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
