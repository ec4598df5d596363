"""A local stack: the vendor's sandbox, the local AWS and the deployed template, with all files in one directory."""

import contextlib
import hashlib
import itertools
import json
import os
import random
import secrets
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import urllib3

from infra.local import cloud, lifecycle, processes, settings, tools
from infra.local.cloud import STACK_NAME, Cloud
from infra.local.processes import Failure, Server

REGION = "us-east-1"
ADMINISTRATOR = "test"  # the local AWS gives this key all rights; the functions get sessions of their own roles
DEFAULT_DIRECTORY = tools.ROOT / ".local"
SANDBOX = tools.TARGET / "debug" / "sandbox"
KEPT = ("SERVERS", "SANDBOX_URL", "ONECLICKDZ_BASE_URL", "ONECLICKDZ_API_KEY", "AWS_ENDPOINT_URL")  # variables of stack.env that only new servers change
SANDBOX_RECEIVER = "sandbox"  # as WEBHOOK_URL: the receiver of webhooks in the sandbox
Vendor = tuple[str, str]  # base address and key


class Stack:
    """A local stack. Stacks in different directories are independent."""

    def __init__(self, directory: Path, aws_environment: Mapping[str, str] | None = None) -> None:
        """`aws_environment`: additional environment variables of the local AWS, and so of the functions."""
        self.directory = directory.resolve()
        self.aws_environment = dict(aws_environment or {})
        self.logs = self.directory / "logs"
        self.env_file = self.directory / "stack.env"
        self.temporary = self.directory / "tmp"  # the local AWS unpacks the functions here
        self.sandbox, self.aws, self.follower = (Server(name, self.directory) for name in ("sandbox", "ministack", "follow-logs"))

    def _say(self, message: str) -> None:
        print(f"{self.directory.name.lstrip('.')}: {message}", flush=True)

    def up(self, vendor: Vendor | None, parameters: Mapping[str, str], sandbox_flags: Sequence[str] = ()) -> None:
        """Starts the stack, or deploys what has changed if the stack runs. If starting fails, everything that was started is stopped."""
        servers = self._fingerprint(vendor, sandbox_flags)
        with tools.lock(self.directory):
            if self.is_up(with_sandbox=vendor is None):
                known = self.read_env()
                if known["SERVERS"] != servers:
                    raise Failure("the stack runs with another vendor or another sandbox: `make down` first")
                self._deploy(parameters, {name: known[name] for name in KEPT})
            else:
                self._stop()
                try:
                    self._deploy(parameters, {"SERVERS": servers, **self.start_servers(vendor, sandbox_flags)})
                except BaseException:
                    self._say("stopping what was started")
                    self._stop()
                    raise
        self._say(f"ready: settings in {short(self.env_file)} (source it), logs in {short(self.logs)}")

    def start_servers(self, vendor: Vendor | None, sandbox_flags: Sequence[str] = ()) -> dict[str, str]:
        """Starts the servers; returns their variables of stack.env."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self.temporary.mkdir(exist_ok=True)
        for file in self.logs.glob("*.log"):
            file.unlink()
        sandbox_url = ""
        if vendor is None:
            key = f"sandbox-{secrets.token_hex(16)}"
            sandbox_url = self._start_sandbox(key, sandbox_flags)
            vendor = (f"{sandbox_url}/v3", key)
        return {"SANDBOX_URL": sandbox_url, "ONECLICKDZ_BASE_URL": vendor[0], "ONECLICKDZ_API_KEY": vendor[1], "AWS_ENDPOINT_URL": self._start_aws()}

    def is_up(self, with_sandbox: bool = True) -> bool:
        """Whether the stack's servers run."""
        servers = [self.aws, *([self.sandbox] if with_sandbox else [])]
        return self.env_file.exists() and all(server.pid() for server in servers)

    def read_env(self) -> dict[str, str]:
        """The variables in stack.env."""
        if not self.env_file.exists():
            raise Failure(f"there is no {short(self.env_file)}: `make up` first")
        return dict(word.split("=", 1) for word in shlex.split(self.env_file.read_text(), comments=True))

    def _fingerprint(self, vendor: Vendor | None, flags: Sequence[str]) -> str:
        """A hash of what needs new servers. Everything else can be deployed to running servers."""
        for file in [*(cloud.LAMBDA_DIR / function / "bootstrap" for function in cloud.FUNCTIONS), *([] if vendor else [SANDBOX])]:
            if not file.exists():
                raise Failure(f"there is no {short(file)}: `make build` first")
        return hashlib.sha256(json.dumps([vendor, list(flags)]).encode() + (b"" if vendor else SANDBOX.read_bytes())).hexdigest()

    def _start_sandbox(self, key: str, flags: Sequence[str]) -> str:
        """Starts the sandbox; returns its address, which the sandbox prints."""
        self.sandbox.start([str(SANDBOX), "--listen", "127.0.0.1:0", "--api-key", key, *flags], {})

        def address() -> str:
            lines = self.sandbox.log.read_text().splitlines()
            return next((str(json.loads(line)["listening"]) for line in lines if line.startswith('{"listening"')), "")

        self.sandbox.wait_for("address", lambda: address() != "", 60)
        self._say(f"sandbox at {address()}")
        return address()

    def _start_aws(self) -> str:
        """Starts the local AWS; returns its address. The functions inherit its environment, which is therefore small."""
        port = free_port()
        endpoint = f"http://127.0.0.1:{port}"
        self.aws.start([str(tools.program("python", "ministack"))], {
            "PATH": f"{tools.TOOLS / 'python' / 'bin'}:/usr/bin:/bin", "HOME": str(self.temporary), "TMPDIR": str(self.temporary),
            "GATEWAY_PORT": str(port), "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION,
            "MINISTACK_REGION": REGION, "BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0", "AUTH": "true",
            **self.aws_environment,
        })
        self.aws.wait_for("health", lambda: status_of(f"{endpoint}/_ministack/health") == 200, 120)
        self._say(f"local AWS at {endpoint}, IAM enforced")
        return endpoint

    def _deploy(self, parameters: Mapping[str, str], servers: Mapping[str, str]) -> None:
        """Deploys the template, stores the secret, writes stack.env, and waits until the API answers."""
        self._say("deploying the template")
        endpoint, target = servers["AWS_ENDPOINT_URL"], local_cloud(servers["AWS_ENDPOINT_URL"])
        chosen = {"Architecture": cloud.machine_architecture(), "Enabled": "on", **parameters, "OneclickdzBaseUrl": servers["ONECLICKDZ_BASE_URL"]}
        if chosen.get("WebhookUrl") == SANDBOX_RECEIVER:
            chosen["WebhookUrl"] = f"{servers['SANDBOX_URL']}/receiver"
        complete = {**{name: str(value) for name, value in settings.declared().items() if value is not None}, **chosen}
        lifecycle.check(target, complete)
        outputs = self._deploy_with_links(target, complete)
        target.put_first_secrets(outputs, servers["ONECLICKDZ_API_KEY"])
        values = {
            **servers,
            **{settings.variable_name(name): value for name, value in outputs.items()},
            "API_URL": api_url(endpoint, outputs),
            "API_TOKEN": target.secret_value(outputs, cloud.SECRET_OF_THE_TOKENS)["api_tokens"][0]["token"],
            "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, "AWS_ACCESS_KEY_ID": ADMINISTRATOR, "AWS_SECRET_ACCESS_KEY": ADMINISTRATOR,
            "WEBHOOK_SECRET": target.webhook_secret(outputs), "EVENTS_QUEUE_URL": target.receive_every_event(outputs), "LOG_DIR": str(self.logs),
            # One JSON value, because single variables would become the settings of the next stack once stack.env is exported.
            "FUNCTION_SETTINGS": json.dumps(target.function_settings(outputs), sort_keys=True),
        }
        write_private(self.env_file, "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()))
        if not self.follower.pid():
            self.follower.start([sys.executable, "-m", "infra.local.stack", "follow-logs", "--dir", str(self.directory)], os.environ)
        self._await_api(f"{values['API_URL']}/health")

    def _deploy_with_links(self, target: Cloud, parameters: Mapping[str, str]) -> dict[str, str]:
        """Deploys the template. With a tracking page, the links begin with the local API's address, which is known once there is an API."""
        if parameters.get("TrackingPage") != "on" or parameters.get("TrackingUrlBase"):
            return target.deploy(parameters)
        outputs = target.outputs() or target.deploy(parameters)
        return target.deploy({**parameters, "TrackingUrlBase": api_url(str(target.endpoint), outputs)})

    def _await_api(self, url: str) -> None:
        """Waits until the status function answers. Fails at the third error of the function: it does not start, for example because of a setting."""
        errors = itertools.count(1)

        def ready() -> bool:
            status = status_of(url)
            if status >= 500 and next(errors) == 3:
                raise Failure(f"the status function does not start: GET {url} answered {status}")
            return status == 200

        self.aws.wait_for("API", ready, 120, every=0.5)

    def down(self) -> None:
        """Stops every server and keeps the logs. It is no error if nothing runs."""
        with tools.lock(self.directory):
            was_up = self._stop()
        self._say("stopped" if was_up else "nothing was running")

    def _stop(self) -> bool:
        """Stops the follower first, because it copies the last log lines when it ends."""
        servers = (self.follower, self.aws, self.sandbox)
        running = [server for server in servers if server.pid()]
        for server in servers:
            server.stop()
        processes.stop_programs_in(self.temporary)
        self.env_file.unlink(missing_ok=True)  # it contains a key and a token
        return bool(running)


def api_url(endpoint: str, outputs: Mapping[str, str]) -> str:
    """The address of the HTTP API of a local stack."""
    return f"{endpoint}/_aws/execute-api/{outputs['ApiId']}/$default"


def short(path: Path) -> str:
    """The path relative to the current folder."""
    return os.path.relpath(path)


def write_private(file: Path, text: str) -> None:
    """Writes a file that only its owner can read. The file appears complete."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(file)


def free_port() -> int:
    """A free loopback port below the range that Linux gives to outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def status_of(url: str, headers: Mapping[str, str] | None = None, timeout: float = 20) -> int:
    """The status of the answer to a GET; 0 without an answer."""
    try:
        return urllib3.request("GET", url, headers={**(headers or {}), "connection": "close"}, timeout=timeout, retries=False).status
    except urllib3.exceptions.HTTPError:
        return 0


def local_cloud(endpoint: str) -> Cloud:
    """The local AWS at this address."""
    return Cloud(STACK_NAME, endpoint=endpoint, region=REGION, access_key_id=ADMINISTRATOR, secret_access_key=ADMINISTRATOR)
