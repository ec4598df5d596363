"""A local stack: the vendor's sandbox, the local AWS and the deployed template, all in one directory."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import random
import secrets
import shlex
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Iterator, Mapping, Optional, Sequence

from infra.local import cloud
from infra.local import processes
from infra.local import settings
from infra.local import tools
from infra.local.cloud import Cloud
from infra.local.processes import Failure, Server

REGION = "us-east-1"
ADMINISTRATOR = "test"  # the local AWS takes this key for its root user; functions get sessions of their own roles
DEFAULT_DIRECTORY = tools.ROOT / ".local"
SANDBOX = tools.TARGET / "debug" / "sandbox"
Vendor = tuple[str, str]  # base address and key


def say(message: str) -> None:
    """One line about what happens."""
    print(f"stack: {message}", flush=True)


class Stack:
    """A local stack and the directory that holds all of it; stacks in different directories do not meet."""

    def __init__(self, directory: Path, aws_environment: Mapping[str, str] = {}) -> None:
        """`aws_environment`: what else stands in the environment of the local AWS, and so in that of the functions."""
        self.directory = directory.resolve()
        self.aws_environment = dict(aws_environment)
        self.logs = self.directory / "logs"
        self.env_file = self.directory / "stack.env"
        self.fingerprint_file = self.directory / "fingerprint"
        self.temporary = self.directory / "tmp"  # the local AWS unpacks the functions here
        self.sandbox, self.aws, self.follower = (Server(name, self.directory) for name in ("sandbox", "ministack", "follow-logs"))

    # ------------------------------------------------------------------ up

    def up(self, vendor: Optional[Vendor], parameters: Mapping[str, str], sandbox_flags: Sequence[str] = ()) -> None:
        """Brings the stack up as asked, or to what is built and asked now if it runs. On failure nothing that it started is left running."""
        fingerprint = self._fingerprint(vendor, parameters, sandbox_flags)
        with self._lock():
            if self.is_up(with_sandbox=vendor is None):
                self._update(fingerprint, parameters)
                return
            self._stop()
            try:
                self._start(vendor, parameters, sandbox_flags)
                self.fingerprint_file.write_text(fingerprint)
            except BaseException:
                say("stopping what was started")
                self._stop()
                raise
        say(f"ready: {self._short(self.env_file)} (source it), logs in {self._short(self.logs)}")

    def _start(self, vendor: Optional[Vendor], parameters: Mapping[str, str], sandbox_flags: Sequence[str]) -> None:
        """From nothing to a stack that answers."""
        self._clear()
        sandbox_url = ""
        if vendor is None:
            key = f"sandbox-{secrets.token_hex(16)}"
            sandbox_url = self._start_sandbox(key, sandbox_flags)
            vendor = (f"{sandbox_url}/v3", key)
        self._deploy(self._start_aws(), vendor, sandbox_url, parameters)
        self._start_follower()
        self._await_api()

    def _update(self, fingerprint: str, parameters: Mapping[str, str]) -> None:
        """Brings a running stack to what is built and asked now."""
        if not self.follower.pid():
            self._start_follower()
        running = self.fingerprint_file.read_text()
        if fingerprint == running:
            say(f"already running with these settings: {self._short(self.env_file)}")
            return
        if fingerprint.split()[0] != running.split()[0]:
            raise Failure("it runs with another vendor, or the sandbox has changed: `make down` first")
        say("already running; deploying what has changed")
        known = self.read_env()
        self._deploy(known["AWS_ENDPOINT_URL"], (known["ONECLICKDZ_BASE_URL"], known["ONECLICKDZ_API_KEY"]), known["SANDBOX_URL"], parameters)
        self._await_api()
        self.fingerprint_file.write_text(fingerprint)
        say(f"ready: {self._short(self.env_file)}")

    def is_up(self, with_sandbox: bool = True) -> bool:
        """Whether its servers run."""
        servers = [self.aws, *([self.sandbox] if with_sandbox else [])]
        return self.env_file.exists() and self.fingerprint_file.exists() and all(server.pid() for server in servers)

    def read_env(self) -> dict[str, str]:
        """The assignments of its stack.env."""
        if not self.env_file.exists():
            raise Failure(f"there is no {self._short(self.env_file)}: `make up` first")
        return dict(word.split("=", 1) for word in shlex.split(self.env_file.read_text(), comments=True))

    def _fingerprint(self, vendor: Optional[Vendor], parameters: Mapping[str, str], flags: Sequence[str]) -> str:
        """Two hashes: of what needs new servers, and of what needs a new deployment."""
        files = [cloud.TEMPLATE, cloud.STATE_MACHINE, *(cloud.LAMBDA_DIR / function / "bootstrap" for function in cloud.FUNCTIONS)]
        for file in [*files, *([] if vendor else [SANDBOX])]:
            if not file.exists():
                raise Failure(f"{self._short(file)} is not there: build first (`make build`)")
        servers = hashlib.sha256(json.dumps([vendor, list(flags)]).encode() + (b"" if vendor else SANDBOX.read_bytes()))
        deployed = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode() + b"".join(file.read_bytes() for file in files))
        return f"{servers.hexdigest()} {deployed.hexdigest()}"

    def _clear(self) -> None:
        """A new stack starts without the logs of the last one."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self.temporary.mkdir(exist_ok=True)
        for file in self.logs.glob("*.log"):
            file.unlink()

    def _start_sandbox(self, key: str, flags: Sequence[str]) -> str:
        """Starts the vendor's stand-in; answers its address, which it prints itself."""
        self.sandbox.start([str(SANDBOX), "--listen", "127.0.0.1:0", "--api-key", key, *flags],
                           {"PATH": os.environ.get("PATH", os.defpath)})

        def address() -> Optional[str]:
            for line in self.sandbox.log.read_text().splitlines():
                if line.startswith('{"listening"'):
                    return json.loads(line)["listening"]
            return None
        self.sandbox.wait_for("to listen", lambda: address() is not None, 15)
        say(f"sandbox at {address()}")
        return str(address())

    def _start_aws(self) -> str:
        """Starts the local AWS; answers its address. What stands in its environment, the functions see too: little."""
        for attempt in range(3):
            port = free_port()
            endpoint = f"http://127.0.0.1:{port}"
            environment = {
                "PATH": f"{tools.TOOLS / 'aws' / 'bin'}:/usr/bin:/bin", "HOME": str(self.temporary), "TMPDIR": str(self.temporary),
                "GATEWAY_PORT": str(port), "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION,
                "MINISTACK_REGION": REGION, "BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0", "AUTH": "true",
                **self.aws_environment,
            }
            self.aws.start([str(tools.program("aws", "ministack"))], environment)
            try:
                self.aws.wait_for("to answer", lambda: status_of(f"{endpoint}/_ministack/health") == 200, 30)
                break
            except Failure:
                # Somebody else may have taken the port in the meantime: another port then.
                if attempt == 2 or "already in use" not in self.aws.log.read_text():
                    raise
        say(f"local AWS at {endpoint}, IAM enforced")
        return endpoint

    def _deploy(self, endpoint: str, vendor: Vendor, sandbox_url: str, parameters: Mapping[str, str]) -> None:
        """Deploys the template, fills the secret, writes stack.env."""
        say("deploying the template")
        base_url, api_key = vendor
        target = local_cloud(endpoint)
        defaults = {name: str(value) for name, value in settings.declared(cloud.TEMPLATE).items() if value is not None}
        outputs = target.deploy({**defaults, "Architecture": cloud.machine_architecture(), **parameters, "OneclickdzBaseUrl": base_url})
        secret = target.put_first_secret(outputs, api_key)
        queue = target.hear_every_event(outputs)
        api_url = f"{endpoint}/_aws/execute-api/{outputs['ApiId']}/$default"
        self._write_env({
            "API_URL": api_url, "API_TOKEN": secret["api_tokens"][0]["token"],
            "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ADMINISTRATOR, "AWS_SECRET_ACCESS_KEY": ADMINISTRATOR,
            "ORDERS_TABLE": outputs["OrdersTable"], "EVENT_BUS": outputs["EventBus"], "STATE_MACHINE_ARN": outputs["StateMachineArn"],
            "EVENTS_QUEUE_URL": queue, "ONECLICKDZ_BASE_URL": base_url, "ONECLICKDZ_API_KEY": api_key, "SANDBOX_URL": sandbox_url,
            "LOG_DIR": str(self.logs), "CARD_KEY_ID": outputs["CardKeyId"], "SECRET_ID": outputs["SecretId"],
            "STATUS_FUNCTION": outputs["StatusFunction"], "POLLER_FUNCTION": outputs["PollerFunction"],
            "RECHECK_FUNCTION": outputs["RecheckFunction"], "POLLER_DEAD_LETTERS": outputs["PollerDeadLetters"],
            "RULE_DEAD_LETTERS": outputs["RuleDeadLetters"], "RECHECK_FAILURES": outputs["RecheckFailures"],
            "STATUS_LOGS": outputs["StatusLogs"], "POLLER_LOGS": outputs["PollerLogs"], "RECHECK_LOGS": outputs["RecheckLogs"],
            "STATUS_ROLE": outputs["StatusRole"], "POLLER_ROLE": outputs["PollerRole"], "RECHECK_ROLE": outputs["RecheckRole"],
            "POLL_MACHINE_ROLE": outputs["PollMachineRole"], "START_POLL_ROLE": outputs["StartPollRole"],
            "RECHECK_SCHEDULE_ROLE": outputs["RecheckScheduleRole"],
            # In one value, so that who sources and exports the file does not thereby set up the next stack.
            "FUNCTION_SETTINGS": json.dumps(target.function_settings(outputs), sort_keys=True),
        })

    def _await_api(self) -> None:
        """Waits until a function answers: then its program starts, and its role lets it read the secret."""
        url = f"{self.read_env()['API_URL']}/health"
        failures = 0

        def ready() -> bool:
            nonlocal failures
            status = status_of(url)
            failures += status >= 500
            if failures == 3:
                raise Failure(f"the status function does not start: GET {url} answered {status}")
            return status == 200
        self.aws.wait_for(f"to answer GET {url}", ready, 30, every=0.5)

    def _write_env(self, values: Mapping[str, str]) -> None:
        """Writes stack.env for its owner's eyes only: it holds a token and a key."""
        quoted = {name: value.replace("'", "'\\''") for name, value in values.items()}
        write_private(self.env_file, "".join(f"{name}='{value}'\n" for name, value in quoted.items()))

    def _start_follower(self) -> None:
        known = self.read_env()
        groups = [f"{function}={known[f'{function.upper()}_LOGS']}" for function in cloud.FUNCTIONS]
        self.follower.start([sys.executable, "-m", "infra.local.follow_logs", "--endpoint", known["AWS_ENDPOINT_URL"],
                             "--region", REGION, "--into", str(self.logs), *groups], os.environ)

    # ------------------------------------------------------------------ down

    def down(self) -> None:
        """Stops all of it; fine if nothing runs. The logs stay."""
        with self._lock():
            was_up = self._stop()
        say("stopped" if was_up else "nothing was running")

    def _stop(self) -> bool:
        """The follower first: it copies the last log lines before it ends."""
        servers = (self.follower, self.aws, self.sandbox)
        running = [server for server in servers if server.pid()]
        for server in servers:
            server.stop()
        processes.stop_programs_in(self.temporary)
        for file in (self.env_file, self.fingerprint_file):  # they hold a key and a token, and are of no use now
            file.unlink(missing_ok=True)
        return bool(running)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One command at a time in one directory."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "lock").open("w") as handle:
            def free() -> bool:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                except BlockingIOError:
                    return False
            processes.wait_until(f"another command to be done with {self._short(self.directory)}", free, 60)
            yield

    @staticmethod
    def _short(path: Path) -> str:
        return os.path.relpath(path)


def write_private(file: Path, text: str) -> None:
    """Writes a file that only its owner can read."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)


def free_port() -> int:
    """A free loopback port below those that the system gives to outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def status_of(url: str) -> int:
    """The status with which a GET is answered; 0 if it is not."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (urllib.error.URLError, OSError):
        return 0


def local_cloud(endpoint: str) -> Cloud:
    """The local AWS at this address."""
    return Cloud(endpoint=endpoint, region=REGION, access_key_id=ADMINISTRATOR, secret_access_key=ADMINISTRATOR)
