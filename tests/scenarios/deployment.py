"""Rehearses the deployment of docs/operations.md against a local AWS, with the built programs: wrong settings and keys, a failure in between and its repeat, a
second deployment, and a setting that is changed and left out again. Deploys as a user that has docs/deployer-policy.json and no other right.
"""

import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from botocore.exceptions import ClientError

from infra.deploy.stage import Stage
from infra.local import cloud, settings, tools
from infra.local.cloud import Cloud
from infra.local.local_stack import DEFAULT_DIRECTORY, REGION, Stack, local_cloud, status_of, write_private
from infra.local.processes import Failure

STACK_NAME = "topup-tracker-rehearsal"
ACCOUNT = "000000000000"  # of the local AWS
DOCUMENTED: dict[str, Any] = {"key": "ea27b376-9f5c-4b09-883f-1b96cd7b541c", "isEnabled": True, "type": "PRODUCTION", "allowedips": ["41.1.2.3"],
                              "scope": "READ-ONLY"}
DEPLOY = [sys.executable, "-m", "infra.deploy.deploy", "--no-build"]


def expect(what: str, holds: object) -> None:
    """Says that something holds; fails if it does not."""
    if not holds:
        raise Failure(f"not so: {what}")
    print(f"  ✓ {what}", flush=True)


class Rehearsal:
    """A local AWS with a sandbox, a samconfig.toml and a deployer of its own."""

    def __init__(self) -> None:
        self.stack = Stack(DEFAULT_DIRECTORY / "rehearsal")
        self.stack.directory.mkdir(parents=True, exist_ok=True)
        self.config, self.key_file = self.stack.directory / "samconfig.toml", self.stack.directory / "key"
        self.servers = self.stack.start_servers(None)
        self.key = self.servers["ONECLICKDZ_API_KEY"]
        self.admin: Cloud = local_cloud(self.servers["AWS_ENDPOINT_URL"])
        self.admin.stack_name = STACK_NAME
        self.iam = self.admin.client("iam")
        self.iam.create_user(UserName="deployer")
        policy = (tools.ROOT / "docs" / "deployer-policy.json").read_text().replace("123456789012", ACCOUNT)
        self.iam.put_user_policy(UserName="deployer", PolicyName="deployer", PolicyDocument=policy)
        pair = self.iam.create_access_key(UserName="deployer")["AccessKey"]
        self.deployer = Cloud(STACK_NAME, self.admin.endpoint, REGION, pair["AccessKeyId"], pair["SecretAccessKey"])
        self.environment = {**settings.without(os.environ), "AWS_ENDPOINT_URL": self.servers["AWS_ENDPOINT_URL"], "AWS_REGION": REGION,
                            "SAM_CLI_POLL_DELAY": "1", "AWS_ACCESS_KEY_ID": pair["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": pair["SecretAccessKey"],
                            "LOG_LEVEL": "error"}

    def choose(self, **parameters: str) -> None:
        """Writes samconfig.toml: that of the project with these settings."""
        own = {"Architecture": cloud.machine_architecture(), "OneclickdzBaseUrl": self.servers["ONECLICKDZ_BASE_URL"], **parameters}
        text = (tools.ROOT / "infra" / "samconfig.toml").read_text().replace('"topup-tracker-staging"', f'"{STACK_NAME}"')
        table = "[staging.deploy.parameters.parameter_overrides]\n"
        self.config.write_text(text.replace(table, table + "".join(f"{name} = {json.dumps(value)}\n" for name, value in own.items())))

    def deploy(self, *words: str, key: str = "", typed: str = "") -> tuple[int, str]:
        """Runs the deployment with this key in a file, or typed; returns its status and its output."""
        write_private(self.key_file, key)
        file = ["--key-file", str(self.key_file)] if key else ["--key-file", "-"] if typed else []
        started = time.monotonic()
        ran = subprocess.run([*DEPLOY, "--stage", "staging", "--config-file", str(self.config), *file, *words], cwd=tools.ROOT, env=self.environment,
                             input=typed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        with (self.stack.logs / "deploy.log").open("a") as log:
            log.write(ran.stdout)
        print(f"  deployed: status {ran.returncode} after {time.monotonic() - started:.0f} s", flush=True)
        if self.key in ran.stdout:
            raise Failure("the vendor's key is in the output")
        return ran.returncode, ran.stdout

    def is_silent(self) -> bool:
        """Whether nothing is scheduled and no alarm notifies. Fails if the two differ."""
        states = {one["State"] for one in self.admin.client("scheduler").list_schedules()["Schedules"]}
        alarms = [one["ActionsEnabled"] for one in self.admin.client("cloudwatch").describe_alarms()["MetricAlarms"]]
        if len(states) != 1 or len(alarms) < 10 or len(set(alarms)) != 1 or (states == {"ENABLED"}) != alarms[0]:
            raise Failure(f"schedule {states}, alarms {alarms}")
        return states == {"DISABLED"}

    def setting(self, name: str) -> str:
        """A variable of the deployed `recheck`."""
        function = (self.admin.outputs() or {})["RecheckFunction"]
        return str(self.admin.client("lambda").get_function_configuration(FunctionName=function)["Environment"]["Variables"][name])

    def secrets(self) -> list[str]:
        """The values of the stack's secrets, as only an administrator reads them."""
        outputs = self.admin.outputs() or {}
        return [json.dumps(self.admin.secret_value(outputs, output)) for output in sorted(cloud.first_secrets(""))]


def what_is_refused_early(one: Rehearsal) -> None:
    """Wrong settings and keys: nothing is changed."""
    one.choose(PollDeadline="300s", RecheckQueued="24h,soon", Nonsense="1")
    status, said = one.deploy(key=one.key)
    words = ("POLL_DEADLINE must be a duration from 1ms to 290s", "RECHECK_QUEUED must be one or more durations", "Nonsense is no parameter")
    expect("wrong settings are refused before anything else, all at once", status == 1 and all(word in said for word in words))
    one.choose(VendorCallsPerMinute="5")
    expect("a burst that is not below the rate is refused", "less than VENDOR_CALLS_PER_MINUTE (5)" in one.deploy(key=one.key)[1])
    one.choose()
    expect("without a terminal and without a key it says how to give one", "KEY_FILE=FILE" in one.deploy()[1])
    expect("a file that does not exist is named", "cannot be read" in one.deploy("--key-file", str(one.key_file / "missing"))[1])
    expect("a key that the vendor refuses is refused", "the vendor refuses the key: INVALID_ACCESS_TOKEN" in one.deploy(key="a-wrong-key")[1])
    expect("none of this made a stack", one.admin.outputs() is None)


def a_failure_in_between(one: Rehearsal) -> None:
    """The programs cannot be uploaded, then the secret cannot be put, then all is well: the same command goes on."""
    status, said = one.deploy(key=one.key)
    # The policy that the SAM CLI gives its bucket denies what is not encrypted, and the local AWS has no TLS.
    expect("an upload that is denied ends the deployment", status == 1 and "Unable to upload" in said and one.admin.outputs() is None)
    s3 = one.admin.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        s3.delete_bucket_policy(Bucket=bucket["Name"])
    deny = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "secretsmanager:PutSecretValue", "Resource": "*"}]}
    one.iam.put_user_policy(UserName="deployer", PolicyName="deny", PolicyDocument=json.dumps(deny))
    status, said = one.deploy(key=one.key)
    expect("the vendor's answer about the key is told", "type: SANDBOX" in said and "scope: the vendor does not say" in said)
    expect("a deployment that cannot put the secret fails", status == 1 and "PutSecretValue" in said)
    expect("the stack is there, and silent", one.is_silent())
    one.iam.delete_user_policy(UserName="deployer", PolicyName="deny")
    status, _ = one.deploy(typed=one.key + "\n")
    expect("the same command, with the key on standard input, ends well", status == 0)
    expect("then the schedule runs and the alarms notify", not one.is_silent())
    expect("the secret has the key", any(one.key in value for value in one.secrets()))
    try:
        one.deployer.secret_value(one.admin.outputs() or {}, cloud.SECRET_OF_THE_KEY)
    except ClientError as error:
        expect("the deployer may not read it", "AccessDenied" in str(error))
    else:
        raise Failure("the deployer may read the secret")


def later_deployments(one: Rehearsal) -> None:
    """A second deployment, a changed setting, its default again, and switching off."""
    before = one.secrets()
    status, said = one.deploy()
    expect("a second deployment asks for no key and changes nothing", status == 0 and "No changes to deploy" in said and one.secrets() == before)
    expect("a LOG_LEVEL of the environment has no effect", one.setting("RUST_LOG") == "info")
    one.choose(VendorCallsPerMinute="100", WebhookUrl="https://shop.example/hook")
    status, _ = one.deploy()
    expect("a setting is changed", status == 0 and one.setting("VENDOR_CALLS_PER_MINUTE") == "100")
    one.choose(Enabled="off")
    status, _ = one.deploy()
    expect("a setting that is left out has its default again", status == 0 and one.setting("VENDOR_CALLS_PER_MINUTE") == "60")
    expect("`Enabled` off switches off", one.is_silent())
    expect("all of it left the secrets alone", one.secrets() == before)


def api_answers(one: Rehearsal) -> None:
    """The deployed API answers, so `status` has read its secrets."""
    url = f"{one.servers['AWS_ENDPOINT_URL']}/_aws/execute-api/{(one.admin.outputs() or {})['ApiId']}/$default/health"
    expect("the deployed API answers", status_of(url) == 200)


@contextmanager
def vendor_answering(about: Mapping[str, Any]) -> Iterator[str]:
    """A server that answers `/validate` as the vendor's page shows it; the address of its API."""
    body = json.dumps({"success": True, "data": {"username": "+213665983439", "apiKey": about}}).encode()

    class Handler(BaseHTTPRequestHandler):
        """Answers every request with the body."""

        def do_GET(self) -> None:  # noqa: N802
            """One answer."""
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Logs nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v3"
    finally:
        server.shutdown()


def on_a_terminal(one: Rehearsal, command: Sequence[str], answers: Mapping[str, str]) -> tuple[int, str]:
    """Runs a command on a terminal of its own. A question, which ends with `: `, gets the answer of the first text that it contains, or an empty one. Returns
    the status and all output."""
    terminal, inner = pty.openpty()
    environment = {**one.environment, "PYTHONPATH": str(tools.ROOT), "AWS_DEFAULT_REGION": REGION}
    asking = subprocess.Popen(command, cwd=tools.ROOT / "infra", env=environment, stdin=inner, stdout=inner, stderr=inner, start_new_session=True)
    os.close(inner)
    said, answered = "", 0
    while True:
        try:
            said += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # it has ended
            break
        question = said[answered:].rpartition("\n")[2]
        if question.endswith(": ") and ("]" in question or any(text in question for text in answers)):
            answered = len(said)
            os.write(terminal, (next((answer for text, answer in answers.items() if text in question), "") + "\n").encode())
    os.close(terminal)
    return asking.wait(60), said


def asked_on_a_terminal(one: Rehearsal) -> None:
    """The key is asked for on a terminal, and what the vendor says is told without the answer's other fields."""
    with vendor_answering(DOCUMENTED) as address:
        one.choose(OneclickdzBaseUrl=address)
        status, said = on_a_terminal(one, [*DEPLOY, "--check-key", "--stage", "staging", "--config-file", str(one.config)], {"not shown": DOCUMENTED["key"]})
    expect("a key is asked for on a terminal", status == 0 and "The vendor's key" in said)
    expect("neither the key nor the account is shown", DOCUMENTED["key"] not in said and "213665983439" not in said)
    words = ("type: PRODUCTION, so orders are real", "scope: READ-ONLY", "addresses: only 41.1.2.3")
    expect("type, scope and addresses are told", all(word in said for word in words))


def guided(one: Rehearsal) -> None:
    """`sam deploy --guided` with the defaults: another stack, silent."""
    one.choose()
    sam = str(tools.program("deploy", "sam"))
    status, said = on_a_terminal(one, [sam, "deploy", "--guided", "--config-file", str(one.config)], {"Parameter Architecture": cloud.machine_architecture()})
    (one.stack.logs / "guided.log").write_text(said)
    expect("the questions lead to a stack", status == 0 and "Successfully created/updated stack - topup-tracker in" in said)
    expect("it is silent", one.is_silent())
    expect("make deploy understands what the questions wrote", Stage.read(one.config, "default").parameters()["Enabled"] == "off")


def main() -> None:
    """Runs the rehearsal on servers of its own, and stops them."""
    started = time.monotonic()
    stack = Stack(DEFAULT_DIRECTORY / "rehearsal")
    parts: list[Callable[[Rehearsal], None]] = [asked_on_a_terminal, what_is_refused_early, a_failure_in_between, api_answers, later_deployments, guided]
    with cloud.errors_shown(stack.logs):
        try:
            one = Rehearsal()
            for part in parts:
                print(f"{(part.__doc__ or '').splitlines()[0]}", flush=True)
                part(one)
        finally:
            stack.down()
    print(f"Everything as documented, in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
