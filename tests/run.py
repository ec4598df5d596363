"""Runs steps of this project's checks, and says how long each step took."""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from infra.local import cloud, settings, stack, tools
from infra.local.cloud import FUNCTIONS, LOCAL_PACKAGES, errors_shown
from infra.local.local_stack import DEFAULT_DIRECTORY, Stack, free_port, status_of
from infra.local.processes import Failure, Server, run_command
from tests import translated
from tests.bench import run as bench

CLIENTS_PORT = free_port()  # where the examples of clients/ receive webhooks

# Many tests share each stack, and each test counts and scripts the calls about its own orders. The rate limit is therefore high, and list checks are off:
# one list call would show the orders of many tests. List checks have tests with tables of their own, and a run under load.
# The retry schedule's last attempt for a card asks for a review, so RECHECK_CARD leaves one attempt after the late card (15 s).
SHORT = {
    "LIST_CHECKS": "off", "VENDOR_CALLS_PER_MINUTE": "6000", "VENDOR_CALLS_BURST": "1000", "RECHECK_QUEUED": "10s", "RECHECK_UNCERTAIN": "10s",
    "RECHECK_DELAYED": "10s,20s", "RECHECK_CARD": "5s,20s", "RETRY_AFTER_FAILURE": "10s", "REVIEW_FAILING_FOR": "20s", "RECHECK_FAILING": "20s",
    "WEBHOOK_URL": "sandbox", "WEBHOOK_RETRY_SCHEDULE": "1s,1s,2s",
    "SANDBOX_FLAGS": "--uncertain-settles-after 20s --queued-settles-after 20s --card-late-after 15s",
}
PAGE_ON = {"TRACKING_PAGE": "on", "SHOP_NAME": "Flexy Express", "SHOP_HELP_URL": "tel:+213550123456"}
# The test stacks with their settings. Tests find the stack.env of a stack in the variable E2E_{NAME}.
STACKS: dict[str, Mapping[str, str]] = {
    "express": {**SHORT, **PAGE_ON, "TRACKING_PAGE_SHOWS_CARD": "on"},
    "fast": {**SHORT, **PAGE_ON, "POLL_DEADLINE": "12s", "POLL_SCHEDULE_MOBILE": "1s,1s,1s,2s", "POLL_SCHEDULE_INTERNET": "1s,1s,1s,2s"},
    "standard": {**SHORT, "POLL_DEADLINE": "30s", "STATE_MACHINE_TYPE": "STANDARD"},
    # For the examples of clients/, with the settings that a shop has.
    "clients": {"WEBHOOK_URL": f"http://127.0.0.1:{CLIENTS_PORT}/hook"},
}

TEST_STACKS = {name: Stack(DEFAULT_DIRECTORY / f"test-{name}") for name in STACKS}
ENV_FILES = {f"E2E_{name.upper()}": str(one.env_file) for name, one in TEST_STACKS.items()}

# Searches what all other tests left behind: a step of its own after them.
LEFTOVERS = "no_card_code_key_or_token_is_left_behind"
FAULTS = ("crash_points::", "race_schedules::")  # the modules of the fault tests
RACES = "race_schedules::invariants_hold_in_every_race_schedule"
# `sam validate` looks for credentials, and asks the instance's metadata for them, which takes seconds where there is none.
OFFLINE = {"SAM_CLI_TELEMETRY": "0", "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "eu-west-3", "AWS_DEFAULT_REGION": "eu-west-3"}
FUZZ, FUZZ_BUILT = tools.ROOT / "tests" / "fuzz", tools.ROOT / "target" / "fuzz"


def dependencies(*words: str) -> list[str]:
    """The lines of `cargo tree` with these options."""
    tree = subprocess.run(["cargo", "tree", "--locked", "--prefix", "none", *words], cwd=tools.ROOT, stdout=subprocess.PIPE, text=True)
    if tree.returncode != 0:
        raise Failure("cargo cannot list the dependencies, see above")
    return tree.stdout.splitlines()


def lint_features() -> None:
    """Finds a second TLS library or HTTP stack, which the default feature of one dependency could bring in."""
    banned = ("aws-lc-rs ", "aws-lc-sys ", "hyper v0.", "native-tls ", "openssl ", "openssl-sys ", "rustls v0.21")
    for function in FUNCTIONS:
        if found := sorted({line for line in dependencies("--package", function, "--edges", "normal", "--target", "all") if line.startswith(banned)}):
            raise Failure(f"{function} depends on {', '.join(found)}; find the reason: cargo tree -p {function} -i …")


def lint_state_machine() -> None:
    """Lints the state machine as it is in the partition `aws`: the linter knows resources by their whole ARN."""
    definition = DEFAULT_DIRECTORY / cloud.STATE_MACHINE.name
    definition.parent.mkdir(exist_ok=True)
    definition.write_text(cloud.STATE_MACHINE.read_text().replace("${Partition}", "aws"))
    run_command(str(tools.node()), ".tools/asl/node_modules/.bin/asl-validator", "--json-path", str(definition))


def lint_translated() -> None:
    """Lints the template as CloudFormation gets it; infra/checkov.yaml has the exceptions of the second linter, with reasons."""
    translated.write()
    # With the default preference, the transform leaves out what uses DeploymentPreference and its mapping.
    run_command(str(tools.program("python", "cfn-lint")), "--ignore-checks", "W2001", "W7001", "--", str(translated.TRANSLATED))
    run_command(str(tools.program("policies", "checkov")), "--config-file", "infra/checkov.yaml", "--file", str(translated.TRANSLATED))


def lint_one_build() -> None:
    """Compares the features of the dependencies in each build of this checkout with those in the build of all tests. cargo compiles a dependency
    again for each other set of features; `tests/one-build` keeps the sets equal."""
    def features(*words: str) -> set[str]:
        return {line.removesuffix(" (*)") for line in dependencies("--no-dedupe", "--format", "{p} {f}", *words)}

    everything = features("--workspace", "--edges", "normal,build,dev")
    local = cloud.packages(*LOCAL_PACKAGES)
    for words in ([*local, "--edges", "normal,build"], ["--edges", "normal,build"], ["--edges", "normal,build,dev"]):
        if other := sorted(features(*words) - everything):
            raise Failure(f"compiled with other features than for `cargo test --workspace`; mend tests/one-build/Cargo.toml: {', '.join(other)}")


def stacks_up(names: Sequence[str]) -> None:
    """Starts these test stacks at the same time."""
    up = [sys.executable, "-m", "infra.local.stack", "up", "--no-build", "--dir"]
    environment = settings.without(os.environ)
    started = {name: subprocess.Popen([*up, str(TEST_STACKS[name].directory)], cwd=tools.ROOT, env={**environment, **STACKS[name]}) for name in names}
    if failed := [name for name, process in started.items() if process.wait() != 0]:
        raise Failure(f"these stacks did not start: {', '.join(failed)}")


LOAD = [sys.executable, "-m", "tests.scenarios.load", "--no-build", "--untimed", "--minutes", "1", "--orders-per-minute", "90", "--seed", "1", "--webhooks"]
DEPLOYMENT = [sys.executable, "-m", "tests.scenarios.deployment"]
LIFECYCLE = [sys.executable, "-m", "tests.scenarios.lifecycle", "--no-build"]
CLIENTS = [sys.executable, "-m", "tests.scenarios.clients"]
PAGE = [sys.executable, "-m", "tests.scenarios.page", "--dir", str(TEST_STACKS["express"].directory), "--delayed-dir", str(TEST_STACKS["fast"].directory)]
MADE_UP_REQUESTS = 2000  # at least


def contract_command() -> list[str]:
    """Sends requests that are made up from infra/openapi.yaml to a deployed API: valid and invalid ones, with and without a token. Every answer must be as
    documented, and none a server error."""
    checks = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance", "response_schema_conformance",
              "ignored_auth", "unsupported_method", "missing_required_header")
    known = TEST_STACKS["standard"].read_env()
    return [str(tools.program("schemathesis", "schemathesis")), "run", "infra/openapi.yaml", "--url", known["API_URL"], "--checks", ",".join(checks),
            "--header", f"Authorization: Bearer {known['API_TOKEN']}", "--phases", "examples,coverage,fuzzing", "--max-examples", "210",
            "--request-timeout", "30", "--seed", "1", "--generation-database", "none", "--no-color"]


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that leads a group, with all that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def all_tests() -> None:
    """Runs all tests, and at the same time a minute of the load scenario, the examples of clients/, the tracking page in a browser, made-up requests, a
    rehearsed deployment, the life of a stack, and the fault tests, which cargo would run before or after the others. Each cargo command is for the whole
    workspace, because cargo would choose other features of the shared crates for a part of it, and compile them twice."""
    clients = [*CLIENTS, "--dir", str(TEST_STACKS["clients"].directory), "--port", str(CLIENTS_PORT)]
    beside = {"load": LOAD, "clients": clients, "page": PAGE, "contract": contract_command(), "deployment": DEPLOYMENT,
              "lifecycle": LIFECYCLE, "faults": ["cargo", "test", "--workspace", "--test", "faults"]}
    logs = {name: DEFAULT_DIRECTORY / f"{name}.log" for name in beside}
    with contextlib.ExitStack() as stack:
        started = {}
        for name, words in beside.items():
            output = stack.enter_context(logs[name].open("w"))
            environment = {**os.environ, **ENV_FILES}
            started[name] = subprocess.Popen(words, cwd=tools.ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, process_group=0)
            stack.callback(end_group, started[name])
        skipped = [word for name in (LEFTOVERS, *FAULTS) for word in ("--skip", name)]
        run_command("cargo", "test", "--workspace", "--", "--test-threads=8", *skipped, environment=ENV_FILES)
        codes = {name: process.wait(timeout=900) for name, process in started.items()}
    for name, log in logs.items():
        told = ("Everything", "FAILED", "wrong", "error", "  ❌", "    `", "    curl", "test ", "thread ")
        print("\n".join(line for line in log.read_text().splitlines() if line.startswith(told) or " generated, " in line), flush=True)
        if codes[name] != 0:
            raise Failure(f"{name} ended with status {codes[name]}, see {os.path.relpath(log)}")
    generated = re.search(r"(\d+) generated", logs["contract"].read_text())
    if generated is None or int(generated[1]) < MADE_UP_REQUESTS:
        raise Failure(f"fewer than {MADE_UP_REQUESTS} requests were made up, see {os.path.relpath(logs['contract'])}")


def watch_answers() -> None:
    """Checks that `make watch` answers a status request, and that `cargo lambda invoke` gets a tick answered."""
    express = TEST_STACKS["express"]
    address, port = stack.WATCH_ADDRESS
    url = f"http://{address}:{port}/lambda-url/status"
    watch = Server("watch", express.directory)
    watch.start([sys.executable, "-m", "infra.local.stack", "watch", "--dir", str(express.directory)], os.environ)
    try:
        print("waiting for the first answer, which compiles", flush=True)
        watch.wait_for("first answer", lambda: status_of(f"{url}/health", timeout=600) == 200, 900, every=1)
        answered = status_of(f"{url}/orders/mobile/never-tracked", {"Authorization": f"Bearer {express.read_env()['API_TOKEN']}"}, 600)
        if answered != 404:
            raise Failure(f"an order that is not tracked was answered with {answered}, not 404")
        invoke = ["cargo", "lambda", "invoke", "--invoke-address", address, "poller", "--data-file", "events/poller-tick.json"]
        invoked = subprocess.run(invoke, cwd=tools.ROOT, env={**os.environ, "PATH": tools.path_with()}, capture_output=True, text=True)
        if invoked.returncode != 0 or "wait_seconds" not in invoked.stdout:
            raise Failure(f"the tick was not answered: {invoked.stdout}{invoked.stderr}")
        print(f"a tick was answered: {invoked.stdout.strip()}", flush=True)
    finally:
        watch.stop()


def fuzz() -> None:
    """Runs each fuzz target for a minute; libFuzzer prints its statistics and the input of a crash. docs/testing.md says which compilers this needs."""
    tools.ensure("cargo-fuzz")
    # No sanitizer, because the fuzzed code forbids `unsafe`.
    run_command("cargo", "+nightly", "fuzz", "build", "--fuzz-dir", str(FUZZ / "libfuzzer"), "--sanitizer", "none", "--target-dir", str(FUZZ_BUILT),
                environment={"PATH": tools.path_with("cargo-fuzz")})
    failed = []
    for target in sorted(source.stem for source in (FUZZ / "libfuzzer" / "targets").glob("*.rs")):
        found, crashes = FUZZ_BUILT / "found" / target, FUZZ_BUILT / "crashes" / target
        for directory in (found, crashes):
            directory.mkdir(parents=True, exist_ok=True)
        known = set(found.iterdir())
        print(f"\n-- {target}, a minute", flush=True)
        # libFuzzer writes new inputs to the first directory, and only reads the committed ones in the second.
        program = next(FUZZ_BUILT.glob(f"*-*/release/{target}"))
        ran = subprocess.run([str(program), str(found), str(FUZZ / "corpus" / target), "-max_total_time=60", "-max_len=4096", "-verbosity=0",
                              "-timeout=10", "-print_final_stats=1", f"-artifact_prefix={crashes}{os.sep}"], cwd=tools.ROOT)
        print(f"{len(set(found.iterdir()) - known)} new inputs in {os.path.relpath(found)}; docs/testing.md says how to keep the useful ones", flush=True)
        failed += [f"{target}, input in {os.path.relpath(crashes)}"] if ran.returncode != 0 else []
    if failed:
        raise Failure("; ".join(failed))


STEPS: dict[str, Callable[[], None]] = {
    "format": partial(run_command, "cargo", "fmt", "--all", "--check"),
    "clippy": partial(run_command, "cargo", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"),
    "python": partial(run_command, str(tools.program("python", "ruff")), "check", "infra", "tests", "clients"),
    "types": partial(run_command, str(tools.program("python", "mypy"))),
    "template": partial(run_command, str(tools.program("python", "cfn-lint")), "infra/template.yaml"),
    "sam": partial(run_command, str(tools.program("deploy", "sam")), "validate", "--lint", "--template-file", "infra/template.yaml", environment=OFFLINE),
    "translated": lint_translated,
    "policies": translated.lint_policies,
    "state-machine": lint_state_machine,
    "features": lint_features,
    "one-build": lint_one_build,
    "rules": partial(run_command, "cargo", "test", "--package", "domain", "--package", "one-build"),
    "no-stack": partial(run_command, "cargo", "test"),
    "build": cloud.build_local,
    "constraints": partial(run_command, sys.executable, "-m", "tests.scenarios.constraints"),
    "instructions": partial(bench.check, update=False),
    "build-tests": partial(run_command, "cargo", "test", "--workspace", "--no-run"),
    "stacks": partial(stacks_up, list(STACKS)),
    "lint-tools": partial(tools.ensure, "deploy", "policies"),
    "tools": partial(tools.ensure, "deploy", "schemathesis", "clients-python", "clients-node", "browser"),
    "clients": partial(run_command, *CLIENTS, "--no-stack"),
    "tests": all_tests,
    "deployment": partial(run_command, *DEPLOYMENT),
    "page": partial(run_command, *PAGE),
    "secrets": partial(run_command, "cargo", "test", "--workspace", "--test", "secrets", environment=ENV_FILES),
    "watch": watch_answers,
    "stack-fast": partial(stacks_up, ["fast"]),
    "race-schedules": partial(run_command, "cargo", "test", "--workspace", "--test", "faults", "--", "--exact", RACES,
                              environment={"RACE_SCHEDULES": "50000", **os.environ, **ENV_FILES}),
    "dashboard": partial(run_command, sys.executable, "-m", "infra.local.dashboard", "--once", "--dir", str(TEST_STACKS["express"].directory)),
    "fuzz": fuzz,
}
GROUPS = {
    "lint": ["format", "clippy", "python", "types", "template", "lint-tools", "sam", "translated", "policies", "state-machine", "features", "one-build"],
    "unit": ["rules", "no-stack"],
    "all": ["tools", "clients", "build", "constraints", "build-tests", "stacks", "tests", "secrets", "dashboard", "watch"],
    "soak": ["fuzz", "build", "stack-fast", "race-schedules"],
}
# Steps that must run before a step, in the same command.
BEFORE = {"sam": ["lint-tools"], "translated": ["lint-tools"], "policies": ["lint-tools", "translated"], "tests": ["tools", "stacks"],
          "secrets": ["tools", "stacks", "tests"], "dashboard": ["stacks"], "page": ["tools", "stacks"], "watch": ["stacks"], "race-schedules": ["stack-fast"]}


def run(steps: list[str]) -> bool:
    """Runs the steps up to the first failure, then prints the time of each; returns whether all succeeded."""
    seconds: dict[str, float] = {}
    failed = None
    for step in steps:
        print(f"\n== {step}", flush=True)
        started = time.monotonic()
        try:
            STEPS[step]()
        except Failure as failure:
            print(f"error: {failure}", flush=True)
            failed = step
        seconds[step] = time.monotonic() - started
        print(f"== {step}: {'FAILED' if failed else 'ok'} after {seconds[step]:.1f} s", flush=True)
        if failed:
            break
    seconds["total"] = sum(seconds.values())
    print("", *(f"{name:16} {took:7.1f} s{'  FAILED' if name == failed else ''}" for name, took in seconds.items()), sep="\n", flush=True)
    if failed:
        print(f"{failed} failed; to run it alone: python3 -m tests.run {' '.join([*BEFORE.get(failed, []), failed])}", flush=True)
    return failed is None


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="+", choices=[*GROUPS, *STEPS], metavar="STEP", help=f"a group ({', '.join(GROUPS)}) or one of {', '.join(STEPS)}")
    tools.ensure("asl")
    steps = [step for name in parser.parse_args().steps for step in GROUPS.get(name, [name])]
    try:
        with errors_shown():
            good = run(steps)
    finally:
        if {"stacks", "stack-fast"} & set(steps):
            for one in TEST_STACKS.values():
                one.down()
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
