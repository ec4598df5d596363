#!/usr/bin/env python3
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

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra.local import tools

if __name__ == "__main__":
    tools.enter()

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from infra.local import processes
from infra.local.local_stack import DEFAULT_DIRECTORY
from infra.local.processes import Failure
from tests.scenarios.chaos_orders import Order, make_orders
from tests.scenarios.stack_client import DEAD_LETTERS, StackClient, own_stack, run_scenario

DIRECTORY = DEFAULT_DIRECTORY / "chaos"
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
NOT_SENT = ("Order Tracked", "Order Resumed", "Card Revealed")  # not in the default of WEBHOOK_EVENTS
YOUNG_SECONDS = 3.0  # when a process dies at its start, the local AWS ends all others of its function, so that only starting ones would be left
PERIOD_SECONDS = 20.0  # between rechecks, and between reads of the table, each of which takes the local AWS a second or two near the end


class Chaos(StackClient):
    """One run: the orders, the disturbances and the checks at the end."""

    def __init__(self, env: Mapping[str, str], console: Console, options: argparse.Namespace, programs: Path) -> None:
        super().__init__(env)
        self.console, self.seed, self.programs = console, options.seed, programs
        self.orders = make_orders(options.orders, options.minutes * 60, random.Random(options.seed))
        self.all_orders = [one for order in self.orders for one in (order, *order.linked)]
        self.machine = self.cloud.client("stepfunctions")
        self.calm = threading.Event()  # kills and stops have ended
        self.began, self.sent_minutes = time.monotonic(), 0.0
        self.killed = self.stopped = self.requests = 0
        self.first_seen: dict[int, float] = {}  # by process
        self.executions: set[str] = set()
        self.stop_at: dict[str, float] = {}  # by execution
        self.wrong: dict[str, set[str]] = defaultdict(set)  # examples by problem

    def send_order(self, order: Order) -> None:
        """Sends one order at its time, makes it known to the tracker, and starts a second poller."""
        time.sleep(max(self.began + order.at - time.monotonic(), 0))
        ref = f"chaos-{self.seed}-{self.orders.index(order)}"
        if order.service:
            order.id = self.send(order.service, order.number, ref)
        else:
            for one in (order, *order.linked):
                one.id = self.sandbox("/orders", {**one.direct, "ref": f"{ref}-{one.direct['id'][:4]}"})["id"]
        if (chance := random.Random(f"{ref} shop")).random() < 1 / 3:
            self.sandbox("/webhooks/script", {"order": order.id, "answers": [chance.choice(SHOP_FAULTS)]})
        known = {"product": order.product, "id": order.id, "ref": ref}
        for step in order.start.split(", "):
            if step == "PUT":
                processes.wait_until(f"PUT of {order.key()}", lambda: self.is_accepted(order, ref), 180, every=0.2)
            elif step == "StartExecution":
                self.machine.start_execution(stateMachineArn=self.env["STATE_MACHINE_ARN"], input=json.dumps(known))
            else:
                self.publish_sent(known)

    def is_accepted(self, order: Order, ref: str) -> bool:
        """Whether the tracker accepts the order now; a function may be killed while it answers."""
        with suppress(Failure):
            self.tracker("PUT", f"/orders/{order.key()}", {"ref": ref})
            order.is_known = True
        return order.is_known

    def kill(self, rng: random.Random) -> None:
        """Kills one function process, while it works if it starts work within 0.8 s, and none while one is young."""
        running, now = sorted(processes.programs_in(self.programs)), time.monotonic()
        ages = [now - self.first_seen.setdefault(pid, now) for pid in running]
        if running and min(ages) > YOUNG_SECONDS:
            chosen = rng.choice(running)
            worked = processes.processor_time(chosen)
            with suppress(Failure):
                processes.wait_until("work", lambda: processes.processor_time(chosen) != worked, 0.8, every=0.01)
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
        if known := [order for order in self.orders if order.is_known]:
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
        threads = [threading.Thread(target=self.listen, daemon=True), *(threading.Thread(target=self.repeat, args=action, daemon=True) for action in actions)]
        for thread in threads:
            thread.start()
        try:
            with ThreadPoolExecutor(12) as pool:  # a send with its two or three calls takes about a second under this load
                sends = {pool.submit(self.send_order, order): order for order in self.orders}
                self.watch(lambda _: all(send.done() for send in sends), self.orders[-1].at + 300, wanted=1)
                for send, order in sends.items():
                    if send.cancel() or send.exception() is not None:
                        self.wrong["orders that could not be sent"].add(f"{order.name}: {'no time' if send.cancelled() else send.exception()}")
            self.sent_minutes = (time.monotonic() - self.began) / 60
            self.watch(lambda due: not due, 60)  # until the poll deadline of the last order
            self.calm.set()
            self.wrong["orders that are still due"] |= set(self.watch(lambda due: not due, 600))  # two minutes are usual
        finally:
            self.calm.set()
            self.over.set()
            for thread in threads:
                thread.join(timeout=30)

    def watch(self, reached: Callable[[list[str]], bool], seconds: float, wanted: int = 2) -> list[str]:
        """Reads and checks the table and prints a line, until a condition on the due orders holds `wanted` times in a row. Returns those orders."""
        deadline, times = time.monotonic() + seconds, 0
        while True:
            records = self.records()
            due = [key for key, record in records.items() if "due_at" in record]
            phases = Counter(record["phase"]["S"] for record in records.values())
            self.console.print(
                f"{time.monotonic() - self.began:5.0f} s  {sum(bool(order.id) for order in self.orders)} of {len(self.orders)} sent; "
                f"in flight {phases['in_flight']}, parked {phases['parked']}, final {phases['final']}, due {len(due)}; {len(self.everything)} events, "
                f"{len(processes.programs_in(self.programs))} processes, {self.killed} killed, {self.stopped} of {len(self.executions)} executions stopped")
            times = times + 1 if reached(due) else 0
            if times == wanted or time.monotonic() > deadline:
                return due
            self.over.wait(PERIOD_SECONDS)

    def records(self) -> dict[str, dict[str, Any]]:
        """The order items by key. Checks that each order with something left to do is in the due index."""
        found = self.items(FilterExpression="sk = :order", ExpressionAttributeValues={":order": {"S": "ORDER"}},
                           ProjectionExpression="id, product, phase, outcome, card_ciphertext, announced, seq, due_at, due_shard")
        records = {f"{item['product']['S']}/{item['id']['S']}": item for item in found}
        for key, record in records.items():
            awaits_card = key.startswith("internet/") and record.get("outcome", {}).get("S") == "fulfilled" and "card_ciphertext" not in record
            unpublished = int(record["announced"]["N"]) < int(record["seq"]["N"])
            if (record["phase"]["S"] != "final" or awaits_card or unpublished) and not {"due_at", "due_shard"} <= record.keys():
                self.wrong["orders missing from the due index"].add(key)
        return records

    def judge(self, truth: Mapping[str, Mapping[str, Any]], items: list[dict[str, Any]]) -> None:
        """Compares events and items with the sandbox's timelines, and the committed events with those that arrived."""
        by_key, records = {order.key(): order for order in self.all_orders if order.id}, self.records()
        while not self.received.empty():
            event, received_at = self.received.get()
            key = str(event["detail"].get("event_id", "")).partition("#")[0]
            if key in by_key:
                by_key[key].receive(event["detail-type"], event["detail"], received_at)
            elif event["detail-type"] != "Top-up Sent" and not key.startswith("vendor/"):
                self.wrong["events of unknown orders"].add(f"{event['detail-type']} {key}")
        for key, order in by_key.items():
            if key in records:
                order.check(truth[order.id], records[key])
            else:
                order.problems.append("not tracked")
            self.wrong["orders that did not end as expected"] |= {f"{order.name}: {key}: {problem}" for problem in order.problems}
        arrived = {event_id: event.detail for order in by_key.values() for event_id, event in order.events.items()}
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
            processes.wait_until("the shop to have all events", lambda: not missing(), 180, every=2)
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

    def read_dead_letters(self) -> list[str]:
        """The bodies of all dead letters."""
        bodies: list[str] = []
        for url in (self.env[name] for name in DEAD_LETTERS):
            while messages := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=600).get("Messages"):
                bodies += [message["Body"] for message in messages]
        return bodies

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


def run(console: Console, options: argparse.Namespace) -> tuple[str, list[str]]:
    """The whole run on a stack of its own."""
    console.print(f"{options.orders} orders in {options.minutes:g} minutes, seed {options.seed}")
    with own_stack(DIRECTORY, {**SETTINGS, "SANDBOX_FLAGS": f"{SANDBOX_FLAGS}{options.seed}"}, not options.no_build) as stack:
        chaos = Chaos(stack.read_env(), console, options, stack.temporary)
        chaos.run()
        truth, items = chaos.vendor_orders(), chaos.items()
        chaos.judge(truth, items)
        chaos.judge_shop(items)
        letters = chaos.read_dead_letters()
        figures = f"{chaos.figures()}, {len(letters)} dead letters, seed {options.seed}"
    chaos.wrong["failures of the listener"] |= {chaos.listener_error} - {""}
    chaos.wrong["events that are not as their schema says"] |= chaos.invalid
    chaos.wrong["secrets"] |= set(chaos.search_for_secrets(console, truth, items, **{"dead letters": "\n".join(letters)}))
    numbers = {form for order in chaos.all_orders for form in (order.number, order.number[1:], f"213{order.number[1:]}")}
    chaos.wrong["phone numbers in logs"] |= {
        name for name, text in chaos.logs().items() if numbers & set(re.findall(r"(?<![0-9A-Za-z])\d{8,13}(?![0-9A-Za-z])", text))}
    return figures, [f"{len(examples)} {what}, such as\n  " + "\n  ".join(sorted(examples)[:5]) for what, examples in chaos.wrong.items() if examples]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=2000, help="how many orders to send (default: 2000)")
    parser.add_argument("--minutes", type=float, default=5.0, help="within how many minutes (default: 5)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000), help="of all random choices (default: random)")
    parser.add_argument("--no-build", action="store_true", help="use what is built")
    options = parser.parse_args()
    run_scenario(DIRECTORY, lambda console: run(console, options))


if __name__ == "__main__":
    main()
