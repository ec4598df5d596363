"""Parked orders that are all due at once, on a local stack of its own, while a shop sends on: the time and calls until all are rechecked, and the delay of
ordinary orders. `make backlog`, `make backlog ORDERS=3000 SEED=7`. (`make simulate` has 100,000 parked orders, in a model.)

One queued internet order and one uncertain mobile order are tracked until they are parked. Copies of their items, half and half, get creation times 24 hours
ago and earlier (139 a minute) and a last check 23 hours ago. All are due at one moment, shortly after the last was written. The sandbox knows all of them:
nine of ten are unchanged, one was fulfilled since, which is to be published. From then on everything runs as deployed, with the default settings of rechecks.

The shop of `shop.py` sends 20 orders a minute, from 2 minutes before until the end. Its notices before and during the backlog are compared. Calls for the
backlog are those of the recheck (list checks by its log, single checks by the sandbox) and the list checks of pollers over the backlog's creation times. The
local AWS is one Python process that evaluates all entries of an index part for each query, so ordinary orders wait longer than on AWS: the gate of their
notice allows 0.2 s more for each 1,000 orders.

Exit status 1 for an order that was not checked, an outcome that was not published once, any 429, or a missed gate.
"""

import argparse
import json
import math
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infra.local.local_stack import Stack
from infra.local.processes import programs_in, wait_until
from tests.scenarios.order_log import FULFILLED, PlannedOrder, card, for_sandbox, seconds_of, step
from tests.scenarios.shop import PROGRESS_SECONDS, Logs, Shop, busy, make_orders, show, spread
from tests.scenarios.stack_client import command_line, console, own_stack

CALLS_GATE, FIRST_CALLS = 1.3, 5  # for each hundred orders (1 is the best that pages of 100 rows allow), and until it is known how many rows a page covers
GATES = {"still due": 0, "changes without an event": 0, "longest tick, s": 55.0, "ticks without an end": 0,
         "recheck, MB": 64.0}  # 55 s: the timeout of `recheck`
LINE = ("checked", "seconds until all were checked", "wait of a due order, s", "outcomes", "outcomes published", "calls for the backlog", "highest minute",
        "429s", "ticks", "longest tick, s", "recheck, MB", "notice before, s", "notice during, s", "seed")
SHOP_PER_MINUTE, CREATED_PER_MINUTE, ENDED_SHARE = 20, 139, 0.1  # ordinary orders; parked orders, and the part of them that has ended
CREATED_BEFORE, CHECKED_BEFORE = 24 * 3600.0, 23 * 3600.0  # the last creation and the last check, in seconds before the start
WRITERS, WRITE_BATCH, SANDBOX_BATCH = 8, 25, 5000
WRITTEN_PER_SECOND = 600  # by the local AWS on a busy machine; the orders are due after so long
PARTS = ("0", "1", "2", "3")  # of the index `due`, for parked orders
DONE = '"message":"done"'  # in the last log line of a tick
BEFORE_SECONDS, SETTLE_SECONDS = 120.0, 90.0  # of the shop alone; bound of the wait for the last events
KINDS = {"mobile": ("UNKNOWN_ERROR", "0665983439"), "internet": ("QUEUED", "036123456")}  # status and number of the parked orders


@dataclass
class Parked(PlannedOrder):
    """One order of the backlog."""

    ended_at: float | None  # when the vendor fulfilled it, after the last check
    times: dict[str, Any]  # attributes in which its item differs from the template's


def make_parked(product: str, created: float, now: float, rng: random.Random) -> Parked:
    """One order of the backlog, created at this time."""
    order_id = f"{int(created):08x}{rng.getrandbits(64):016x}"  # begins with the creation time, as the vendor's do
    timeline = [step(0, "HANDLING"), step(30, KINDS[product][0])]
    checked, ended = now - CHECKED_BEFORE + rng.uniform(0, 300), None
    if rng.random() < ENDED_SHARE:
        ended = rng.uniform(now - CHECKED_BEFORE + 600, now - 60)
        timeline.append(step(ended - created, "FULFILLED", card(rng) if product == "internet" else {}))
    times = {"pk": {"S": f"{product}#{order_id}"}, "id": {"S": order_id}, "created_at": {"S": moment(created)}, "tracked_at": milliseconds(created + 1),
             "first_seen_at": milliseconds(created + 9), "due_shard": {"S": rng.choice(PARTS)},
             **dict.fromkeys(("asked_at", "checked_at", "changed_at", "parked_since"), milliseconds(checked))}
    at_vendor = for_sandbox(product, order_id, KINDS[product][1], f"backlog-{product}", timeline)
    return Parked("parked", product, ended, times, id=order_id, direct={**at_vendor, "sent_at": moment(created)})


def moment(seconds: float) -> str:
    """RFC 3339 with milliseconds."""
    return datetime.fromtimestamp(round(seconds * 1000) / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds(seconds: float) -> dict[str, str]:
    """A time as an attribute value."""
    return {"N": str(round(seconds * 1000))}


class Backlog(Shop):
    """The run: the backlog, and the shop beside it."""

    def __init__(self, own: Stack, options: argparse.Namespace) -> None:
        self.options, self.rng = options, random.Random(options.seed)
        longest = BEFORE_SECONDS / 60 + options.minutes + 5
        super().__init__(own.read_env(), make_orders(round(longest * SHOP_PER_MINUTE), SHOP_PER_MINUTE, self.rng))
        self.log, self.programs = Logs(own.logs), own.temporary
        self.parked: dict[str, Parked] = {}
        self.memory: dict[int, float] = {}  # MB at the peak, by process of `recheck`
        self.cpu: dict[int, float] = {}  # seconds, likewise
        self.began = self.written_from = self.due_at = self.worked_from = self.done_at = 0.0
        self.left = self.ended = 0  # due orders, when last counted; orders that the vendor has ended

    def run(self) -> None:
        """The shop alone, then with the backlog, until nothing is due any more."""
        templates = {product: self.park(product) for product in KINDS}
        self.began = time.monotonic()
        with self.selling(self.began):
            self.wait("the shop alone", time.time() + BEFORE_SECONDS)
            self.fill(templates)
            self.wait("until the backlog is due", self.due_at)
            self.follow()
        deadline = time.time() + SETTLE_SECONDS
        while time.time() < deadline and (self.unreceived() or (not self.left and self.published() < self.ended)):
            self.receive(1)

    def receive_other(self, kind: str, key: str, detail: Mapping[str, Any]) -> None:
        """Takes in an event about one of the two templates, or the key."""
        if key.startswith("vendor/"):
            self.wrong["events about the key"].add(f"{kind} {json.dumps(detail)}")

    def published(self) -> int:
        """The orders of the backlog with an event."""
        return sum(bool(order.events) for order in self.parked.values())

    def park(self, product: str) -> dict[str, Any]:
        """Has one order tracked until it is parked; answers its item."""
        (status, number), order_id = KINDS[product], f"{int(time.time()):08x}{self.rng.getrandbits(64):016x}"
        self.sandbox("/orders", for_sandbox(product, order_id, number, f"backlog-{product}", [step(0, "HANDLING"), step(1, status)]))
        key = f"{product}/{order_id}"
        self.tracker("PUT", f"/orders/{key}", {"ref": f"backlog-{product}"})

        def is_parked() -> bool:
            now = self.records().get(key, {})
            return now.get("phase") == {"S": "parked"} and now["status"] == {"S": status} and now["announced"] == now["seq"] and "in_flight_since" not in now
        wait_until(f"the order {key} to be parked", is_parked, 60, every=0.5)
        return self.records()[key]

    def fill(self, templates: Mapping[str, Mapping[str, Any]]) -> None:
        """Creates the backlog: first at the vendor, then in the table."""
        self.written_from = time.time()
        count, newest, apart = self.options.orders, self.written_from - CREATED_BEFORE, 60 / CREATED_PER_MINUTE
        orders = [make_parked(list(KINDS)[index % 2], round(newest - (count - 1 - index) * apart, 3), self.written_from, self.rng) for index in range(count)]
        self.parked = {order.key(): order for order in orders}
        self.by_key |= self.parked
        self.ended = sum(order.ended_at is not None for order in orders)
        for start in range(0, count, SANDBOX_BATCH):
            self.sandbox("/orders/many", {"orders": [order.direct for order in orders[start:start + SANDBOX_BATCH]]})
        self.due_at = math.ceil(time.time() + 5 + count / WRITTEN_PER_SECOND)
        due = dict.fromkeys(("next_look_at", "due_at"), milliseconds(self.due_at))
        puts = [{"PutRequest": {"Item": {**templates[order.product], **order.times, **due}}} for order in orders]

        def write(start: int) -> None:  # the local AWS leaves none unprocessed
            self.dynamodb.batch_write_item(RequestItems={self.env["ORDERS_TABLE"]: puts[start:start + WRITE_BATCH]})
        with ThreadPoolExecutor(WRITERS) as writers:
            list(writers.map(write, range(0, count, WRITE_BATCH)))
        console.print(f"{count} parked orders written in {time.time() - self.written_from:.0f} s, {self.ended} of them ended at the vendor"
                      + ("; some were due before the last was written" if time.time() > self.due_at else ""))

    def wait(self, what: str, until: float) -> None:
        """Waits, and shows the progress. Also reads memory and CPU time of `recheck`, where there is a /proc."""
        while (now := time.time()) < until:
            for process in [Path(f"/proc/{pid}") for pid in programs_in(self.programs)]:
                with suppress(OSError):
                    peak = re.search(r"^VmHWM:\s+(\d+) kB", (process / "status").read_text(), re.MULTILINE)
                    if peak and f"AWS_LAMBDA_FUNCTION_NAME={self.env['RECHECK_FUNCTION']}".encode() in (process / "environ").read_bytes().split(b"\0"):
                        self.memory[int(process.name)] = int(peak[1]) * 1024 / 1e6
                        in_user, in_system = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
                        self.cpu[int(process.name)] = (int(in_user) + int(in_system)) / os.sysconf("SC_CLK_TCK")
            minute = self.sandbox("/calls/windows?seconds=60&endpoint_kind=check,list")
            console.print(
                f"{time.monotonic() - self.began:5.0f} s  {what}; {minute['total']} calls, highest minute {minute['highest']} of {self.options.budget}; "
                f"shop: {sum(order.is_sold for order in self.orders)} sent, {self.unreceived()} without an event; "
                f"recheck {max(self.memory.values(), default=0):.1f} MB")
            while time.time() < min(until, now + PROGRESS_SECONDS):
                self.receive(1)

    def unreceived(self) -> int:
        """The shop's orders that have no event about a change."""
        return sum(order.is_sold and order.first_change() is None for order in self.orders)

    def follow(self) -> None:
        """Shows the progress; ends when nothing is due any more, or after the given minutes."""
        self.worked_from, seen = time.time(), -1
        self.left = len(self.parked)
        while self.left and time.time() < self.worked_from + self.options.minutes * 60:
            self.wait(f"{self.left} due after the last tick, {self.published()} outcomes published", time.time() + PROGRESS_SECONDS)
            if (ticks := len(self.log.entries("recheck", DONE))) > seen:  # counting takes the local AWS a second or two
                pages = [page for part in PARTS for page in self.dynamodb.get_paginator("query").paginate(
                    TableName=self.env["ORDERS_TABLE"], IndexName="due", Select="COUNT", KeyConditionExpression="due_shard = :part AND due_at <= :now",
                    ExpressionAttributeValues={":now": milliseconds(time.time()), ":part": {"S": part}})]
                seen, self.left = ticks, sum(page["Count"] for page in pages)
        self.done_at = time.time()

    def judge(self) -> dict[str, Any]:
        """Whether all orders were checked, how long they waited, and whether each outcome was stored and published."""
        records, waits, unlisted = self.records(), [], 0
        for key, order in self.parked.items():
            record = records.get(key, {"checked_at": {"N": "0"}})
            checked, ends_as = int(record["checked_at"]["N"]) / 1000, record.get("outcome", {}).get("S")
            if checked < self.written_from - 1:
                self.wrong["orders that were not checked"].add(f"{key}, for {time.time() - self.due_at:.0f} s")
                continue
            waits.append(checked - self.due_at)
            unlisted += "unlisted" in record
            if ends_as != (None if order.ended_at is None else "fulfilled") or order.kinds() != (() if order.ended_at is None else (FULFILLED,)):
                self.wrong["orders that were not stored as they ended, or not published under one id"].add(f"{key}: {ends_as} {sorted(order.events)}")
            if order.lacks_card():
                self.wrong["cards that are missing"].add(key)
        return {"checked": len(waits), "still due": self.left, "seconds until all were checked": self.done_at - self.due_at,
                "wait of a due order, s": spread(waits), "not shown by a list": unlisted,
                "outcomes": self.ended, "outcomes published": self.published()}

    def measure(self) -> dict[str, Any]:
        """The figures that need the stack."""
        (calls, failures), ids = self.calls(), {order.id for order in self.parked.values()}
        lately = [call for call in calls if seconds_of(call["at"]) >= self.due_at - 1]
        before, during = self.notices(lambda change: change < self.written_from), self.notices(lambda change: self.worked_from <= change < self.done_at)
        alone, beside = spread(before["in_flight"]), spread(during["in_flight"])
        return {
            **self.judge(), **failures, "single checks of due orders": sum(call["order"] in ids for call in lately),
            "all single checks": sum("/check" in call["endpoint"] for call in lately), "rows of all list checks": sum(call["rows"] or 0 for call in lately),
            "all list checks": sum(call["endpoint"].endswith("/list") for call in lately), "seed": self.options.seed,
            "highest minute": self.sandbox("/calls/windows?seconds=60&endpoint_kind=check,list,validate")["highest"],
            "highest minute with sends": self.sandbox(f"/calls/windows?seconds=60&since={moment(self.due_at)}")["highest"],
            "recheck, MB": max(self.memory.values(), default=0.0), "recheck, CPU s": sum(self.cpu.values()),
            "notice before, s": alone, "notice during, s": beside,
            "mean notice, s longer than before": beside["mean"] - alone["mean"], "changes without an event": len(before["unreceived"] + during["unreceived"]),
        }

    def read_logs(self, singles: int) -> dict[str, Any]:
        """Shows the ticks of the recheck; answers the figures that the logs hold. They are complete when the stack is down."""
        done, seconds = self.log.entries("recheck", DONE), [duration / 1000 for duration in self.log.milliseconds("recheck")]
        ticks = [(tick, took) for tick, took in zip(done, seconds, strict=False) if seconds_of(tick["timestamp"]) >= self.due_at]
        names = ("due", "published", "vendor_calls", "checks", "became_final", "still_parked", "failed", "not_permitted", "remaining", "oldest_due_seconds")
        show("Ticks of the recheck, by the second after the orders were due", {
            f"{seconds_of(tick['timestamp']) - took - self.due_at:.0f}": {"seconds": took, **{name: tick.get(name, 0) for name in names}}
            for tick, took in ticks})
        pages = [page for page in self.log.entries("recheck", '"message":"checked a page"') if page["trigger"] == "Recheck"]
        failed = len(self.log.entries("recheck", '"message":"a list check failed"'))
        of_pollers = [page for page in self.log.entries("poller", '"message":"checked a page"') if seconds_of(page["timestamp"]) >= self.due_at]
        over_backlog = sum(seconds_of(page["to"]) < self.due_at - CREATED_BEFORE + 3600 for page in of_pollers)
        return {
            "ticks": len(ticks), "ticks without an end": len(seconds) - len(done), "longest tick, s": max((took for _, took in ticks), default=0.0),
            "calls for the backlog": len(pages) + failed + singles + over_backlog, "list checks of the recheck": len(pages) + failed, "  failed": failed,
            **{f"  rows {name}": spread(page[name] for page in pages) for name in ("about", "shown", "ours")},
            "  with more rows than shown": sum(page["total"] > page["shown"] for page in pages),
            "list checks of pollers": len(of_pollers), "  over the backlog's time": over_backlog, "ticks later than asked, s": self.log.tick_delays(),
            **Counter(f"log of {name}: {said['message']}" for name in self.log.files for said in self.log.entries(name) if said["level"] != "INFO"),
        }


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument("--orders", type=int, default=10_000, help="parked orders that are due at once (default: 10000)")
    parser.add_argument("--budget", type=int, default=120, help="calls a minute for the tracker (default: 120)")
    parser.add_argument("--minutes", type=float, default=60, help="minutes until the run gives up (default: 60)")
    options = parser.parse_args()
    if options.orders < len(KINDS) or options.budget < 2:
        parser.error("two orders and two calls a minute at least")
    about = f"{options.orders} parked orders"
    console.print(f"{about}, {options.budget} calls a minute for the tracker, {SHOP_PER_MINUTE} ordinary orders a minute, seed {options.seed}")
    chosen = {"STATE_MACHINE_TYPE": "EXPRESS", "VENDOR_CALLS_PER_MINUTE": str(options.budget),
              "SANDBOX_FLAGS": f"--keys-per-minute {options.budget + SHOP_PER_MINUTE}"}
    with own_stack("backlog", chosen, not options.no_build) as own:
        run = Backlog(own, options)
        run.run()
        figures = {**run.measure(), **busy(own)}
    figures |= run.read_logs(figures["single checks of due orders"])
    show("Parked orders that are due at once", {about: figures})
    gates = {"calls for the backlog": math.ceil(options.orders / 100 * CALLS_GATE) + FIRST_CALLS, "highest minute": options.budget,
             "mean notice, s longer than before": 1 + options.orders / 5000, **GATES}
    sys.exit(0 if run.conclude(f"{about}: {run.hold(figures, gates, LINE)}") else 1)


if __name__ == "__main__":
    main()
