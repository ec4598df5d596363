#!/usr/bin/env python3
"""The local stack (sandbox, local AWS, deployed template), and the deployment to AWS: `make up`, `down`, `watch`, `logs`, `deploy`."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Mapping, Optional

from infra.local import tools

if __name__ == "__main__":
    tools.enter("cargo-lambda", "aws")

from botocore.exceptions import BotoCoreError, ClientError

from infra.local import cloud
from infra.local import settings
from infra.local.cloud import Cloud
from infra.local.local_stack import DEFAULT_DIRECTORY, Stack, Vendor, local_cloud, say, write_private
from infra.local.processes import Failure

WATCH_ADDRESS = ("127.0.0.1", 9000)


def vendor_of(environment: Mapping[str, str]) -> Optional[Vendor]:
    """The vendor that the caller names by ONECLICKDZ_BASE_URL and ONECLICKDZ_API_KEY; nothing means the sandbox."""
    base_url, api_key = environment.get("ONECLICKDZ_BASE_URL"), environment.get("ONECLICKDZ_API_KEY")
    sandbox_url = environment.get("SANDBOX_URL")
    if base_url and sandbox_url and base_url.startswith(sandbox_url):
        return None  # a sourced and exported stack.env, not a vendor
    if base_url and api_key:
        return base_url, api_key
    if base_url or api_key:
        say("only one of ONECLICKDZ_BASE_URL and ONECLICKDZ_API_KEY is set: using the sandbox")
    return None


def up(directory: Path, environment: Mapping[str, str], with_build: bool = True, aws_environment: Mapping[str, str] = {}) -> Stack:
    """Builds and brings up a stack with the settings of this environment. `aws_environment` goes to the local AWS and the functions as it is."""
    vendor = vendor_of(environment)
    chosen = {name: value for name, value in environment.items() if name != "ONECLICKDZ_BASE_URL"}
    parameters = settings.from_environment(chosen, cloud.TEMPLATE)
    if with_build:
        cloud.build_local()
    stack = Stack(directory, aws_environment)
    stack.up(vendor, parameters, shlex.split(environment.get("SANDBOX_FLAGS", "")))
    return stack


def deploy(environment: Mapping[str, str]) -> None:
    """Builds for the cloud and deploys with the caller's AWS credentials and region."""
    parameters = settings.from_environment(environment, cloud.TEMPLATE)
    endpoint = environment.get("AWS_ENDPOINT_URL")
    if "Architecture" not in parameters:
        parameters["Architecture"] = cloud.machine_architecture() if endpoint else str(settings.declared(cloud.TEMPLATE)["Architecture"])
    target = Cloud(stack_name=environment.get("STACK_NAME", cloud.STACK_NAME), region=cloud.chosen_region(environment))
    say(f"deploying {target.stack_name} to {endpoint or 'AWS'}")
    api_key = environment.get("ONECLICKDZ_API_KEY", "")
    has_value = target.secret_value(target.outputs()) is not None
    if not has_value and not api_key:
        raise Failure("the stack's secret has no value yet: set ONECLICKDZ_API_KEY, it is put there once")
    cloud.build_release(parameters["Architecture"])
    outputs = target.deploy(parameters)
    target.put_first_secret(outputs, api_key)
    if has_value and api_key:
        say("the secret has a value already and keeps it; to change it: aws secretsmanager put-secret-value")
    for name, value in sorted(outputs.items()):
        print(f"{name:20} {value}")
    say(f"read the token with: aws secretsmanager get-secret-value --secret-id {outputs['SecretId']} --query SecretString --output text")


def watch(stack: Stack) -> None:
    """Serves the functions from source, rebuilt on change, with the settings of the running stack; until Ctrl-C."""
    if not stack.is_up(with_sandbox=False):
        raise Failure("the stack is not running: `make up` first")
    known = stack.read_env()
    client = local_cloud(known["AWS_ENDPOINT_URL"]).client("lambda")
    deployed = client.get_function_configuration(FunctionName=known["STATUS_FUNCTION"])["Environment"]["Variables"]
    address, port = WATCH_ADDRESS
    say(f"http://{address}:{port}/lambda-url/status/health and so on; the first request compiles")
    say(f"in another terminal: .tools/cargo-lambda/bin/cargo-lambda lambda invoke --invoke-address {address} "
        "poller --data-file events/poller-tick.json")
    # In a file and not in our own environment: RUST_LOG is for the functions, not for cargo lambda.
    environment = {**deployed, **{name: value for name, value in known.items() if name.startswith("AWS_")}}
    # cargo lambda's file takes no second `=` in a line, and here nothing depends on how memory is managed.
    environment.pop("GLIBC_TUNABLES", None)
    file = stack.directory / "watch.env"
    write_private(file, "".join(f"{name}={value}\n" for name, value in environment.items()))
    os.chdir(tools.ROOT)
    os.execvpe("cargo", ["cargo", "lambda", "watch", "--invoke-address", address, "--invoke-port", str(port), "--env-file", str(file)],
               {**os.environ, "PATH": tools.path_with("cargo-lambda")})


def show_logs(stack: Stack) -> None:
    """Shows the logs of a stack as they grow; until Ctrl-C."""
    files = sorted(str(file) for file in stack.logs.glob("*.log"))
    if not files:
        raise Failure(f"there are no logs in {stack.logs}: `make up` first")
    os.execvp("tail", ["tail", "-n", "20", "-F", *files])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, about in {
        "build": "build the functions and the sandbox as a local stack runs them",
        "up": "build, start sandbox and local AWS, deploy the template, write stack.env",
        "down": "stop all of it",
        "watch": "serve the functions from source against the running stack (cargo lambda watch)",
        "logs": "show the logs as they grow",
        "deploy": "build and deploy to AWS, with the credentials and region of the environment",
    }.items():
        command = commands.add_parser(name, help=about, description=about)
        if name in ("up", "down", "watch", "logs"):
            command.add_argument("--dir", type=Path, default=DEFAULT_DIRECTORY, help="where the stack keeps its files (default: .local)")
        if name == "up":
            command.add_argument("--no-build", action="store_true", help="take what is built")
    options = parser.parse_args()
    run(options)


def run(options: argparse.Namespace) -> None:
    """Carries out one command; a failure becomes one message and a status."""
    try:
        if options.command == "build":
            cloud.build_local()
        elif options.command == "up":
            up(options.dir, os.environ, with_build=not options.no_build)
        elif options.command == "deploy":
            deploy(os.environ)
        else:
            {"down": Stack.down, "watch": watch, "logs": show_logs}[options.command](Stack(options.dir))
    except Failure as failure:
        tools.fail(str(failure))
    except (BotoCoreError, ClientError) as error:
        tools.fail(f"AWS: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a TERM cleans up as an error does
    main()
