#!/usr/bin/env python3
"""A hundred thousand parked orders are due at once, on a local stack of its own, while a shop goes on sending: how soon and with how many calls they
are seen to, and whether ordinary orders wait for them. `make backlog`, `make backlog ORDERS=3000 SEED=7`.

The orders are not sent one by one. A queued internet order and an uncertain mobile one are tracked for real until they are parked; their items are
copied, half and half, as orders that were created 36 to 24 hours ago (139 a minute) and last looked at 23 hours ago, and all fall due at one moment, a little
after the last was written. The vendor's sandbox is told of each of them: nine of ten are where they were, one has been fulfilled since (internet: with its card) and is to
be announced. Ids begin with the time of creation, as the vendor's do. From then on everything is as deployed: the schedule calls `recheck` every minute, all
settings of rechecks are the defaults. So an order is due once, unless the run takes longer than LIST_RECHECK_INTERVAL (1h): then those that were seen first are due again.

The shop is `load.py`'s: 20 orders a minute, from 2 minutes before until the end. The delay of an outcome is counted as there, from the vendor's to the event on the bus,
for outcomes of the time before and for those of the time during which the backlog was worked off.

Calls for the backlog are the sweep's (pages of lists by its log, looks at single orders by the sandbox) and the pages over its creation times that pollers asked for, by their
log. The sweep's part of the key is what the wait loops leave; the key itself has room for 20 sends more.

The local AWS walks through a whole part of an index for every query, and tries its condition on each item: with 25,000 in a part a second or so, in which it answers nobody
else, and pollers ask too. DynamoDB reads what is asked for. So here its index `due` is kept in order (SORTED_INDEX, by way of a sitecustomize.py that only this stack's local AWS has).
It stays one process of Python: each order that is seen to is an update that takes it some ms, so the sweep is slower here than on AWS, and so are the looks beside it.

Exit status 1 if anything falls short: an order that nobody has seen to, an outcome that was not announced, any 429, or a gate below.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import re
import signal
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, Optional, Sequence

from infra.local import tools

if __name__ == "__main__":
    tools.enter("cargo-lambda", "aws")

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from infra.local import settings
from infra.local import stack
from tests.scenarios.load import MINUTE, PARKED, Load, Logs, Machine, make_order, notice_text, seconds_of, spread, step
from infra.local.local_stack import DEFAULT_DIRECTORY, Stack
from infra.local.processes import Failure, programs_in, wait_until
from tests.scenarios.order_log import FULFILLED

DIRECTORY = DEFAULT_DIRECTORY / "backlog"
INDEX_PATCH = DIRECTORY / "index"
SHOP_PER_MINUTE = 20
SHOP_THREADS = 8

CALLS_GATE = 1.3  # for each hundred orders, whoever makes them: 1,300 for 100,000, where 1,000 pages are the best there can be
TICK_GATE = 55.0  # seconds: the function's timeout
MEMORY_GATE = 64.0  # MB
DELAY_GATE = 1.0  # seconds that the mean delay of ordinary orders may be longer than before

CREATED_PER_MINUTE = 139  # so 100,000 were created within 12 hours
CREATED_BEFORE, SEEN_BEFORE = 24 * 3600.0, 23 * 3600.0  # the last of them; and the last look at them
ENDED_SHARE = 0.1
WRITERS, WRITE_BATCH, READ_BATCH, SANDBOX_BATCH = 8, 25, 100, 5000
WRITTEN_PER_SECOND = 600  # what the local AWS takes in on a busy machine (1,000 on an idle one); the orders fall due after so long
SHARDS, PARTS = ("0", "1", "2", "3"), ("0", "1", "2", "3", "f0", "f1")

WINDOW_SECONDS = 60
PROGRESS_SECONDS, COUNT_SECONDS = 10.0, 20.0
PARKED_SECONDS = 60.0  # bound of the wait for the two templates
SETTLE_SECONDS = 90.0  # bound of the wait for the shop's last outcomes and for events
LIST_RECHECK_SECONDS = 3600.0

# What the local AWS's Python reads when it starts.
SORTED_INDEX = '''"""Keeps the index `due` of the local AWS's tables in order, so that a query costs what it answers. Written by backlog.py."""

import re
from bisect import bisect_left, bisect_right, insort

try:
    from ministack.services import dynamodb
except ImportError:
    dynamodb = None  # another program's Python

CONDITION = re.compile(r"due_shard = :shard AND due_at (<=|>) :now")
PAGE = 10_000  # entries, about 1 MB
BEYOND = chr(0x10FFFF)
known = {}  # table: its parts, each a list of (due_at, pk, sk)


def entries_of(table):
    if id(table) not in known:
        known[id(table)] = {}
        for pk, items in table["items"].items():
            for sk, item in items.items():
                note(table, pk, sk, item, True)
    return known[id(table)]


def note(table, pk, sk, item, add):
    if id(table) in known and "due_at" in item and "due_shard" in item:
        entries = known[id(table)].setdefault(item["due_shard"]["S"], [])
        entry = (int(item["due_at"]["N"]), pk, sk)
        at = bisect_left(entries, entry)
        is_there = at < len(entries) and entries[at] == entry
        if add and not is_there:
            insort(entries, entry)
        elif is_there and not add:
            del entries[at]


def index_item(table, pk, sk, item, add):
    plain_index_item(table, pk, sk, item, add)
    note(table, pk, sk, item, add)


def query(data):
    table = dynamodb._tables.get(dynamodb._normalize_table_name(data.get("TableName")))
    asked = CONDITION.fullmatch(data.get("KeyConditionExpression") or "")
    if not table or not asked or data.get("IndexName") != "due" or "FilterExpression" in data or data.get("ScanIndexForward") is False:
        return plain_query(data)
    values, after = data["ExpressionAttributeValues"], data.get("ExclusiveStartKey")
    entries = entries_of(table).get(values[":shard"]["S"], [])
    split = bisect_right(entries, (int(values[":now"]["N"]), BEYOND))
    first, end = (0, split) if asked[1] == "<=" else (split, len(entries))
    if after:
        first = max(first, bisect_right(entries, (int(after["due_at"]["N"]), after["pk"]["S"], after["sk"]["S"])))
    most = min(int(data.get("Limit") or PAGE), PAGE)
    page = entries[first:min(first + most, end)]
    shown = [{"pk": {"S": pk}, "sk": {"S": sk}, "due_at": {"N": str(due_at)}, "due_shard": values[":shard"]} for due_at, pk, sk in page]
    result = {"Count": len(page), "ScannedCount": len(page)}
    if data.get("Select") != "COUNT":
        result["Items"] = shown
    if len(page) == most:
        result["LastEvaluatedKey"] = shown[-1]
    return dynamodb.json_response(result)


if dynamodb is not None:
    plain_index_item, plain_query = dynamodb._index_item, dynamodb._query
    dynamodb._index_item, dynamodb._query = index_item, query
'''


# ---------------------------------------------------------------------- the backlog


@dataclass(frozen=True)
class Template:
    """Of what kind half of the backlog is."""

    product: str
    status: str  # where it is parked
    fields: Mapping[str, str]  # as the sandbox is told
    ref: str

    def order(self, id: str, timeline: Sequence[Mapping[str, Any]], sent_at: Optional[float] = None) -> dict[str, Any]:
        """An order of this kind, as the sandbox is told. All have one number and one ref: what the vendor shows is what the copied item says."""
        when = {} if sent_at is None else {"sent_at": moment(sent_at)}
        return {"product": self.product, "id": id, "amount": 500, "ref": self.ref, "timeline": list(timeline), **self.fields, **when}


TEMPLATES = (
    Template("mobile", "UNKNOWN_ERROR", {"number": "0665983439", "plan_code": "PREPAID_DJEZZY"}, "backlog-mobile"),
    Template("internet", "QUEUED", {"number": "036123456", "type": "ADSL"}, "backlog-internet"),
)


@dataclass(frozen=True)
class Parked:
    """One order of the backlog."""

    template: Template
    id: str
    created_at: float
    seen_at: float  # the last look
    ended_at: Optional[float]  # when the vendor ended it, since then

    def key(self) -> str:
        """What its event ids begin with."""
        return f"{self.template.product}/{self.id}"

    def partition(self) -> str:
        """Where its item is."""
        return f"{self.template.product}#{self.id}"

    def at_vendor(self, rng: random.Random) -> dict[str, Any]:
        """What the sandbox is told."""
        timeline = [step(0, "HANDLING"), step(30, self.template.status)]
        if self.ended_at is not None:
            card = {"card_code": "".join(rng.choices("0123456789", k=12)), "num_trans": f"AT-2026-{rng.randrange(100_000):05d}"}
            timeline.append(step(self.ended_at - self.created_at, "FULFILLED", card if self.template.product == "internet" else {}))
        return self.template.order(self.id, timeline, self.created_at)

    def item(self, template: Mapping[str, Any], shard: str, due_at: float) -> dict[str, Any]:
        """Its item: the template's, at other times."""
        seen, due = milliseconds(self.seen_at), milliseconds(due_at)
        return {**template, "pk": {"S": self.partition()}, "id": {"S": self.id}, "created_at": {"S": moment(self.created_at)},
                "tracked_at": milliseconds(self.created_at + 1), "first_seen_at": milliseconds(self.created_at + 9), "asked_at": seen, "checked_at": seen,
                "changed_at": seen, "parked_since": seen, "next_look_at": due, "due_at": due, "due_shard": {"S": shard}}


def backlog(count: int, now: float, rng: random.Random) -> list[Parked]:
    """So many parked orders, evenly over their time, oldest first."""
    last, apart = now - CREATED_BEFORE, 60 / CREATED_PER_MINUTE
    found = []
    for index in range(count):
        created = round(last - (count - 1 - index) * apart, 3)
        ended = rng.uniform(now - SEEN_BEFORE + 600, now - 60) if rng.random() < ENDED_SHARE else None
        found.append(Parked(TEMPLATES[index % len(TEMPLATES)], f"{int(created):08x}{rng.getrandbits(64):016x}", created, now - SEEN_BEFORE + rng.uniform(0, 300), ended))
    return found


def moment(seconds: float) -> str:
    """As RFC 3339, with milliseconds."""
    return datetime.fromtimestamp(round(seconds * 1000) / 1000, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds(seconds: float) -> dict[str, str]:
    """As an attribute: milliseconds since 1970."""
    return {"N": str(round(seconds * 1000))}


def batches(things: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """In pieces of at most this size."""
    return (things[start:start + size] for start in range(0, len(things), size))


# ---------------------------------------------------------------------- what is watched


class Memory(threading.Thread):
    """The most memory that a process of `recheck` has had, looked at every second. Where there is no /proc, nothing is known."""

    def __init__(self, programs: Path, function: str) -> None:
        super().__init__(daemon=True)
        self.programs, self.mark = programs, f"AWS_LAMBDA_FUNCTION_NAME={function}".encode()
        self.over = threading.Event()
        self.peaks: dict[int, float] = {}  # MB, by pid

    def run(self) -> None:
        """Looks until it is over."""
        while not self.over.wait(1.0):
            for pid in programs_in(self.programs):
                with suppress(OSError, AttributeError):
                    if self.mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                        peak = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
                        self.peaks[pid] = int(peak[1]) * 1024 / 1e6  # type: ignore[index] # a process that ends has no such line

    def peak(self) -> float:
        """Of all of them."""
        return max(self.peaks.values(), default=0.0)


@dataclass
class Tick:
    """One invocation of `recheck`."""

    done: dict[str, Any]  # what it says of itself; empty if it did not come to that
    seconds: float

    def begin(self) -> float:
        """About when it began."""
        return seconds_of(self.done["timestamp"]) - self.seconds if self.done else 0.0


def ticks(lines: Iterable[str]) -> list[Tick]:
    """All invocations in a log. The local AWS may file a function's last line under its next invocation: then it comes first there."""
    found: list[Tick] = []
    done: dict[str, Any] = {}
    is_first = False
    for line in lines:
        if line.startswith("START RequestId"):
            done, is_first = {}, True
        elif line.startswith("{"):
            if '"message":"done"' in line:
                if is_first and found and not found[-1].done:
                    found[-1].done = json.loads(line)
                else:
                    done = json.loads(line)
            is_first = False
        elif reported := re.search(r"^REPORT .*?Duration: ([\d.]+) ms", line):
            found.append(Tick(done, float(reported[1]) / 1000))
            done = {}
    return found


def said(lines: Iterable[str], message: str) -> list[dict[str, Any]]:
    """The log lines with this message."""
    return [json.loads(line) for line in lines if line.startswith("{") and f'"message":"{message}"' in line]


# ---------------------------------------------------------------------- a run


class Backlog(Load):
    """The run: the backlog, and the shop beside it."""

    def __init__(self, env: Mapping[str, str], console: Console, options: argparse.Namespace, memory: Memory) -> None:
        nobody = argparse.Namespace(orders_per_minute=SHOP_PER_MINUTE, minutes=0, shape="log-uniform", seed=options.seed)
        super().__init__(env, console, nobody, "list", "")
        self.options, self.memory, self.rng = options, memory, random.Random(options.seed)
        self.parked: list[Parked] = []
        self.expected: dict[str, Optional[float]] = {}  # by key: when it ended, if it did
        self.announced: dict[str, set[str]] = defaultdict(set)  # of the backlog's orders: ids of what was heard
        self.closed = threading.Event()  # the shop
        self.sales: list[Future[None]] = []
        self.began = time.monotonic()
        self.written_at = self.due_at = self.worked_from = self.done_at = 0.0  # begun to write, due, due and all written, seen to
        self.left = -1  # due orders, when last counted

    def run(self, machine: Machine) -> None:
        """The shop alone, then with the backlog, until nothing is due any more."""
        listener = threading.Thread(target=self.listen, daemon=True)
        listener.start()
        try:
            templates = [self.park(template) for template in TEMPLATES]
            with ThreadPoolExecutor(SHOP_THREADS) as sellers:
                shop = threading.Thread(target=self.keep_shop, args=(sellers,), daemon=True)
                self.began = time.monotonic()
                shop.start()
                try:
                    self.wait("the shop alone", time.time() + self.options.before, machine)
                    self.fill(templates)
                    self.wait("until they are due", self.due_at, machine)
                    self.follow_backlog(machine)
                    self.closed.set()
                    self.settle()
                except BaseException:
                    self.over.set()
                    raise
                finally:
                    self.closed.set()
                    shop.join()
                for sale in self.sales:
                    if sale.exception() is not None:
                        self.blame("orders that could not be sent", str(sale.exception()))
        finally:
            self.over.set()
            listener.join(timeout=30)
        self.hear_all()

    # ------------------------------------------------------------------ the shop

    def keep_shop(self, sellers: ThreadPoolExecutor) -> None:
        """Sends orders until it is closed."""
        for index in itertools.count():
            order = make_order(index, index * MINUTE / SHOP_PER_MINUTE, "log-uniform", self.rng)
            if self.closed.wait(max(self.began + order.at - time.monotonic(), 0)) or self.over.is_set():
                return
            self.by_key[order.key()] = order
            self.orders.append(order)
            self.sales.append(sellers.submit(self.sell, order, self.began))

    def unheard(self) -> int:
        """How many of the shop's orders nobody has heard of beyond that they are tracked."""
        return sum(order.first_notice((*PARKED.values(), "Order Fulfilled", "Order Refunded")) is None for order in list(self.orders))

    def settle(self) -> None:
        """Waits until the shop's last orders and what is on its way have been heard."""
        deadline = time.monotonic() + SETTLE_SECONDS
        ended = sum(ended is not None for ended in self.expected.values())
        while time.monotonic() < deadline and (self.unheard() or (not self.left and len(self.announced) < ended)):
            self.check_listener()
            time.sleep(0.5)
        time.sleep(2)

    def hear_all(self) -> None:
        """Takes in what was heard."""
        while not self.heard.empty():
            event, heard_at = self.heard.get()
            kind, detail = event["detail-type"], event["detail"]
            event_id = str(detail.get("event_id", ""))
            key = event_id.partition("#")[0]
            self.bus[kind] += 1
            if key in self.by_key:
                self.by_key[key].hear(kind, detail, heard_at)
            elif key in self.expected:
                self.announced[key].add(event_id)
                if kind != FULFILLED or self.expected[key] is None:
                    self.blame("events that nobody wrote", f"{kind} {event_id}")
                elif key.startswith("internet/") and not detail["order"]["card"]["available"]:
                    self.blame("fulfilled without its card", event_id)
            elif key.startswith("vendor/"):
                self.blame("events about the key", f"{kind} {json.dumps(detail)}")

    # ------------------------------------------------------------------ the backlog

    def park(self, template: Template) -> dict[str, Any]:
        """Has one order tracked until it is parked; answers its item."""
        id = f"{int(time.time()):08x}{self.rng.getrandbits(64):016x}"
        self.sandbox("/orders", template.order(id, [step(0, "HANDLING"), step(1, template.status)]))
        self.tracker("PUT", f"/orders/{template.product}/{id}", {"ref": template.ref})
        item: dict[str, Any] = {}

        def is_parked() -> bool:
            item.clear()
            item.update(self.dynamodb.get_item(TableName=self.env["ORDERS_TABLE"], Key={"pk": {"S": f"{template.product}#{id}"}, "sk": {"S": "ORDER"}},
                                               ConsistentRead=True).get("Item", {}))
            return item.get("phase") == {"S": "parked"} and item["announced"] == item["seq"]
        wait_until(f"the {template.product} order {id} to be parked", is_parked, PARKED_SECONDS, every=0.5)
        if item["status"] != {"S": template.status} or "in_flight_since" in item:
            raise Failure(f"the {template.product} order {id} is parked as {item}")
        return item

    def fill(self, templates: Sequence[Mapping[str, Any]]) -> None:
        """Puts the backlog there: at the vendor first, then into the table, due when all are written."""
        self.written_at = time.time()
        self.parked = backlog(self.options.orders, self.written_at, self.rng)
        self.expected = {order.key(): order.ended_at for order in self.parked}
        for some in batches(self.parked, SANDBOX_BATCH):
            self.sandbox("/orders/many", {"orders": [order.at_vendor(self.rng) for order in some]})
        told_at = time.time()
        self.due_at = math.ceil(told_at + 5 + len(self.parked) / WRITTEN_PER_SECOND)
        items = {template.product: item for template, item in zip(TEMPLATES, templates)}
        written = [order.item(items[order.template.product], SHARDS[self.rng.randrange(len(SHARDS))], self.due_at) for order in self.parked]
        with ThreadPoolExecutor(WRITERS) as writers:
            list(writers.map(self.write, batches(written, WRITE_BATCH)))
        took = time.time() - told_at
        self.console.print(f"{len(written)} parked orders, {sum(order.ended_at is not None for order in self.parked)} of them ended at the vendor: "
                           f"told the sandbox in {told_at - self.written_at:.0f} s, written in {took:.0f} s", highlight=False)
        if time.time() > self.due_at:
            self.console.print(f"written {time.time() - self.due_at:.0f} s after they were due: the first were due before the last were there", highlight=False)

    def write(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Writes a batch, and again what was left out."""
        table = self.env["ORDERS_TABLE"]
        left = [{"PutRequest": {"Item": item}} for item in items]
        while left:
            left = self.dynamodb.batch_write_item(RequestItems={table: left}).get("UnprocessedItems", {}).get(table, [])

    def count_due(self) -> int:
        """How many orders are due now, by the index."""
        values = {":now": milliseconds(time.time())}
        pages = (page for part in PARTS for page in self.dynamodb.get_paginator("query").paginate(
            TableName=self.env["ORDERS_TABLE"], IndexName="due", Select="COUNT", KeyConditionExpression="due_shard = :shard AND due_at <= :now",
            ExpressionAttributeValues={**values, ":shard": {"S": part}}))
        return sum(page["Count"] for page in pages)

    def wait(self, what: str, until: float, machine: Machine) -> None:
        """Waits, and says so."""
        told = time.monotonic()
        while time.time() < until:
            self.check_listener()
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                self.console.print(f"{time.monotonic() - self.began:5.0f} s  {what}, {until - time.time():.0f} s more; {self.progress(machine)}",
                                   highlight=False, soft_wrap=True)
            time.sleep(max(min(0.5, until - time.time()), 0))

    def check_listener(self) -> None:
        """Takes in what was heard; fails if nobody listens any more."""
        self.hear_all()
        if self.listener_error:
            raise Failure(self.listener_error)

    def follow_backlog(self, machine: Machine) -> None:
        """Says every few seconds how far it is; ends when nothing is due any more, or it takes too long."""
        self.worked_from = time.time()
        deadline = self.worked_from + self.options.minutes * 60
        told, counted = 0.0, time.monotonic()
        self.left = len(self.parked)
        while self.left and time.time() < deadline:
            self.check_listener()
            if time.monotonic() - counted >= COUNT_SECONDS:
                self.left, counted = self.count_due(), time.monotonic()
            if time.monotonic() - told >= PROGRESS_SECONDS or not self.left:
                told = time.monotonic()
                self.console.print(f"{time.monotonic() - self.began:5.0f} s  {self.left} still due, {len(self.announced)} outcomes announced; {self.progress(machine)}; "
                                   f"recheck {self.memory.peak():.1f} MB", highlight=False, soft_wrap=True)
            time.sleep(0.5)
        self.done_at = time.time()
        if self.left:
            self.blame("orders still due", f"{self.left} after {self.options.minutes:g} minutes")

    def progress(self, machine: Machine) -> str:
        """What is said in any case."""
        window = self.sandbox(f"/calls/windows?seconds={WINDOW_SECONDS}&endpoint_kind=check,list")
        return (f"{window['total']} calls, highest minute {window['highest']} of {self.options.budget}; shop: {len(self.orders)} sent, {self.unheard()} without news; "
                f"CPU {machine.since_last():.0f} %")

    # ------------------------------------------------------------------ measuring

    def stored(self) -> list[dict[str, Any]]:
        """What the table says of the backlog now."""
        table = self.env["ORDERS_TABLE"]

        def read(some: Sequence[Parked]) -> list[dict[str, Any]]:
            keys = [{"pk": {"S": order.partition()}, "sk": {"S": "ORDER"}} for order in some]
            found: list[dict[str, Any]] = []
            while keys:
                answer = self.dynamodb.batch_get_item(RequestItems={table: {
                    "Keys": keys, "ProjectionExpression": "pk, checked_at, phase, outcome, unlisted, seq, announced"}})
                found += answer["Responses"][table]
                keys = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
            return found
        with ThreadPoolExecutor(WRITERS) as readers:
            return [item for items in readers.map(read, batches(self.parked, READ_BATCH)) for item in items]

    def judge_backlog(self) -> dict[str, Any]:
        """Whether all were seen to, how long they waited, and whether each outcome was stored and announced."""
        by_partition = {order.partition(): order for order in self.parked}
        waits, unseen, unlisted = [], 0, 0
        for item in self.stored():
            order = by_partition.pop(item["pk"]["S"])
            checked = int(item["checked_at"]["N"]) / 1000
            if checked < self.written_at - 1:
                unseen += 1
                continue
            waits.append(checked - self.due_at)
            unlisted += "unlisted" in item
            ends_as = item.get("outcome", {}).get("S")
            if ends_as != (None if order.ended_at is None else "fulfilled"):
                self.blame("orders that were stored otherwise than the vendor has them", f"{order.key()}: {item['phase']['S']} {ends_as}")
            if order.ended_at is not None and len(self.announced[order.key()]) != 1:
                self.blame("outcomes that were not announced under one id", f"{order.key()}: {sorted(self.announced[order.key()])}")
        for order in by_partition.values():
            self.blame("orders that the table does not have", order.key())
        if unseen:
            self.blame("orders that nobody has seen to", f"{unseen}, for {time.time() - self.due_at:.0f} s")
        ended = sum(order.ended_at is not None for order in self.parked)
        return {"seen": len(waits), "unseen": unseen, "unlisted": unlisted, "wait": spread(waits), "median": statistics.median(waits) if waits else 0.0,
                "ended": ended, "announced": sum(bool(events) for events in self.announced.values())}

    def measure_backlog(self) -> dict[str, Any]:
        """The figures that need the stack."""
        since = f"since={moment(self.due_at)}"
        calls = self.sandbox("/calls")["calls"]
        ours = {order.id for order in self.parked}
        lately = [call for call in calls if seconds_of(call["at"]) >= self.due_at - 1]
        refused = [call for call in calls if call["http"] == 429]
        if refused:
            self.blame("429s", f"{len(refused)}, the first at {refused[0]['at']}")
        sold = [order for order in self.orders if order.is_sold]
        truth = {order.id: self.sandbox(f"/orders/{order.id}") for order in sold}

        def news(order: Any) -> float:
            steps = truth[order.id]["timeline"]
            return seconds_of(next((step["at"] for step in steps if step["status"] in PARKED), truth[order.id]["ended_at"]))
        before = self.notices([order for order in sold if news(order) < self.written_at], truth)
        during = self.notices([order for order in sold if self.worked_from <= news(order) < self.done_at], truth)
        for name, count in self.dead_letters().items():
            self.blame("dead letters", f"{count} in {name}")
        return {
            **self.judge_backlog(),
            "singles": sum(call["order"] in ours for call in lately), "lists": sum(call["endpoint"].endswith("/list") for call in lately),
            "rows": sum(call["rows"] or 0 for call in lately), "checks": sum("/check" in call["endpoint"] for call in lately),
            "highest": self.sandbox(f"/calls/windows?seconds={WINDOW_SECONDS}&endpoint_kind=check,list,validate")["highest"],
            "highest_of_all": self.sandbox(f"/calls/windows?seconds={WINDOW_SECONDS}&{since}")["highest"], "refused": len(refused),
            "before": spread(before["in_flight"]), "during": spread(during["in_flight"]), "unheard": spread(before["unheard"] + during["unheard"]),
            "sent": len(sold), "worked": self.done_at - self.due_at,
        }


def figures_of_logs(logs: Logs, run: Backlog, figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that the logs hold; they are complete when the stack is down."""
    recheck, poller = logs.lines("recheck"), logs.lines("poller")
    pages = [page for page in said(recheck, "checked a page") if page["trigger"] == "Recheck"]
    failed = said(recheck, "a list check failed")
    of_pollers = [page for page in said(poller, "checked a page") if seconds_of(page["timestamp"]) >= run.due_at]
    for_backlog = [page for page in of_pollers if seconds_of(page["to"]) < run.due_at - CREATED_BEFORE + 3600]
    complaints = Counter((function, line["level"], line["message"]) for function, lines in (("recheck", recheck), ("poller", poller), ("status", logs.lines("status")))
                         for line in (json.loads(text) for text in lines if text.startswith("{") and '"level":"INFO"' not in text))
    by_sweep = len(pages) + len(failed) + figures["singles"]
    return {"ticks": [tick for tick in ticks(recheck) if not tick.done or seconds_of(tick.done["timestamp"]) >= run.due_at],
            "pages": len(pages), "pages_failed": len(failed), "by_sweep": by_sweep, "calls": by_sweep + len(for_backlog),
            "shown": statistics.fmean(page["shown"] for page in pages) if pages else 0.0, "ours": statistics.fmean(page["ours"] for page in pages) if pages else 0.0,
            "about": statistics.fmean(page["about"] for page in pages) if pages else 0.0,
            "overflowed": sum(page["total"] > page["shown"] for page in pages), "poller_pages": len(of_pollers), "poller_pages_for_backlog": len(for_backlog),
            "complaints": complaints, "lateness": logs.lateness()}


def hold(run: Backlog, figures: Mapping[str, Any]) -> None:
    """Holds the figures against the gates."""
    gate = math.ceil(run.options.orders / 100 * CALLS_GATE)
    slowest = max((tick.seconds for tick in figures["ticks"]), default=0.0)
    for what, value, most in (("calls", figures["calls"], gate), ("calls in the highest minute", figures["highest"], run.options.budget),
                              ("seconds of the longest tick", slowest, TICK_GATE), ("MB of recheck", run.memory.peak(), MEMORY_GATE),
                              ("seconds of mean delay beyond what it was before", figures["during"]["mean"] - figures["before"]["mean"], DELAY_GATE)):
        if value > most:
            run.blame("gates missed", f"{value:.4g} {what}, the gate is {most:g}")
    unfinished = sum(not tick.done for tick in figures["ticks"])
    if unfinished:
        run.blame("gates missed", f"{unfinished} ticks that did not come to their end")
    if figures["worked"] > LIST_RECHECK_SECONDS:
        run.console.print("it took longer than LIST_RECHECK_INTERVAL: the orders that were seen first have been due again, and count again", highlight=False)


def show(console: Console, run: Backlog, figures: Mapping[str, Any]) -> None:
    """The ticks, and what the line at the end does not say."""
    table = Table(title="Ticks of recheck", title_justify="left")
    names = ("due", "published", "vendor_calls", "checks", "became_final", "still_parked", "failed", "not_permitted", "remaining", "oldest_due_seconds")
    for name in ("began, s", *(name.replace("_", " ") for name in names), "took, s"):
        table.add_column(name, justify="right")
    for tick in figures["ticks"]:
        table.add_row(f"{tick.begin() - run.due_at:.0f}" if tick.done else "?", *(str(tick.done.get(name, 0) if tick.done else "?") for name in names), f"{tick.seconds:.1f}")
    console.print(table)
    wait = figures["wait"]
    console.print(
        f"waits of due orders: mean {wait['mean']:.0f} s, median {figures['median']:.0f} s, p95 {wait['p95']:.0f} s, longest {wait['max']:.0f} s; {figures['unlisted']} looked at by id since a list did not show them\n"
        f"sweep: {figures['pages']} pages ({figures['shown']:.1f} rows, planned about {figures['about']:.1f}, {figures['ours']:.1f} taken; {figures['overflowed']} overflowed, "
        f"{figures['pages_failed']} failed) and {figures['singles']} single checks; pollers: {figures['poller_pages']} pages, {figures['poller_pages_for_backlog']} of them of the backlog's time\n"
        f"vendor, from the due moment on: {figures['lists']} lists with {figures['rows']} rows, {figures['checks']} checks; highest minute with sends {figures['highest_of_all']}\n"
        f"delay of the shop's outcomes (mean / p95 / max, s): before {notice_text(figures['before'])} ({figures['before']['count']}), during {notice_text(figures['during'])} "
        f"({figures['during']['count']}), never heard {figures['unheard']['count']}; poll ticks late by {notice_text(figures['lateness'])} s\n"
        f"machine: CPU {figures['cpu']['mean']:.0f} %, local AWS {figures['cpu']['local_aws']:.0f} % of a processor", highlight=False, soft_wrap=True)
    for (function, level, message), count in sorted(figures["complaints"].items()):
        console.print(f"log of {function}: {level} {message}: {count}", highlight=False, soft_wrap=True)


def line(run: Backlog, figures: Mapping[str, Any]) -> str:
    """A run in one line."""
    slowest = max((tick.seconds for tick in figures["ticks"]), default=0.0)
    before, during = figures["before"], figures["during"]
    return (f"{figures['seen']} of {run.options.orders} due orders seen to in {figures['worked']:.0f} s, {run.left} still due, the longest wait {figures['wait']['max']:.0f} s; "
            f"{figures['announced']} of {figures['ended']} outcomes announced; {figures['calls']} calls for them ({figures['by_sweep']} of the sweep, the others of pollers), highest minute {figures['highest']} of "
            f"{run.options.budget}, {figures['refused']} refused; {len(figures['ticks'])} ticks, the longest {slowest:.1f} s; recheck {run.memory.peak():.1f} MB; "
            f"ordinary orders {during['mean']:.2f} s, p95 {during['p95']:.2f} s (before: {before['mean']:.2f} s, p95 {before['p95']:.2f} s); seed {run.options.seed}")


def work(console: Console, options: argparse.Namespace) -> tuple[Backlog, dict[str, Any]]:
    """From nothing to nothing."""
    own = Stack(DIRECTORY)
    own.down()
    INDEX_PATCH.mkdir(parents=True, exist_ok=True)
    INDEX_PATCH.joinpath("sitecustomize.py").write_text(SORTED_INDEX)
    chosen = {"STATE_MACHINE_TYPE": "EXPRESS", "VENDOR_CALLS_PER_MINUTE": str(options.budget),
              "SANDBOX_FLAGS": f"--keys-per-minute {options.budget + SHOP_PER_MINUTE}"}
    memory: Optional[Memory] = None
    try:
        own = stack.up(DIRECTORY, {**settings.without(os.environ), **chosen}, not options.no_build, {"PYTHONPATH": str(INDEX_PATCH)})
        env = own.read_env()
        memory = Memory(own.temporary, env["RECHECK_FUNCTION"])
        memory.start()
        logs, machine = Logs(own.logs), Machine(own.aws.pid())
        run = Backlog(env, console, options, memory)
        run.run(machine)
        figures = {"cpu": machine.figures(), **run.measure_backlog()}
    finally:
        if memory is not None:
            memory.over.set()
        own.down()
    figures.update(figures_of_logs(logs, run, figures))
    hold(run, figures)
    return run, figures


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=100_000, help="how many parked orders are due at once (default: 100000)")
    parser.add_argument("--budget", type=int, default=120, help="calls a minute for the tracker (default: 120)")
    parser.add_argument("--before", type=float, default=120, help="for how many seconds the shop is alone first (default: 120)")
    parser.add_argument("--minutes", type=float, default=60, help="after how many minutes to give up (default: 60)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="of all random choices (default: a random one)")
    parser.add_argument("--no-build", action="store_true", help="take what is built")
    options = parser.parse_args()
    if options.orders < len(TEMPLATES) or options.budget < 2:
        parser.error("two orders and two calls a minute at least")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(f"{options.orders} parked orders, {options.budget} calls a minute for the tracker, {SHOP_PER_MINUTE} ordinary orders a minute, seed {options.seed}", highlight=False)
    try:
        run, figures = work(console, options)
    except Failure as failure:
        tools.fail(f"{failure}\nlogs: {DIRECTORY / 'logs'}")
    except (BotoCoreError, ClientError) as error:
        tools.fail(f"AWS: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    show(console, run, figures)
    for what, examples in run.wrong.items():
        console.print(f"wrong: {what}: {len(examples)}, such as\n  " + "\n  ".join(examples[:5]), style="red", highlight=False, soft_wrap=True)
    print(f"logs: {os.path.relpath(DIRECTORY / 'logs')}")
    console.print(f"{'FAILED' if run.wrong else 'held'}: {line(run, figures)}", highlight=False, soft_wrap=True)
    sys.exit(1 if run.wrong else 0)


if __name__ == "__main__":
    main()
