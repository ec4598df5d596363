"""The functions' build, what both deployments need of a stack, and the deployment to the local AWS. The deployment to AWS itself: infra/deploy/."""

import contextlib
import hashlib
import io
import json
import os
import platform
import secrets
import shutil
import signal
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from infra.local import settings, tools
from infra.local.processes import Failure, run_command

STATE_MACHINE = tools.ROOT / "infra" / "poll.asl.json"
FUNCTIONS = ("status", "poller", "recheck", "notify", "page")
LOCAL_PACKAGES = (*FUNCTIONS, "sandbox", "one-build")
STACK_NAME = "topup-tracker"
CHANGE_SET = "deploy"
BUCKET = "packages"
PACE = {"Delay": 1, "MaxAttempts": 3600}  # of waiters, in seconds
SECRET_OF_THE_KEY = "SecretId"  # the output that names the secret with the vendor's key
SECRET_OF_THE_TOKENS = "TokensSecretId"
NOTHING_TO_CHANGE = ("didn't contain changes", "No updates are to be performed")  # CloudFormation's words
LAMBDA_DIR = tools.ROOT / "target" / "lambda"  # the template names this folder


def machine_architecture() -> str:
    """This machine's processor, as AWS names it."""
    return "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"


def packages(*names: str) -> list[str]:
    """These packages, as cargo's options."""
    return [word for name in names for word in ("--package", name)]


def build_local() -> None:
    """Builds what a local stack runs, the sandbox among it, as the tests are built: with `one-build`, each dependency is compiled once for all."""
    run_command("cargo", "build", "--locked", *packages(*LOCAL_PACKAGES))
    for function in FUNCTIONS:
        install(tools.TARGET / "debug" / function, LAMBDA_DIR / function / "bootstrap")


def install(built: Path, program: Path) -> None:
    """Copies a program in one step: a running stack may be reading the copy that it replaces."""
    program.parent.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(".new")
    shutil.copy2(built, fresh)
    fresh.replace(program)


def build_release(architecture: str, lambda_dir: Path, *chosen: str, environment: Mapping[str, str]) -> None:
    """Builds with cargo lambda, as what goes to AWS is built."""
    processor = "--arm64" if architecture == "arm64" else "--x86-64"
    run_command("cargo", "lambda", "build", "--release", processor, "--lambda-dir", str(lambda_dir), *chosen,
                environment={"PATH": tools.path_with("deploy"), **environment})


def build_functions(architecture: str, lambda_dir: Path = LAMBDA_DIR) -> None:
    """Builds what goes to AWS. Packages are named, so that they get no feature that only tests need."""
    # At a fixed address: a start need not relocate 12,000 addresses, which also take 0.3 MB (docs/decisions/2026-11-22-fast-and-small.md).
    build_release(architecture, lambda_dir, "--locked", *packages(*FUNCTIONS),
                  environment={"RUSTFLAGS": f"{os.environ.get('RUSTFLAGS', '')} -C relocation-model=static".strip()})


def zipped(program: Path) -> bytes:
    """A function's package. Equal programs give equal bytes, so CloudFormation updates only the functions that have changed."""
    entry = zipfile.ZipInfo("bootstrap")
    entry.external_attr = 0o755 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as package:
        package.writestr(entry, program.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


@contextlib.contextmanager
def errors_shown(logs: Path | None = None) -> Iterator[None]:
    """Ends the program with a message instead of a traceback if an expected failure or an error of AWS occurs; the message names the folder of the logs.
    A TERM ends it as an error does, so that what was started is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    except (Failure, BotoCoreError, ClientError) as error:
        tools.fail((str(error) if isinstance(error, Failure) else f"AWS: {error}") + (f"\nlogs: {logs}" if logs else ""))
    except KeyboardInterrupt:
        sys.exit(130)


def first_secrets(api_key: str) -> dict[str, dict[str, Any]]:
    """What each secret of the stack gets first, by the output that names the secret: the vendor's key, and a new token of the API."""
    token = {"token": secrets.token_urlsafe(32), "scopes": ["orders", "cards"]}
    return {SECRET_OF_THE_KEY: {"oneclickdz_api_key": api_key}, SECRET_OF_THE_TOKENS: {"api_tokens": [token]}}


@dataclass
class Cloud:
    """A stack in an AWS. By default it is the AWS of the environment; of its variables boto3 reads all but AWS_REGION by itself."""

    stack_name: str = os.environ.get("STACK_NAME") or STACK_NAME
    endpoint: str | None = None
    region: str | None = os.environ.get("AWS_REGION") or None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    profile: str | None = None

    def client(self, service: str) -> Any:
        """A client of one service."""
        session = boto3.Session(self.access_key_id, self.secret_access_key, region_name=self.region, profile_name=self.profile)
        return session.client(service, endpoint_url=self.endpoint, config=Config(connect_timeout=5, read_timeout=60))  # type: ignore[call-overload]

    def deploy(self, parameters: Mapping[str, str]) -> dict[str, str]:
        """Uploads the functions to the local AWS, creates or updates the stack, and returns its outputs."""
        cloudformation = self.client("cloudformation")
        values = [{"ParameterKey": name, "ParameterValue": value} for name, value in {**parameters, "Release": settings.release(parameters)}.items()]
        change = "create" if self._stack() is None else "update"
        if self._make_change_set(change, values):
            cloudformation.execute_change_set(StackName=self.stack_name, ChangeSetName=CHANGE_SET)
            try:
                cloudformation.get_waiter(f"stack_{change}_complete").wait(StackName=self.stack_name, WaiterConfig=PACE)
            except WaiterError as error:
                raise Failure("\n".join([f"CloudFormation could not {change} {self.stack_name}: {error}", *self._reasons()])) from None
        return self.outputs() or {}

    def _make_change_set(self, change: str, values: list[dict[str, str]]) -> bool:
        """Makes a change set; returns whether it changes anything. Without one, an update that changes nothing is accepted, and no waiter would end."""
        cloudformation, names = self.client("cloudformation"), {"StackName": self.stack_name, "ChangeSetName": CHANGE_SET}
        with contextlib.suppress(ClientError):  # of a deployment that was interrupted
            cloudformation.delete_change_set(**names)
        cloudformation.create_change_set(**names, ChangeSetType=change.upper(), TemplateURL=self._packaged_template(), Parameters=values,
                                         Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"])
        try:
            cloudformation.get_waiter("change_set_create_complete").wait(**names, WaiterConfig=PACE)
        except WaiterError:
            reason = cloudformation.describe_change_set(**names).get("StatusReason", "")
            cloudformation.delete_change_set(**names)
            if any(text in reason for text in NOTHING_TO_CHANGE):
                return False
            raise Failure(f"CloudFormation refuses the change: {reason}") from None
        return True

    def outputs(self) -> dict[str, str] | None:
        """The outputs of the deployed stack; None if there is no stack."""
        stack = self._stack()
        return None if stack is None else {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def secrets_without_value(self, outputs: Mapping[str, str] | None) -> set[str]:
        """The secrets that have no value yet, by the outputs that name them; all of them if there is no stack. Reads no secret."""
        client, found = self.client("secretsmanager"), set(first_secrets(""))
        for output in found & (outputs or {}).keys():
            versions = client.describe_secret(SecretId=(outputs or {})[output]).get("VersionIdsToStages") or {}
            empty = 1 if self.endpoint or os.environ.get("AWS_ENDPOINT_URL") else 0  # the local AWS gives each new secret an empty version
            if len(versions) > empty:
                found.remove(output)
        return found

    def put_first_secrets(self, outputs: Mapping[str, str], api_key: str) -> None:
        """Stores the vendor's key and a new token in secrets without a value. An existing value is never replaced."""
        values = first_secrets(api_key)
        for output in sorted(self.secrets_without_value(outputs)):
            self.client("secretsmanager").put_secret_value(SecretId=outputs[output], SecretString=json.dumps(values[output]))

    def secret_value(self, outputs: Mapping[str, str], output: str) -> Any:
        """The value of a secret of a local stack."""
        return json.loads(self.client("secretsmanager").get_secret_value(SecretId=outputs[output])["SecretString"])

    def webhook_secret(self, outputs: Mapping[str, str]) -> str:
        """The secret that webhooks are signed with, as verifiers expect it; empty without webhooks."""
        if "WebhookSecretId" not in outputs:
            return ""
        return f"whsec_{self.secret_value(outputs, 'WebhookSecretId')['current']}"

    def function_settings(self, outputs: Mapping[str, str]) -> dict[str, str]:
        """The environment variables that the template sets on the functions."""
        client, names = self.client("lambda"), [f"{function.capitalize()}Function" for function in FUNCTIONS]
        deployed = (client.get_function_configuration(FunctionName=outputs[name]) for name in names if name in outputs)  # not every stack has each
        return {name: value for function in deployed for name, value in function["Environment"]["Variables"].items()}

    def receive_every_event(self, outputs: Mapping[str, str]) -> str:
        """Creates a queue that receives every event of the bus (local stacks only); returns the queue's URL."""
        sqs, events = self.client("sqs"), self.client("events")
        name = f"{self.stack_name}-every-event"
        url: str = sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        rule = events.put_rule(Name=name, EventBusName=outputs["EventBus"], EventPattern='{"source": [{"prefix": ""}]}')["RuleArn"]
        may_send = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn,
                    "Condition": {"ArnEquals": {"aws:SourceArn": rule}}}
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": [may_send]})})
        events.put_targets(Rule=name, EventBusName=outputs["EventBus"], Targets=[{"Id": "queue", "Arn": arn}])
        return url

    def _stack(self) -> dict[str, Any] | None:
        """The deployed stack; None if there is none."""
        try:
            stacks: list[dict[str, Any]] = self.client("cloudformation").describe_stacks(StackName=self.stack_name)["Stacks"]
        except ClientError as error:
            if "does not exist" not in str(error):
                raise
            return None
        # A stack of which only a change set was ever made is empty, and is still to be created.
        return None if stacks[0]["StackStatus"] == "REVIEW_IN_PROGRESS" else stacks[0]

    def _template(self) -> str:
        """The template's text."""
        return settings.TEMPLATE.read_text()

    def _packaged_template(self) -> str:
        """Uploads what the template names by path, then the template with S3 addresses in place of the paths; returns its address. CloudFormation takes no
        more than 51,200 bytes in the call itself."""
        s3, text = self.client("s3"), self._template()
        s3.create_bucket(Bucket=BUCKET)  # no error in us-east-1 if it exists
        packages = {f"../target/lambda/{function}/": zipped(LAMBDA_DIR / function / "bootstrap") for function in FUNCTIONS}
        for path, content in {**packages, STATE_MACHINE.name: STATE_MACHINE.read_bytes()}.items():
            key = hashlib.sha256(content).hexdigest()
            if f"Uri: {path}\n" not in text:
                raise Failure(f"{settings.TEMPLATE.name} does not name {path}")
            s3.put_object(Bucket=BUCKET, Key=key, Body=content)
            text = text.replace(f"Uri: {path}\n", f"Uri: s3://{BUCKET}/{key}\n")
        s3.put_object(Bucket=BUCKET, Key="template.yaml", Body=text.encode())
        return f"{s3.meta.endpoint_url}/{BUCKET}/template.yaml"

    def _reasons(self) -> list[str]:
        """CloudFormation's reasons for failed resources; empty if it does not answer, so that the failure itself is shown."""
        try:
            events = self.client("cloudformation").describe_stack_events(StackName=self.stack_name)["StackEvents"]
        except (BotoCoreError, ClientError):
            return []
        failed = [event for event in events[:50] if event["ResourceStatus"].endswith("_FAILED")]
        return [f"    {event['LogicalResourceId']}: {event.get('ResourceStatusReason')}" for event in failed]
