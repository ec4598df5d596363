"""Sends orders of every kind through a local stack while the vendor fails and function processes are killed. Checks that no order and no event
is lost, wrong, or published under two ids. `make chaos`, `make chaos ORDERS=100 MINUTES=1 SEED=7`.

The vendor answers a tenth of the checks with 429, 503, HTML, half a body or too late. Every few seconds a function process is killed, while it
works if possible. Every order has two or three pollers; a twentieth of their executions is stopped. Rechecks overlap, and status requests arrive.
The shop fails too: it answers the first webhooks of a third of the orders with 500, 503, too late or not at all. Yet each event reaches it, and the feed
shows all events, those of an order in their order.

The settings let 2,000 orders in 5 minutes pass through a local AWS that is one Python process on two cores: STANDARD, because an Express execution
cannot be stopped; first checks just after the sandbox's ordinary end (15 s mobile, 10 s internet), so two an order. On a busier machine the sends
take longer than asked for (the figures say so), and executions whose poller could not start end in the dead letters.

Exit status 1 if a check failed. Random choices come from the seed; process timing does not.
"""

import argparse
import json
import os
import random
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.processes import Failure, processor_time, programs_in, wait_until
from tests.scenarios.order_log import REFUND, PlannedOrder, card, for_sandbox, phone_number, step
from tests.scenarios.stack_client import StackClient, command_line, console, own_stack

BUDGET = 3000  # calls a minute
SETTINGS = {
    "STATE_MACHINE_TYPE": "STANDARD", "VENDOR_CALLS_PER_MINUTE": str(BUDGET), "VENDOR_CALLS_BURST": "100",
    "POLL_SCHEDULE_MOBILE": "16s,8s,10s,15s", "POLL_SCHEDULE_INTERNET": "11s,8s,10s,15s", "POLL_DEADLINE": "60s",
    "RECHECK_QUEUED": "10s", "RECHECK_UNCERTAIN": "10s", "RECHECK_DELAYED": "10s", "RECHECK_CARD": "5s,10s,20s,30s",
    "WEBHOOK_URL": "sandbox", "WEBHOOK_RETRY_SCHEDULE": "1s,2s,3s,5s,8s,13s,21s",
    "RECHECK_NOT_FOUND": "10s", "RECHECK_REFUNDED": "10s", "NOT_FOUND_GRACE": "20s", "RETRY_AFTER_FAILURE": "10s",
}
SANDBOX_FLAGS = "--faults 0.1 --uncertain-settles-after 25s --queued-settles-after 25s --card-late-after 20s --slow-after 75s --fault-seed "
SHOP_FAULTS = ({"kind": "status", "http": 500, "repeat": 2}, {"kind": "status", "http": 503, "retry_after": 3}, {"kind": "slow", "seconds": 15},
               {"kind": "cut"})
NOT_SENT = ("Order Tracked", "Order Resumed", "Order Reviewed", "Card Revealed")  # not in the default of WEBHOOK_EVENTS
YOUNG_SECONDS = 3.0  # when a process dies at its start, the local AWS ends all others of its function, so that only starting ones would be left
PERIOD_SECONDS = 20.0  # between rechecks, and between reads of the table, each of which takes the local AWS a second or two near the end
Step = tuple[float, str, dict[str, Any]]  # seconds after the send, status, further fields


@dataclass
class Order(PlannedOrder):
    """One order, and how it is made: sent to the vendor, or in the sandbox with a timeline of its own."""

    number: str
    service: str = ""  # `mobile`, `ADSL` or `4G` for an order that is sent
    start: str = ""  # how the tracker learns of the order, and what starts its pollers
    linked: list["Order"] = field(default_factory=list)  # orders that the tracker learns of by a link only

    def check(self, truth: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Compares the events and the stored item with the sandbox's timeline, now that every order has ended."""
        super().check(truth, record)
        if self.outcome() is None:
            self.problems.append("no outcome was published")
        if truth.get("card_code") and "card_ciphertext" not in record:
            self.problems.append("its card is not stored")


def make_orders(count: int, seconds: float, rng: random.Random) -> list[Order]:
    """`count` orders over `seconds`: one of every kind first, the rest by share."""
    kinds = list(KINDS)
    chosen = kinds[:count] + rng.choices(kinds, [kind[0] for kind in KINDS.values()], k=max(count - len(kinds), 0))
    orders = [KINDS[kind][1](kind, rng, *KINDS[kind][2]) for kind in chosen]
    for order in orders:
        order.at = rng.uniform(0, seconds)
        order.start = rng.choice(("PUT, StartExecution", "PUT, Top-up Sent", "Top-up Sent, StartExecution, PUT"))
    return sorted(orders, key=lambda order: order.at)


def sent(kind: str, rng: random.Random, service: str, number: str = "") -> Order:
    """An order that is sent, to a special number of the sandbox or to an ordinary one."""
    product = "mobile" if service == "mobile" else "internet"
    return Order(kind, product, number or phone_number(product, rng), service)


def timed(kind: str, rng: random.Random, product: str, *steps: Step) -> Order:
    """An order with this timeline. The fields `CARD` become a random card."""
    number, delivered = phone_number(product, rng), card(rng)
    timeline = [step(after, status, delivered if fields == CARD else fields) for after, status, fields in steps]
    return Order(kind, product, number, direct=for_sandbox(product, f"{rng.getrandbits(96):024x}", number, "", timeline))


def chain(kind: str, rng: random.Random, link: str, *timelines: tuple[Step, ...]) -> Order:
    """Mobile orders that each name the next one, from their second step on; only the first is made known to the tracker."""
    first, *others = orders = [timed(kind, rng, "mobile", *steps) for steps in timelines]
    for order, following in pairwise(orders):
        for later in order.direct["timeline"][1:]:
            later["fields"][link] = following.direct["id"]
    first.linked = others
    return first


CARD = {"card": "random"}
HANDLING, FULFILLED = "HANDLING", "FULFILLED"
DOUBT = {"refund_message": "هذه العملية حالتها غير معروفة، يرجى التأكد مع عميلك"}
# Share in percent, and how the order is made. tests/sandbox/README.md lists the special numbers.
KINDS: dict[str, tuple[float, Callable[..., Order], tuple[Any, ...]]] = {
    "mobile, ordinary": (33, sent, ("mobile",)),
    "mobile, refunded": (8, sent, ("mobile", "0600000001")),
    "mobile, refunded with offers": (6, sent, ("mobile", "0600000002")),
    "mobile, uncertain then fulfilled": (5, sent, ("mobile", "0600000003")),
    "mobile, uncertain then refunded": (
        3, timed, ("mobile", (0, "PENDING", {}), (5, HANDLING, {}), (15, "UNKNOWN_ERROR", DOUBT), (45, "REFUNDED", REFUND))),
    "mobile, unknown to the vendor at first": (2, timed, ("mobile", (9, HANDLING, {}), (20, FULFILLED, {}))),
    "mobile, unknown for longer than the grace": (2, timed, ("mobile", (40, HANDLING, {}), (60, "REFUNDED", REFUND))),
    "mobile, an unrecognised status in between": (2, timed, ("mobile", (0, HANDLING, {}), (6, "SENT_TO_OPERATOR", {}), (30, FULFILLED, {}))),
    "ADSL with a card": (12, sent, ("ADSL",)),
    "4G with a card": (8, sent, ("4G",)),
    "ADSL, refunded": (4, sent, ("ADSL", "036000002")),
    "ADSL, queued then fulfilled": (5, sent, ("ADSL", "036000001")),
    "ADSL, queued then refunded": (3, sent, ("ADSL", "036000005")),
    "ADSL, the card comes late": (3, sent, ("ADSL", "036000004")),
    "ADSL, slower than the poll deadline": (2, sent, ("ADSL", "036000003")),
    "ADSL, queued, in flight again, fulfilled": (
        1, timed, ("internet", (0, HANDLING, {}), (8, "QUEUED", {}), (45, HANDLING, {}), (120, FULFILLED, CARD))),
    "linked, redirected twice": (0.5, chain, ("follow_orderid", ((0, HANDLING, {}), (5, HANDLING, {}), (45, FULFILLED, {})),
                                              ((0, HANDLING, {}), (5, HANDLING, {}), (50, FULFILLED, {})), ((0, HANDLING, {}), (55, FULFILLED, {})))),
    "linked, retried after a refund": (0.5, chain, ("retry_orderid", ((0, HANDLING, {}), (12, "REFUNDED", REFUND)),
                                                    ((12, HANDLING, {}), (40, FULFILLED, {})))),
}


class Chaos(StackClient):
    """One run: the orders, the disturbances and the checks at the end."""

    def __init__(self, env: Mapping[str, str], options: argparse.Namespace, programs: Path) -> None:
        self.orders = make_orders(options.orders, options.minutes * 60, random.Random(options.seed))
        super().__init__(env, self.orders)
        self.seed, self.programs = options.seed, programs
        self.all_orders = [one for order in self.orders for one in (order, *order.linked)]
        self.machine = self.cloud.client("stepfunctions")
        self.calm, self.over = threading.Event(), threading.Event()  # kills and stops have ended; rechecks have ended, too
        self.began, self.sent_minutes = time.monotonic(), 0.0
        self.killed = self.stopped = self.requests = 0
        self.first_seen: dict[int, float] = {}  # by process
        self.executions: set[str] = set()
        self.stop_at: dict[str, float] = {}  # by execution

    def place(self, order: Order) -> None:
        """Sends one order, makes it known to the tracker, and starts a second poller."""
        ref = f"chaos-{self.seed}-{self.orders.index(order)}"
        if order.service:
            order.id = self.send(order.service, order.number, ref)
        for one in (order, *order.linked):
            if one.direct:
                one.id = self.sandbox("/orders", {**one.direct, "ref": f"{ref}-{one.direct['id'][:4]}"})["id"]
            self.by_key[one.key()] = one
        if (chance := random.Random(f"{ref} shop")).random() < 1 / 3:
            self.sandbox("/webhooks/script", {"order": order.id, "answers": [chance.choice(SHOP_FAULTS)]})
        known = {"product": order.product, "id": order.id, "ref": ref}
        for way in order.start.split(", "):
            if way == "PUT":
                wait_until(f"PUT of {order.key()}", lambda: self.is_accepted(order, ref), 180, every=0.2)
            elif way == "StartExecution":
                self.machine.start_execution(stateMachineArn=self.env["STATE_MACHINE_ARN"], input=json.dumps(known))
            else:
                self.publish_sent(known)

    def is_accepted(self, order: Order, ref: str) -> bool:
        """Whether the tracker accepts the order now; a function may be killed while it answers."""
        with suppress(Failure):
            self.tracker("PUT", f"/orders/{order.key()}", {"ref": ref})
            return True
        return False

    def kill(self, rng: random.Random) -> None:
        """Kills one function process, while it works if it starts work within 0.8 s, and none while one is young."""
        running, now = sorted(programs_in(self.programs)), time.monotonic()
        ages = [now - self.first_seen.setdefault(pid, now) for pid in running]
        if running and min(ages) > YOUNG_SECONDS:
            chosen = rng.choice(running)
            worked = processor_time(chosen)
            with suppress(Failure):
                wait_until("work", lambda: processor_time(chosen) != worked, 0.8, every=0.01)
            time.sleep(rng.uniform(0, 0.4))  # a poller works for so long under this load
            with suppress(ProcessLookupError):
                os.kill(chosen, signal.SIGKILL)
                self.killed += 1
        self.calm.wait(rng.uniform(2, 5))

    def stop(self, rng: random.Random) -> None:
        """Chooses some of the new executions, and stops each at its moment."""
        answer = self.machine.list_executions(stateMachineArn=self.env["STATE_MACHINE_ARN"], statusFilter="RUNNING", maxResults=1000)
        for arn in sorted({execution["executionArn"] for execution in answer["executions"]} - self.executions):
            self.executions.add(arn)
            if rng.random() < 0.06:  # some have ended when their moment comes
                self.stop_at[arn] = time.monotonic() + rng.uniform(0, 9)
        for arn in [arn for arn, moment in self.stop_at.items() if moment < time.monotonic()]:
            del self.stop_at[arn]
            with suppress(ClientError):  # the execution has ended
                self.machine.stop_execution(executionArn=arn)
                self.stopped += 1
        self.calm.wait(2.5)

    def recheck(self, _: random.Random) -> None:
        """Starts a recheck beside the scheduled one."""
        self.start_recheck()
        self.over.wait(PERIOD_SECONDS)

    def request(self, rng: random.Random) -> None:
        """Requests the status of one order."""
        if known := [order for order in self.orders if order.is_sold]:
            order = rng.choice(known)
            with suppress(Failure):  # a function may be killed while it answers
                answer = self.tracker("GET", f"/orders/{order.key()}")
                self.requests += 1
                if "card_code" in json.dumps(answer):
                    self.wrong["card codes in a status answer"].add(order.key())
        self.calm.wait(rng.uniform(0.3, 0.9))

    def repeat(self, action: Callable[[random.Random], None], until: threading.Event) -> None:
        """Repeats an action, with random numbers of its own, until the event is set."""
        rng = random.Random(f"{self.seed} {action.__name__}")
        while not until.is_set():
            try:
                action(rng)
            except (BotoCoreError, ClientError, OSError, ValueError) as error:
                self.wrong[f"failures of {action.__name__}"].add(repr(error))
                until.wait(1)

    def run(self) -> None:
        """Sends all orders with disturbances, then waits until no order is due."""
        actions = [(self.kill, self.calm), (self.stop, self.calm), (self.request, self.calm), (self.recheck, self.over)]
        threads = [threading.Thread(target=self.repeat, args=action, daemon=True) for action in actions]
        try:
            for thread in threads:
                thread.start()
            with self.selling(self.began) as sales:
                self.watch(lambda _: all(sale.done() for sale in sales), self.orders[-1].at + 300, wanted=1)
            self.sent_minutes = (time.monotonic() - self.began) / 60
            self.watch(lambda due: not due, 60)  # until the poll deadline of the last order
            self.calm.set()
            self.wrong["orders that are still due"] |= set(self.watch(lambda due: not due, 600))  # two minutes are usual
        finally:
            self.calm.set()
            self.over.set()
            for thread in threads:
                thread.join(timeout=30)
        self.receive(1)

    def watch(self, reached: Callable[[list[str]], bool], seconds: float, wanted: int = 2) -> list[str]:
        """Reads and checks the table and prints a line, until a condition on the due orders holds `wanted` times in a row. Returns those orders."""
        deadline, times = time.monotonic() + seconds, 0
        while True:
            self.receive(0)
            records = self.order_items()
            due = [key for key, record in records.items() if "due_at" in record]
            phases = Counter(record["phase"]["S"] for record in records.values())
            console.print(
                f"{time.monotonic() - self.began:5.0f} s  {sum(order.is_sold for order in self.orders)} of {len(self.orders)} sent; "
                f"in flight {phases['in_flight']}, parked {phases['parked']}, final {phases['final']}, due {len(due)}; {len(self.everything)} events, "
                f"{len(programs_in(self.programs))} processes, {self.killed} killed, {self.stopped} of {len(self.executions)} executions stopped")
            times = times + 1 if reached(due) else 0
            if times == wanted or time.monotonic() > deadline:
                return due
            self.over.wait(PERIOD_SECONDS)

    def order_items(self) -> dict[str, dict[str, Any]]:
        """The order items by key. Checks that each order with something left to do is in the due index."""
        records = self.records(ProjectionExpression="pk, phase, outcome, card_ciphertext, announced, seq, due_at, due_shard")
        for key, record in records.items():
            awaits_card = key.startswith("internet/") and record.get("outcome", {}).get("S") == "fulfilled" and "card_ciphertext" not in record
            unpublished = int(record["announced"]["N"]) < int(record["seq"]["N"])
            if (record["phase"]["S"] != "final" or awaits_card or unpublished) and not {"due_at", "due_shard"} <= record.keys():
                self.wrong["orders missing from the due index"].add(key)
        return records

    def judge(self, truth: Mapping[str, Mapping[str, Any]], items: list[dict[str, Any]]) -> None:
        """Compares events and items with the sandbox's timelines, and the committed events with those that arrived."""
        self.check_orders(truth, self.order_items())
        arrived = {event_id: event.detail for order in self.by_key.values() for event_id, event in order.events.items()}
        committed = {event_id: detail for event_id, detail in committed_events(items).items() if not event_id.startswith("vendor/")}
        self.wrong["committed events that did not arrive"] |= committed.keys() - arrived.keys()
        self.wrong["events that differ from the committed ones"] |= {key for key in committed.keys() & arrived.keys() if committed[key] != arrived[key]}

    def judge_shop(self, items: list[dict[str, Any]]) -> None:
        """Waits until the shop has taken each event that is sent to it. Then reads the feed and compares it with the committed events."""
        committed = committed_events(items)
        wanted = {event_id for event_id, detail in committed.items() if detail["detail_type"] not in NOT_SENT}

        def missing() -> set[str]:
            return wanted - {webhook["id"] for webhook in self.sandbox("/webhooks")["webhooks"] if webhook["answered"] == 204}

        with suppress(Failure):
            wait_until("the shop to have all events", lambda: not missing(), 180, every=2)
        self.wrong["events that did not reach the shop"] |= missing()
        seen: dict[str, int] = {}  # the place of each event, at its first appearance
        cursor: str | None = None
        while True:
            page = self.tracker("GET", f"/events?limit=100{f'&after={cursor}' if cursor else ''}")
            for event in page["events"]:
                seen.setdefault(event["event_id"], len(seen))
            if page["next"] == cursor:
                break
            cursor = page["next"]
        self.wrong["events that are not in the feed"] |= committed.keys() - seen.keys()
        latest: dict[str, int] = {}
        for event_id in sorted(seen.keys() & committed.keys(), key=seen.__getitem__):
            about, seq = event_id.split("#")
            self.wrong["events that the feed shows before an earlier one"] |= {event_id} if int(seq) < latest.get(about, 0) else set()
            latest[about] = max(int(seq), latest.get(about, 0))

    def figures(self) -> str:
        """The run in one line. Checks the budget, against which only the tracker's calls count."""
        calls = self.sandbox("/calls?endpoint_kind=check,list")["calls"]
        highest = self.sandbox("/calls/windows?seconds=61&endpoint_kind=check,list")["highest"]
        self.wrong["windows over the budget"] |= {f"{highest} calls in 61 s, {BUDGET} allowed"} if highest > BUDGET else set()
        faults = sum(str(call["answered"]).startswith("fault:") for call in calls)
        events = [event for order in self.all_orders for event in order.events.values()]
        at_work = self.logs()["ministack.log"].count("Runtime exited before returning a response")
        return (f"{len(self.orders)} orders and {len(self.all_orders) - len(self.orders)} linked ones sent in {self.sent_minutes:.1f} minutes, "
                f"{len(calls)} calls ({faults} with a fault, at most {highest} in 61 s, budget {BUDGET}), "
                f"{len(events)} events, {sum(event.repeats for event in events)} repeats, {self.killed} processes killed ({at_work} at work), "
                f"{self.stopped} of {len(self.executions)} executions stopped, {self.requests} status requests")


def committed_events(items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The details of all events in the table, by their id."""
    return {item["event_id"]["S"]: json.loads(item["detail"]["S"]) for item in items if item["sk"]["S"].startswith("EVENT#")}


def run(options: argparse.Namespace) -> bool:
    """The whole run on a stack of its own; returns whether all was as expected."""
    console.print(f"{options.orders} orders in {options.minutes:g} minutes, seed {options.seed}")
    with own_stack("chaos", {**SETTINGS, "SANDBOX_FLAGS": f"{SANDBOX_FLAGS}{options.seed}"}, not options.no_build) as stack:
        chaos = Chaos(stack.read_env(), options, stack.temporary)
        chaos.run()
        truth, items = chaos.vendor_orders(), chaos.items()
        chaos.judge(truth, items)
        chaos.judge_shop(items)
        letters, webhooks = chaos.dead_letters(), chaos.sandbox("/webhooks")
        figures = f"{chaos.figures()}, {len(letters)} dead letters, seed {options.seed}"
    chaos.search_for_secrets(truth, items, **{"dead letters": "\n".join(letters), "webhooks": json.dumps(webhooks)})
    numbers = {form for order in chaos.all_orders for form in (order.number, order.number[1:], f"213{order.number[1:]}")}
    chaos.wrong["phone numbers in logs"] |= {
        name for name, text in chaos.logs().items() if numbers & set(re.findall(r"(?<![0-9A-Za-z])\d{8,13}(?![0-9A-Za-z])", text))}
    return chaos.conclude(figures)


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument("--orders", type=int, default=2000, help="how many orders to send (default: 2000)")
    parser.add_argument("--minutes", type=float, default=5.0, help="within how many minutes (default: 5)")
    sys.exit(0 if run(parser.parse_args()) else 1)


if __name__ == "__main__":
    main()
