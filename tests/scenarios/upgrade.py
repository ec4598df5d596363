"""Deploys this version over an older one while a shop sends orders, then the older one again. `make upgrade`, `make upgrade FROM=b0a0654 MINUTES=3 SEED=7`.

The older version (`--from`, by default the commit before this one) is unpacked to `.local/upgrade/{commit}` and built there once, dependencies and all, which
takes minutes and a gigabyte. A shared target folder would not do: cargo tells two checkouts apart by the times of their files only.
Its template and programs are deployed first. After a third of the orders this version is deployed over it, and after two
thirds the older one again. The sandbox and the local AWS run on, and so do the executions of orders in flight. A shop repeats a PUT that was not answered.

Checks that each order got its outcome once and as scripted, that each event in the table arrived, that all events are valid by the older version's schemas, and
that there is no 429 and no dead letter. Exit status 1 if not, or if both versions have the same programs.
"""

import argparse
import math
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from unittest.mock import patch

from infra.local import cloud, settings, stack, tools
from infra.local.local_stack import DEFAULT_DIRECTORY, Stack
from infra.local.processes import Failure, run_command, wait_until
from tests.scenarios.chaos import committed_events
from tests.scenarios.shop import Order, Shop, make_orders
from tests.scenarios.stack_client import command_line, console, own_stack

LIMIT, SPARE = 120, 10  # calls a minute on the key, and those left free, because sends are not evenly spaced while a version changes
SETTINGS = {"VENDOR_CALLS_BURST": "1", "RECHECK_QUEUED": "45s", "RECHECK_UNCERTAIN": "45s", "SANDBOX_FLAGS": f"--keys-per-minute {LIMIT}"}
SETTLE_SECONDS = 420.0  # after the last order: also one whose execution was lost is due a minute after its poll deadline


def unpack(ref: str) -> Path:
    """The files of a commit, in a folder of `.local/upgrade` that is named after it."""
    found = subprocess.run(["git", "rev-parse", "--verify", "--short=12", f"{ref}^{{commit}}"], cwd=tools.ROOT, capture_output=True, text=True)
    if found.returncode != 0:
        raise Failure(f"there is no commit {ref}")
    checkout = DEFAULT_DIRECTORY / "upgrade" / found.stdout.strip()
    if not checkout.is_dir():
        fresh = checkout.with_suffix(".new")
        fresh.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "archive", found.stdout.strip()], cwd=tools.ROOT, stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(["tar", "--extract", "--directory", str(fresh)], input=archive, check=True)
        fresh.replace(checkout)
    if cloud.SECRET_OF_THE_TOKENS not in (checkout / "infra" / "template.yaml").read_text():
        raise Failure(f"{ref} has its API tokens in the secret with the vendor's key; choose a later version: this one cannot deploy it")
    return checkout


def functions_of(checkout: Path) -> tuple[str, ...]:
    """The functions that a version's template names."""
    return tuple(re.findall(r"CodeUri: \.\./target/lambda/(\w+)/", (checkout / "infra" / "template.yaml").read_text()))


def build(checkout: Path) -> None:
    """Builds the functions of an unpacked version, if that is not done yet."""
    functions, target = functions_of(checkout), checkout / "target"
    if not all((target / "lambda" / function / "bootstrap").exists() for function in functions):
        run_command("cargo", "build", "--locked", "--manifest-path", str(checkout / "Cargo.toml"), *cloud.packages(*functions),
                    environment={"CARGO_TARGET_DIR": str(target)})
        for function in functions:
            cloud.install(target / "debug" / function, target / "lambda" / function / "bootstrap")


@contextmanager
def version(checkout: Path) -> Iterator[None]:
    """Within the block, a deployment takes template, state machine and programs from this checkout."""
    template = checkout / "infra" / "template.yaml"
    with (patch.object(settings, "TEMPLATE", template), patch.object(settings, "declared", partial(settings.declared, template)),
          patch.multiple(cloud, FUNCTIONS=functions_of(checkout), LAMBDA_DIR=checkout / "target" / "lambda",
                         STATE_MACHINE=checkout / cloud.STATE_MACHINE.relative_to(tools.ROOT))):
        yield


def chosen_settings(options: argparse.Namespace) -> dict[str, str]:
    """The settings of both versions: the tracker has the calls that the sends leave."""
    return {**SETTINGS, "VENDOR_CALLS_PER_MINUTE": str(LIMIT - SPARE - math.ceil(options.orders_per_minute))}


class Upgrade(Shop):
    """One run: orders that are sent while the versions change."""

    def __init__(self, own: Stack, old: Path, options: argparse.Namespace) -> None:
        count = round(options.orders_per_minute * options.minutes)
        super().__init__(own.read_env(), make_orders(count, options.orders_per_minute, random.Random(options.seed)))
        self.own, self.old, self.schemas, self.chosen = own, old, old / "events" / "schemas", chosen_settings(options)
        self.programs = [self.program()]

    def program(self) -> str:
        """The hash of the deployed poller."""
        return str(self.functions.get_function_configuration(FunctionName=self.env["POLLER_FUNCTION"])["CodeSha256"])

    def place(self, order: Order) -> None:
        """Sends one order, and repeats the PUT until it is answered: a function that is replaced may not answer."""
        self.vendor("POST", f"/{order.product}/send", {}, accepted=range(400, 401))  # counts on the key and creates nothing
        self.sandbox("/orders", order.direct)
        self.by_key[order.key()] = order
        wait_until(f"PUT of {order.key()}", lambda: self.is_accepted(order), 120, every=0.5)

    def is_accepted(self, order: Order) -> bool:
        """Whether the tracker takes the order now."""
        with suppress(Failure):
            self.tracker("PUT", f"/orders/{order.key()}", {"ref": order.direct["ref"]})
            return True
        return False

    def deploy(self, checkout: Path) -> None:
        """Deploys a version over the one that runs."""
        before = [order for order in self.orders if order.is_sold]
        console.print(f"deploying {checkout.name} over {len(before)} orders, {sum(order.outcome() is None for order in before)} of them without an outcome")
        with version(checkout):
            stack.up(self.own.directory, {**settings.without(os.environ), **self.chosen}, with_build=False)
        self.env = self.own.read_env()
        self.programs.append(self.program())

    def run(self) -> None:
        """Sends the orders and changes the version twice, then waits for the outcome of each order."""
        began, last = time.monotonic(), self.orders[-1].at
        with self.selling(began) as sales:
            for after, checkout in ((last / 3, tools.ROOT), (last * 2 / 3, self.old)):
                while time.monotonic() - began < after:
                    self.receive(1)
                self.deploy(checkout)
            with suppress(Failure):
                wait_until("all outcomes", lambda: self.receive(1) is not None and all(sale.done() for sale in sales) and not self.unfinished(),
                           last + SETTLE_SECONDS - (time.monotonic() - began))
        self.receive(1)
        self.wrong["orders without an outcome"] |= set(self.unfinished())

    def unfinished(self) -> list[str]:
        """The orders whose outcome did not arrive yet."""
        return [order.name for order in self.orders if order.outcome() is None]

    def judge(self) -> str:
        """Compares what arrived and is stored with the vendor's truth; returns the run in one line."""
        items = self.items()
        self.check_orders(self.vendor_orders(), self.records())
        arrived = {event_id for order in self.by_key.values() for event_id in order.events}
        self.wrong["committed events that did not arrive"] |= {one for one in committed_events(items) if not one.startswith("vendor/")} - arrived
        first, second, third = self.programs
        self.wrong["versions that were not deployed"] |= {"the programs are the same"} if first == second or first != third else set()
        _, failures = self.calls()
        self.hold(failures, {}, ())
        repeats = sum(event.repeats for order in self.by_key.values() for event in order.events.values())
        return f"{len(self.orders)} orders, {self.bus.total()} events received, {repeats} of them repeats, {failures}"


def main() -> None:
    """Command line."""
    parser = command_line(__doc__)
    parser.add_argument("--from", dest="old", default="HEAD~1", metavar="REF", help="the older version, a commit or tag (default: HEAD~1)")
    parser.add_argument("--orders-per-minute", type=float, default=20, help="orders that the shop sends in a minute (default: 20)")
    parser.add_argument("--minutes", type=float, default=3, help="minutes of sending (default: 3)")
    options = parser.parse_args()
    with cloud.errors_shown():
        old = unpack(options.old)
        build(old)
        if not options.no_build:
            cloud.build_local()
    with ExitStack() as stopping:
        with version(old):
            own = stopping.enter_context(own_stack("upgrade-stack", chosen_settings(options), with_build=False))
        upgrade = Upgrade(own, old, options)
        upgrade.run()
        figures = upgrade.judge()
    sys.exit(0 if upgrade.conclude(f"{old.name}, this version, {old.name}: {figures}, seed {options.seed}") else 1)


if __name__ == "__main__":
    main()
