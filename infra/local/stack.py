"""The local stack: sandbox, local AWS, deployed template."""

import argparse
import os
import shlex
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from infra.local import tools

if __name__ == "__main__":
    tools.enter()

from botocore.exceptions import BotoCoreError, ClientError

from infra.local import cloud, settings
from infra.local.local_stack import DEFAULT_DIRECTORY, Stack, Vendor, local_cloud, short, write_private
from infra.local.processes import Failure

WATCH_ADDRESS = ("127.0.0.1", 9000)
OVERLAP_MILLISECONDS = 5_000  # read again each time, because a line can be filed late
GIVE_UP_SECONDS = 30.0  # without an answer of the local AWS
Lines = Counter[tuple[int, str, str]]  # time, stream and text
say = partial(print, "stack:", flush=True)


def vendor_of(environment: Mapping[str, str]) -> Vendor | None:
    """The vendor in ONECLICKDZ_BASE_URL and ONECLICKDZ_API_KEY; None means the sandbox."""
    base_url, api_key, sandbox_url = (environment.get(name) for name in ("ONECLICKDZ_BASE_URL", "ONECLICKDZ_API_KEY", "SANDBOX_URL"))
    if base_url and sandbox_url and base_url.startswith(sandbox_url):
        return None  # an exported stack.env, not a vendor
    if bool(base_url) != bool(api_key):
        say("only one of ONECLICKDZ_BASE_URL and ONECLICKDZ_API_KEY is set: using the sandbox")
    return (base_url, api_key) if base_url and api_key else None


def up(directory: Path, environment: Mapping[str, str], with_build: bool = True, aws_environment: Mapping[str, str] | None = None) -> Stack:
    """Builds and starts a stack with the settings in this environment. The local AWS and the functions also get `aws_environment`."""
    vendor = vendor_of(environment)
    parameters = settings.from_environment({name: value for name, value in environment.items() if name != "ONECLICKDZ_BASE_URL"})
    if with_build:
        cloud.build_local()
    stack = Stack(directory, aws_environment)
    stack.up(vendor, parameters, shlex.split(environment.get("SANDBOX_FLAGS", "")))
    return stack


def watch(stack: Stack) -> None:
    """Serves the functions from source with the settings of the running stack, until Ctrl-C. A change of a file rebuilds them."""
    if not stack.is_up(with_sandbox=False):
        raise Failure("the stack is not running: `make up` first")
    known = stack.read_env()
    client = local_cloud(known["AWS_ENDPOINT_URL"]).client("lambda")
    deployed = client.get_function_configuration(FunctionName=known["STATUS_FUNCTION"])["Environment"]["Variables"]
    address, port = WATCH_ADDRESS
    say(f"http://{address}:{port}/lambda-url/status/health; the first request compiles")
    invoke = f"{short(tools.program('python', 'cargo-lambda'))} lambda invoke --invoke-address {address}"
    say(f"in another terminal: {invoke} poller --data-file events/poller-tick.json")
    # The functions read a file instead of this program's environment, because cargo lambda reads RUST_LOG too.
    environment = {**deployed, **{name: value for name, value in known.items() if name.startswith("AWS_")}}
    file = stack.directory / "watch.env"
    write_private(file, "".join(f"{name}={quoted(value)}\n" for name, value in environment.items()))
    os.chdir(tools.ROOT)
    command = ["cargo", "lambda", "watch", "--invoke-address", address, "--invoke-port", str(port), "--env-file", str(file)]
    os.execvpe("cargo", command, {**os.environ, "PATH": tools.path_with()})


def quoted(value: str) -> str:
    """A value in cargo lambda's environment file: in the first kind of quotes that it does not contain, because a space, `#` or `=` would end it."""
    for quote in "'\"`":
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise Failure(f"cargo lambda cannot read a value with all three kinds of quotes: {value}")


def show_logs(stack: Stack) -> None:
    """Shows the logs of a stack as they grow, until Ctrl-C."""
    files = sorted(str(file) for file in stack.logs.glob("*.log"))
    if not files:
        raise Failure(f"there are no logs in {short(stack.logs)}: `make up` first")
    os.execvp("tail", ["tail", "-n", "20", "-F", *files])


def copy_lines(pages: Any, group: str, file: Path, copied: Lines) -> Lines:
    """Appends the new lines of a log group to a file. `copied` and the answer: the recent lines that the file has, with their counts, because the local AWS
    gives equal lines equal ids."""
    since = max(max(copied, default=(0,))[0] - OVERLAP_MILLISECONDS, 0)
    events = list(pages.paginate(logGroupName=group, startTime=since).search("events"))
    found: Lines = Counter((event["timestamp"], event["logStreamName"], event["message"].rstrip()) for event in events)
    with file.open("a") as log:
        for line, count in found.items():
            log.write(f"{line[2]}\n" * (count - copied[line]))
    return found


def follow_logs(stack: Stack) -> None:
    """Copies new lines of the functions' log groups every second until TERM, and once more then. Fails if the local AWS does not answer any more."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    pages = local_cloud(stack.read_env()["AWS_ENDPOINT_URL"]).client("logs").get_paginator("filter_log_events")
    copied: dict[str, Lines] = {}
    answered, is_ending = time.monotonic(), False
    while True:
        try:
            known = stack.read_env()  # each time: another `up` can bring another function
            for function in cloud.FUNCTIONS:
                if group := known.get(f"{function.upper()}_LOGS"):
                    copied[function] = copy_lines(pages, group, stack.logs / f"{function}.log", copied.get(function, Counter()))
            answered = time.monotonic()
        except (BotoCoreError, ClientError):
            if is_ending or time.monotonic() - answered > GIVE_UP_SECONDS:
                raise
        if is_ending:
            return
        is_ending = ending.wait(1.0)


COMMANDS: dict[str, tuple[str, Callable[[argparse.Namespace], object]]] = {
    "build": ("build the functions and the sandbox for a local stack", lambda options: cloud.build_local()),
    "up": ("build, start and deploy a local stack, and write stack.env", lambda options: up(options.dir, os.environ, not options.no_build)),
    "down": ("stop the stack", lambda options: Stack(options.dir).down()),
    "watch": ("serve the functions from source against the running stack", lambda options: watch(Stack(options.dir))),
    "logs": ("show the logs as they grow", lambda options: show_logs(Stack(options.dir))),
    "follow-logs": ("copy the functions' log groups to files until TERM (`up` starts this)", lambda options: follow_logs(Stack(options.dir))),
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, (about, function) in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(function=function)
        if name != "build":
            command.add_argument("--dir", type=Path, default=DEFAULT_DIRECTORY, help="folder of the stack's files (default: .local)")
        if name == "up":
            command.add_argument("--no-build", action="store_true", help="use the programs that are already built")
    options = parser.parse_args()
    with cloud.errors_shown():
        options.function(options)


if __name__ == "__main__":
    main()
