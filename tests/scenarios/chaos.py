#!/usr/bin/env python3
"""Sends orders of every kind through a local stack of its own while the vendor misbehaves and processes die, and checks that nothing
was lost, invented or said twice under two names. `make chaos`, `make chaos ORDERS=100 MINUTES=1 SEED=7`.

The vendor answers a tenth of the looks with 429, 503, a page, half a body or too late. Function processes are killed, one every few seconds,
in the middle of their work where they work. Every order has two pollers or three; a twentieth of their executions is stopped for good.
Sweeps overlap. Somebody asks for orders now and then. Kills and stops end a minute after the last order, the vendor's faults never.

Chosen so that 2,000 orders in 5 minutes go through a local AWS that is one Python process on two cores:
- STANDARD, because an Express execution cannot be stopped (on AWS neither).
- Retry schedules whose first look falls just after the sandbox's ordinary end (15 s mobile, 10 s internet): two looks an order instead of four.
- A poll deadline of 60 s and rechecks after 10 s, so that a lost order is found within minutes: an order whose pollers are all gone is due
  at the deadline + 60 s.
- A sweep every 20 s beside the scheduled one of every minute: a parked order whose look fails would else wait a minute for the next.
- The whole table is read every 10 s and not more often: it took two fifths of the local AWS's time at every 5 s.
- Processes younger than 3 s are not killed: when one dies at its start, the local AWS ends all others of its function, and they all start anew.
- Logs stay at `info`: less would be faster, and would prove nothing about secrets.
If the machine is busy with something else, sending takes longer than asked for, which the figures say, and pollers that could not start end in
the dead letters; their orders end as scripted all the same.

Exit status 1 if anything fell short. Random choices come from the seed; when a process runs and dies is the machine's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Callable, Iterable, Mapping

from infra.local import tools

if __name__ == "__main__":
    tools.enter("cargo-lambda", "aws")

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from infra.local import processes
from infra.local import settings
from infra.local import stack
from tests.scenarios.chaos_orders import LINKED, Order, shop
from infra.local.local_stack import DEFAULT_DIRECTORY, Stack
from infra.local.processes import Failure
from tests.scenarios.stack_client import DEAD_LETTERS, StackClient, as_text, leaks

DIRECTORY = DEFAULT_DIRECTORY / "chaos"
BUDGET = 3000  # calls a minute
RETRY_SCHEDULE = "{first}s,8s,10s,15s"
SETTINGS = {
    "STATE_MACHINE_TYPE": "STANDARD", "VENDOR_CALLS_PER_MINUTE": str(BUDGET), "VENDOR_CALLS_BURST": "100",
    "POLL_SCHEDULE_MOBILE": RETRY_SCHEDULE.format(first=16), "POLL_SCHEDULE_INTERNET": RETRY_SCHEDULE.format(first=11), "POLL_DEADLINE": "60s",
    "RECHECK_QUEUED": "10s", "RECHECK_UNCERTAIN": "10s", "RECHECK_DELAYED": "10s", "RECHECK_CARD": "5s,10s,20s,30s",
    "RECHECK_NOT_FOUND": "10s", "NOT_FOUND_GRACE": "20s", "RETRY_AFTER_FAILURE": "10s",
}
SANDBOX_FLAGS = ("--faults 0.1 --fault-seed {seed} --uncertain-settles-after 25s --queued-settles-after 25s --card-late-after 20s "
                 "--slow-after 75s")
SHOP_THREADS = 12  # a send and its two or three calls take a second or so while everything is busy
WATCHED_SECONDS, WORK_SECONDS = 0.8, 0.4  # how long a process may idle before it is killed all the same; how long a busy tick takes
STARTED_SECONDS = 3.0  # a younger one is let be: when a process dies at its start, the local AWS ends all others of that function
STOPPED_SHARE = 0.06  # some have ended by themselves when their moment comes
STOPPED_WITHIN_SECONDS = 9.0  # of being seen to run; the shortest executions live some 12 s
SWEEP_SECONDS = 20.0
WINDOW_SECONDS = 61
LOOK_SECONDS = 20.0  # between looks at the whole table: each costs the local AWS a second or two in the end
CALM_AFTER_SECONDS = 60.0  # kills and stops go on for so long after the last order: until its poll deadline
SETTLE_SECONDS = 600.0  # bound of the wait after the last order; two minutes are the rule


class Chaos(StackClient):
    """One run: the orders, those who do harm, and what is found at the end."""

    def __init__(self, env: Mapping[str, str], console: Console, count: int, minutes: float, seed: int, programs: Any) -> None:
        super().__init__(env)
        self.console, self.seed, self.programs = console, seed, programs
        self.orders = shop(count, minutes * 60, random.Random(seed))
        self.machine, self.functions = self.cloud.client("stepfunctions"), self.cloud.client("lambda")
        self.calm = threading.Event()
        self.killed = self.stopped = self.asked = 0
        self.sent_seconds = 0.0  # how long the sending took
        self.executions: set[str] = set()
        self.wrong: dict[str, list[str]] = defaultdict(list)  # what fell short, with examples
        self.truth: dict[str, dict[str, Any]] = {}

    def everybody(self) -> list[Order]:
        """All orders, also those that only a link leads to."""
        return [one for order in self.orders for one in (order, *order.linked)]

    def blame(self, what: str, example: str) -> None:
        """Notes that something fell short."""
        if example not in self.wrong[what]:
            self.wrong[what].append(example)

    # ------------------------------------------------------------------ the shop

    def sell(self, order: Order, began: float) -> None:
        """Sends one order when its time has come, makes it known, and starts pollers beside those that the rules start."""
        time.sleep(max(began + order.at - time.monotonic(), 0))
        reference = f"chaos-{self.seed}-{self.orders.index(order)}"
        if order.send:
            order.id = self.vendor("POST", f"/{order.product}/send", {**order.send, "ref": reference})["topupId"]
        else:
            for one in (order, *order.linked):
                one.id = self.sandbox("/orders", {**one.direct, "ref": f"{reference}-{one.direct['id'][:4]}"})["id"]
        known = {"product": order.product, "id": order.id, "ref": reference}
        for step in order.start.split(", "):
            if step == "PUT":
                self.insist(f"/orders/{order.product}/{order.id}", {"ref": reference})
                order.is_known = True
            elif step == "StartExecution":
                self.machine.start_execution(stateMachineArn=self.env["STATE_MACHINE_ARN"], input=json.dumps(known))
            else:
                self.say_sent(known)

    def insist(self, path: str, body: Mapping[str, Any]) -> None:
        """PUTs until it is answered: a function may be killed while it answers."""
        deadline = time.monotonic() + 180
        while True:
            try:
                self.tracker("PUT", path, body)
                return
            except Failure:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    # ------------------------------------------------------------------ those who do harm

    def kill(self, rng: random.Random, first_seen: dict[int, float]) -> None:
        """Kills one function process; if it begins to work soon, in the middle of that. The local AWS then ends all others of that
        function too, working, idle or starting: so not while any is starting, or nothing but starting processes would be left."""
        running = sorted(processes.programs_in(self.programs))
        for pid in running:
            first_seen.setdefault(pid, time.monotonic())
        started = [pid for pid in running if time.monotonic() - first_seen[pid] > STARTED_SECONDS]
        if started and len(started) == len(running):
            chosen = rng.choice(started)
            worked, deadline = processes.processor_time(chosen), time.monotonic() + WATCHED_SECONDS
            while processes.processor_time(chosen) == worked and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, WORK_SECONDS))
            with suppress(ProcessLookupError):
                os.kill(chosen, signal.SIGKILL)
                self.killed += 1
        self.calm.wait(rng.uniform(2, 5))

    def stop_some(self, rng: random.Random, doomed: dict[str, float]) -> None:
        """Notes which executions run, picks some of the new ones, and stops each at its moment."""
        answer = self.machine.list_executions(stateMachineArn=self.env["STATE_MACHINE_ARN"], statusFilter="RUNNING", maxResults=1000)
        for arn in sorted({execution["executionArn"] for execution in answer["executions"]} - self.executions):
            self.executions.add(arn)
            if rng.random() < STOPPED_SHARE:
                doomed[arn] = time.monotonic() + rng.uniform(0, STOPPED_WITHIN_SECONDS)
        for arn in [arn for arn, moment in doomed.items() if moment < time.monotonic()]:
            del doomed[arn]
            with suppress(ClientError):  # it has ended by itself
                self.machine.stop_execution(executionArn=arn)
                self.stopped += 1
        self.calm.wait(2.5)

    def sweep(self, _: random.Random) -> None:
        """Starts a sweep beside the scheduled one."""
        self.functions.invoke(FunctionName=self.env["RECHECK_FUNCTION"], InvocationType="Event", Payload=b"{}")
        self.over.wait(SWEEP_SECONDS)

    def ask(self, rng: random.Random) -> None:
        """Asks for one order, as its customer does."""
        known = [order for order in self.orders if order.is_known]
        if known:
            order = rng.choice(known)
            with suppress(Failure):  # the function may be killed while it answers
                answer = self.tracker("GET", f"/orders/{order.product}/{order.id}")
                self.asked += 1
                if "card_code" in json.dumps(answer):
                    self.blame("card codes in a status answer", order.key())
        self.calm.wait(rng.uniform(0.3, 0.9))

    def keep(self, name: str, harm: Callable[..., None], until: threading.Event, *more: Any) -> threading.Thread:
        """Does something over and over, by its own chances, until the event."""
        def loop() -> None:
            rng = random.Random(f"{self.seed} {name}")
            while not until.is_set():
                try:
                    harm(rng, *more)
                except (BotoCoreError, ClientError, OSError, ValueError) as error:
                    self.blame(f"{name} did not work", repr(error))
                    until.wait(1)
        thread = threading.Thread(target=loop, name=name, daemon=True)
        thread.start()
        return thread

    # ------------------------------------------------------------------ the run

    def run(self) -> None:
        """Sends everything, does harm, and waits until nothing is due any more."""
        began = time.monotonic()
        threading.Thread(target=self.listen, daemon=True).start()
        workers = [self.keep("killing", self.kill, self.calm, {}), self.keep("stopping", self.stop_some, self.calm, {}),
                   self.keep("asking", self.ask, self.calm), self.keep("sweeping", self.sweep, self.over)]
        try:
            with ThreadPoolExecutor(SHOP_THREADS) as sellers:
                sales = {sellers.submit(self.sell, order, began): order for order in self.orders}
                self.follow(began, lambda: all(sale.done() for sale in sales), self.orders[-1].at + 300)
                for sale, order in sales.items():
                    sale.cancel()
                    if sale.cancelled() or sale.exception() is not None:
                        self.blame("orders that the shop could not send", f"{order.name}: {None if sale.cancelled() else sale.exception()}")
            self.sent_seconds = time.monotonic() - began
            self.follow(began, lambda: False, CALM_AFTER_SECONDS, quiet=True)
            self.calm.set()
            if not self.follow(began, lambda: False, SETTLE_SECONDS, quiet=True):
                self.blame("orders that are still due", ", ".join(sorted(self.due())[:5]))
            self.hear_the_rest()
        finally:
            self.calm.set()
            self.over.set()
            for worker in workers:
                worker.join(timeout=30)

    def follow(self, began: float, reached: Callable[[], bool], seconds: float, quiet: bool = False) -> bool:
        """Looks at the table every few seconds and says how far it is; ends when the condition holds, or nothing is due (`quiet`)."""
        deadline, calm_looks = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            records = self.records()
            due = [key for key, record in records.items() if "due_at" in record]
            self.check_due_index(records)
            phases = Counter(record["phase"]["S"] for record in records.values())
            self.console.print(
                f"{time.monotonic() - began:5.0f} s  {sum(bool(order.id) for order in self.orders)} of {len(self.orders)} sent; "
                f"in flight {phases['in_flight']}, parked {phases['parked']}, final {phases['final']}, due {len(due)}; "
                f"{len(self.everything)} events, {self.killed} killed, {self.stopped} of {len(self.executions)} executions stopped, "
                f"{len(processes.programs_in(self.programs))} processes", highlight=False, soft_wrap=True)
            if reached():
                return True
            calm_looks = calm_looks + 1 if quiet and not due else 0
            if calm_looks > 1:
                return True
            self.over.wait(LOOK_SECONDS)
        return False

    def records(self) -> dict[str, dict[str, Any]]:
        """The order items by key."""
        found = self.items(FilterExpression="sk = :order", ExpressionAttributeValues={":order": {"S": "ORDER"}},
                           ProjectionExpression="id, product, phase, outcome, card_ciphertext, announced, seq, due_at, due_shard")
        return {f"{item['product']['S']}/{item['id']['S']}": item for item in found}

    def due(self) -> list[str]:
        """Orders that somebody must still see to."""
        return [key for key, record in self.records().items() if "due_at" in record]

    def check_due_index(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Whoever waits for something is in the index, at any moment."""
        for key, record in records.items():
            awaits_card = key.startswith("internet/") and record.get("outcome", {}).get("S") == "fulfilled" and "card_ciphertext" not in record
            unannounced = int(record["announced"]["N"]) < int(record["seq"]["N"])
            if (record["phase"]["S"] != "final" or awaits_card or unannounced) and not ("due_at" in record and "due_shard" in record):
                self.blame("orders missing from the due index", key)

    def hear_the_rest(self) -> None:
        """Waits until nothing new has been heard for some seconds."""
        count, since = -1, time.monotonic()
        deadline = since + 120
        while time.monotonic() < deadline and time.monotonic() - since < 6:
            if count != len(self.everything):
                count, since = len(self.everything), time.monotonic()
            time.sleep(0.5)

    # ------------------------------------------------------------------ judging

    def judge(self) -> list[dict[str, Any]]:
        """Compares everything heard and stored with the truth; answers all items, for the search."""
        self.truth = {order["id"]: order for order in self.sandbox("/orders")["orders"]}
        items, by_key = self.items(), {order.key(): order for order in self.everybody() if order.id}
        while not self.heard.empty():
            event, heard_at = self.heard.get()
            key = str(event["detail"].get("event_id", "")).partition("#")[0]
            if key in by_key:
                by_key[key].hear(event["detail-type"], event["detail"], heard_at)
            elif event["detail-type"] != "Top-up Sent" and not key.startswith("vendor/"):
                self.blame("events about orders that nobody sent", f"{event['detail-type']} {key}")
        records = {f"{item['product']['S']}/{item['id']['S']}": item for item in items if item["sk"]["S"] == "ORDER"}
        self.check_due_index(records)
        for key, order in by_key.items():
            if key not in records:
                self.blame("orders that were never tracked", f"{order.name}: {key}")
                continue
            order.check(self.truth[order.id], records[key])
            for problem in order.problems:
                self.blame("orders that did not end as scripted", f"{order.name}: {key}: {problem}")
        self.check_history(items, by_key)
        return items

    def check_history(self, items: Iterable[Mapping[str, Any]], by_key: Mapping[str, Order]) -> None:
        """Each committed event was heard, exactly as it was committed."""
        for item in items:
            if item["sk"]["S"].startswith("EVENT#"):
                event_id = item["event_id"]["S"]
                order = by_key.get(event_id.partition("#")[0])
                heard = order.events.get(event_id) if order else None
                if heard is None:
                    self.blame("committed events that were never heard", event_id)
                elif heard.detail != json.loads(item["detail"]["S"]):
                    self.blame("events that were heard otherwise than committed", event_id)

    def check_secrets(self, items: Iterable[Mapping[str, Any]], letters: str) -> None:
        """No card code, key or token anywhere; no phone number in a log. For after the end, when the last log lines are written."""
        cards = {order["card_code"] for order in self.truth.values() if order.get("card_code")}
        secrets = {"card code": cards, "API key": {self.env["ONECLICKDZ_API_KEY"]}, "token": {self.env["API_TOKEN"]}}
        logs = {f"log {name}": text for name, text in self.logs().items()}
        places = {**logs, "DynamoDB": as_text(items), "events": "\n".join(self.everything), "dead letters": letters}
        for found in leaks(secrets, places):
            self.blame("secrets in clear", found)
        for place in ("log status.log", "log poller.log", "log recheck.log", "DynamoDB", "events"):
            if not places.get(place):
                self.blame("nothing to search", place)
        if not cards:
            self.blame("nothing to search for", "card codes")
        numbers = {form for order in self.everybody() for form in (order.number, order.number[1:], f"213{order.number[1:]}")}
        for place, text in logs.items():
            if any(run in numbers for run in re.findall(r"(?<![0-9A-Za-z])\d{8,13}(?![0-9A-Za-z])", text)):
                self.blame("phone numbers in clear", place)
        size = sum(map(len, places.values())) // 1024
        self.console.print(f"searched {size} KiB for {len(cards)} card codes, the key, the token and {len(self.everybody())} numbers",
                           highlight=False, soft_wrap=True)

    def read_dead_letters(self) -> tuple[str, int]:
        """The bodies of all dead letters, and how many there are."""
        bodies = []
        for name in DEAD_LETTERS:
            while messages := self.sqs.receive_message(QueueUrl=self.env[name], MaxNumberOfMessages=10).get("Messages", []):
                for message in messages:
                    bodies.append(message["Body"])
                    self.sqs.delete_message(QueueUrl=self.env[name], ReceiptHandle=message["ReceiptHandle"])
        return "\n".join(bodies), len(bodies)

    def figures(self, began: float, letters: int) -> str:
        """The run in one line. Only the tracker's calls count against its budget."""
        calls = self.sandbox("/calls?endpoint_kind=check,list")["calls"]
        highest = self.sandbox(f"/calls/windows?seconds={WINDOW_SECONDS}&endpoint_kind=check,list")["highest"]
        if highest > BUDGET:
            self.blame("windows over the budget", f"{highest} calls in {WINDOW_SECONDS} s, {BUDGET} allowed")
        faults = sum(str(call["answered"]).startswith("fault:") for call in calls)
        events = sum(len(order.events) for order in self.everybody())
        repeats = sum(event.repeats for order in self.everybody() for event in order.events.values())
        at_work = self.logs()["ministack.log"].count("Runtime exited before returning a response")
        return (f"{len(self.orders)} orders and {len(self.everybody()) - len(self.orders)} linked "
                f"sent in {self.sent_seconds / 60:.1f} minutes, {len(calls)} calls, {events} events, "
                f"{repeats} repeats, {faults} faults answered, {self.killed} processes killed ({at_work} at work), "
                f"{self.stopped} of {len(self.executions)} executions stopped, {self.asked} status requests, {letters} dead letters, "
                f"highest window {highest} of {BUDGET}, {(time.monotonic() - began) / 60:.1f} minutes")


def unleash(console: Console, options: argparse.Namespace) -> tuple[str, Mapping[str, list[str]]]:
    """The whole run, from nothing to nothing; answers its figures and what fell short."""
    own = Stack(DIRECTORY)
    own.down()
    try:
        flags = SANDBOX_FLAGS.format(seed=options.seed)
        stack.up(DIRECTORY, {**settings.without(os.environ), **SETTINGS, "SANDBOX_FLAGS": flags}, not options.no_build)
        chaos = Chaos(own.read_env(), console, options.orders, options.minutes, options.seed, own.temporary)
        began = time.monotonic()
        chaos.run()
        items = chaos.judge()
        letters, count = chaos.read_dead_letters()
        figures = chaos.figures(began, count)
        if chaos.listener_error:
            chaos.blame("the bus", chaos.listener_error)
    finally:
        own.down()
    chaos.check_secrets(items, letters)
    return figures, chaos.wrong


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=2000, help="how many orders the shop sends (default: 2000)")
    parser.add_argument("--minutes", type=float, default=5.0, help="within how many minutes (default: 5)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000),
                        help="of all random choices (default: a random one)")
    parser.add_argument("--no-build", action="store_true", help="take what is built")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(f"{options.orders} orders in {options.minutes:g} minutes, seed {options.seed}", highlight=False)
    try:
        figures, wrong = unleash(console, options)
    except Failure as failure:
        tools.fail(f"{failure}\nlogs: {DIRECTORY / 'logs'}")
    except (BotoCoreError, ClientError) as error:
        tools.fail(f"AWS: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    for what, examples in wrong.items():
        console.print(f"wrong: {len(examples)} {what}, such as\n  " + "\n  ".join(examples[:5]), style="red", highlight=False, soft_wrap=True)
    console.print(f"{verdict(wrong)}: {figures}, seed {options.seed}; logs: {os.path.relpath(DIRECTORY / 'logs')}", highlight=False, soft_wrap=True)
    sys.exit(1 if wrong else 0)


def verdict(wrong: Mapping[str, list[str]]) -> str:
    """What came of it. Linked orders are told apart."""
    if not wrong:
        return "every order ended as scripted"
    everything = [example for examples in wrong.values() for example in examples]
    only_linked = all(example.startswith(LINKED) for example in everything)
    return f"FAILED ({'only linked orders' if only_linked else ', '.join(wrong)})"


if __name__ == "__main__":
    main()
