#!/usr/bin/env python3
"""Runs the checks of this project step by step and says how long each took. `make test`, `make test-fast`, `make lint`."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Callable, Mapping, Optional, Sequence

from infra.local import tools

if __name__ == "__main__":
    tools.enter(*(("cargo-lambda", "aws", "sam", "asl") if {"all", "races"} & set(sys.argv) else ("sam", "asl") if "lint" in sys.argv else ()))

from tests.bench import run as bench
from infra.local import settings
from infra.local import stack
from infra.local import cloud
from infra.local.cloud import FUNCTIONS
from infra.local.local_stack import DEFAULT_DIRECTORY, REGION, Stack
from infra.local.processes import Failure, Server

# Many tests at once on each stack, and each counts and scripts the calls about its own order: the rate is not what they are about, nor may one call
# show the orders of many. List checks have tests with tables of their own, and a run under load.
# A look for a card at the retry schedule's last attempt asks for a review: the one before it may come while the card is still late (15 s).
SHORT = {"LIST_CHECKS": "off", "VENDOR_CALLS_PER_MINUTE": "6000", "VENDOR_CALLS_BURST": "1000", "RECHECK_QUEUED": "10s", "RECHECK_UNCERTAIN": "10s", "RECHECK_DELAYED": "10s,20s", "RECHECK_CARD": "5s,20s",
         "RETRY_AFTER_FAILURE": "10s", "REVIEW_FAILING_FOR": "20s", "RECHECK_FAILING": "20s",
         "SANDBOX_FLAGS": "--uncertain-settles-after 20s --queued-settles-after 20s --card-late-after 15s"}
# Each stack with its settings; the tests find its stack.env by the variable E2E_{NAME}.
STACKS: dict[str, Mapping[str, str]] = {
    "express": SHORT,
    "fast": {**SHORT, "POLL_DEADLINE": "12s", "POLL_SCHEDULE_MOBILE": "1s,1s,1s,2s", "POLL_SCHEDULE_INTERNET": "1s,1s,1s,2s"},
    "standard": {**SHORT, "POLL_DEADLINE": "30s", "STATE_MACHINE_TYPE": "STANDARD"},
}


def command(*words: str, environment: Optional[Mapping[str, str]] = None) -> None:
    """Runs one command in the checkout; fails if it does."""
    print(f"$ {' '.join(words).replace(str(tools.ROOT) + os.sep, '')}", flush=True)
    code = subprocess.run(words, cwd=tools.ROOT, env={**os.environ, **(environment or {})}).returncode
    if code != 0:
        raise Failure(f"ended with status {code}: {' '.join(words)}")


def lint_template() -> None:
    """The SAM template; asks no AWS and needs no credentials."""
    command(str(tools.program("sam", "sam")), "validate", "--lint", "--template", "infra/template.yaml",
            environment={"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": REGION})


def lint_state_machine() -> None:
    """The state machine's definition."""
    command(str(tools.TOOLS / "asl" / "node_modules" / ".bin" / "asl-validator"), "--json-path", "infra/poll.asl.json",
            environment={"PATH": tools.path_with("node")})


def lint_features() -> None:
    """What one crate's default feature could undo silently: one TLS stack with ring, one HTTP stack."""
    banned = ("aws-lc-rs ", "aws-lc-sys ", "hyper v0.", "native-tls ", "openssl ", "openssl-sys ", "rustls v0.21")
    for function in FUNCTIONS:
        words = ["cargo", "tree", "--package", function, "--edges", "normal", "--prefix", "none", "--target", "all", "--locked"]
        tree = subprocess.run(words, cwd=tools.ROOT, stdout=subprocess.PIPE, text=True)
        found = sorted({line for line in tree.stdout.splitlines() if line.startswith(banned)})
        if tree.returncode != 0 or found:
            raise Failure(f"{function} depends on {', '.join(found) or 'what cargo tree could not list'}; find out by whom: cargo tree -p {function} -i …")
    print(f"none of {', '.join(name.strip() for name in banned)}", flush=True)


def directory(name: str) -> Path:
    """Where a test stack keeps its files."""
    return DEFAULT_DIRECTORY / f"test-{name}"


def stacks_up(names: Sequence[str]) -> None:
    """These test stacks at once, side by side."""
    failed: list[str] = []

    def start(name: str, chosen: Mapping[str, str]) -> None:
        process = subprocess.Popen([sys.executable, "-m", "infra.local.stack", "up", "--no-build", "--dir", str(directory(name))], cwd=tools.ROOT,
                                   env={**settings.without(os.environ), **chosen}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in process.stdout or ():
            print(f"{name:8} | {line}", end="", flush=True)
        if process.wait() != 0:
            failed.append(name)

    threads = [threading.Thread(target=start, args=(name, STACKS[name])) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise Failure(f"these stacks did not come up: {', '.join(failed)}")


def stacks_down() -> None:
    """Takes all test stacks down, whatever state they are in."""
    for name in STACKS:
        Stack(directory(name)).down()


def all_tests() -> None:
    """All tests, with and without a stack, and beside them a minute of many orders on one key, on a stack of its own. In one command: those
    without a stack by themselves would be compiled with fewer features of what they share, and so all of it twice."""
    log = directory("express").parent / "load.log"
    with log.open("w") as output:
        load = subprocess.Popen([sys.executable, "-m", "tests.scenarios.load", "--no-build", "--untimed", "--minutes", "1",
                                 "--orders-per-minute", "90", "--seed", "1"], cwd=tools.ROOT, stdout=output, stderr=subprocess.STDOUT)
        try:
            command("cargo", "test", "--workspace", "--", "--test-threads=8",
                    environment={f"E2E_{name.upper()}": str(directory(name) / "stack.env") for name in STACKS})
            code = load.wait(timeout=600)
        finally:
            if load.poll() is None:
                load.terminate()
                load.wait()
    print("\n".join(line for line in log.read_text().splitlines() if line.startswith(("held", "FAILED", "wrong", "error"))), flush=True)
    if code != 0:
        raise Failure(f"the run of many orders ended with status {code}, see {os.path.relpath(log)}")


def races() -> None:
    """Very many race schedules."""
    command("cargo", "test", "--package", "e2e", "--test", "faults", "invariants_hold_in_every",
            environment={"E2E_FAST": str(directory("fast") / "stack.env")})


def watch_answers() -> None:
    """`make watch` serves a status request, and `cargo lambda invoke` gets a tick answered, from the sources."""
    express = Stack(directory("express"))
    address, port = stack.WATCH_ADDRESS
    url = f"http://{address}:{port}/lambda-url/status"
    token = {"Authorization": f"Bearer {express.read_env()['API_TOKEN']}"}

    def status(path: str, headers: Mapping[str, str] = {}) -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(url + path, headers=dict(headers)), timeout=600) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    watch = Server("watch", express.directory)
    watch.start([sys.executable, str(STACK_SCRIPT), "watch", "--dir", str(express.directory)], os.environ)
    try:
        print("waiting for the first answer, which compiles", flush=True)
        watch.wait_for("to answer", lambda: status("/health") == 200, 900, every=1)
        answered = status("/orders/mobile/never-tracked", token)
        if answered != 404:
            raise Failure(f"an order that is not tracked was answered with {answered}, not 404")
        invoked = subprocess.run(["cargo", "lambda", "invoke", "--invoke-address", address, "poller", "--data-file", "events/poller-tick.json"],
                                 cwd=tools.ROOT, env={**os.environ, "PATH": tools.path_with("cargo-lambda")}, capture_output=True, text=True)
        if invoked.returncode != 0 or "wait_seconds" not in invoked.stdout:
            raise Failure(f"the tick was not answered: {invoked.stdout}{invoked.stderr}")
        print(f"a tick was answered: {invoked.stdout.strip()}", flush=True)
    finally:
        watch.stop()


Step = tuple[str, Callable[[], None]]
STEPS: dict[str, list[Step]] = {
    "lint": [
        ("formatting", lambda: command("cargo", "fmt", "--all", "--check")),
        ("clippy", lambda: command("cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings")),
        ("template", lint_template),
        ("state machine", lint_state_machine),
        ("feature graph", lint_features),
    ],
    "unit": [
        ("rules", lambda: command("cargo", "test", "-p", "domain")),
        ("tests without a stack", lambda: command("cargo", "test")),
    ],
    "all": [
        ("build", cloud.build_local),
        ("instruction counts", lambda: bench.check(update=False)),
        ("build of the tests", lambda: command("cargo", "test", "--workspace", "--no-run")),
        ("stacks up", lambda: stacks_up(list(STACKS))),
        ("tests", all_tests),
        ("make watch", watch_answers),
    ],
    "races": [
        ("build", cloud.build_local),
        ("stack up", lambda: stacks_up(["fast"])),
        ("races", races),
    ],
}


def run(steps: list[Step]) -> bool:
    """Runs the steps up to the first that fails, then says how each went."""
    results = []
    for name, step in steps:
        print(f"\n== {name}", flush=True)
        started = time.monotonic()
        try:
            step()
            outcome = "ok"
        except Failure as failure:
            print(f"error: {failure}", flush=True)
            outcome = "FAILED"
        results.append((name, outcome, time.monotonic() - started))
        if outcome != "ok":
            break
    print()
    for name, outcome, seconds in results:
        print(f"{name:24} {outcome:7} {seconds:6.1f} s")
    return all(outcome == "ok" for _, outcome, _ in results)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="+", choices=list(STEPS), help="groups of steps, run in this order")
    groups = parser.parse_args().groups
    good = False
    try:
        good = run([step for group in groups for step in STEPS[group]])
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    finally:
        if {"all", "races"} & set(groups):
            stacks_down()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
