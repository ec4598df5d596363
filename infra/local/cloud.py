"""The deployment of the template, the same for the local AWS and for the real one."""

from __future__ import annotations

import json
import os
import platform
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.local import tools
from infra.local.processes import Failure

TEMPLATE = tools.ROOT / "infra" / "template.yaml"
STATE_MACHINE = tools.ROOT / "infra" / "poll.asl.json"
FUNCTIONS = ("status", "poller", "recheck")
LAMBDA_DIR = tools.ROOT / "target" / "lambda"  # where the template looks for the programs
STACK_NAME = "topup-tracker"


def machine_architecture() -> str:
    """This machine's processor, in AWS's words."""
    return "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"


def chosen_region(environment: Mapping[str, str]) -> str:
    """The caller's region. boto3 by itself knows AWS_DEFAULT_REGION and profiles, and not AWS_REGION."""
    region = environment.get("AWS_REGION") or boto3.Session().region_name
    if not region:
        raise Failure("no region: set AWS_REGION")
    return region


def build_local() -> None:
    """Builds what a local stack runs, the sandbox among it, as the tests are built: with `one-build`, each dependency is compiled once for all."""
    packages = [*FUNCTIONS, "sandbox", "one-build"]
    cargo(["cargo", "build", "--locked", *(word for package in packages for word in ("--package", package))])
    for function in FUNCTIONS:
        program = LAMBDA_DIR / function / "bootstrap"
        program.parent.mkdir(parents=True, exist_ok=True)
        fresh = program.with_suffix(".new")
        shutil.copy2(tools.TARGET / "debug" / function, fresh)
        fresh.replace(program)  # in one step: a running stack may be reading the program


def build_release(architecture: str, lambda_dir: Path = LAMBDA_DIR) -> None:
    """Builds what goes to AWS. Packages are named, so that they get no feature that only tests need."""
    command = ["cargo", "lambda", "build", "--release", "--locked", "--arm64" if architecture == "arm64" else "--x86-64", "--lambda-dir", str(lambda_dir)]
    for function in FUNCTIONS:
        command += ["--package", function]
    # At a fixed address: a start need not correct 12,000 addresses first, which are 0.3 MB too (docs/decisions/2026-11-22-fast-and-small.md).
    cargo(command, {"RUSTFLAGS": f"{os.environ.get('RUSTFLAGS', '')} -C relocation-model=static".strip()})


def cargo(command: list[str], environment: Mapping[str, str] = {}) -> None:
    """Runs cargo in the checkout."""
    print(f"$ {' '.join(command).replace(str(tools.ROOT) + os.sep, '')}", flush=True)
    try:
        code = subprocess.run(command, cwd=tools.ROOT, env={**os.environ, "PATH": tools.path_with("cargo-lambda"), **environment}).returncode
    except FileNotFoundError:
        raise Failure("cargo is not installed: this project needs Rust (rustup)") from None
    if code != 0:
        raise Failure(f"the build ended with status {code}, see above")


@dataclass
class Cloud:
    """An AWS to deploy to. Without an endpoint: the real one, with the caller's credentials."""

    stack_name: str = STACK_NAME
    endpoint: Optional[str] = None
    region: Optional[str] = None
    access_key_id: Optional[str] = None
    secret_access_key: Optional[str] = None

    def client(self, service: str) -> Any:
        """A client of one service."""
        return boto3.client(service, region_name=self.region, endpoint_url=self.endpoint, aws_access_key_id=self.access_key_id,
                            aws_secret_access_key=self.secret_access_key, config=Config(connect_timeout=5, read_timeout=60))

    def deploy(self, parameters: Mapping[str, str]) -> dict[str, str]:
        """Packages and deploys the template; answers its outputs."""
        account, region = self._identity()
        bucket = self._bucket(f"{self.stack_name}-artifacts-{account}-{region}", region)
        with tempfile.NamedTemporaryFile(suffix=".yaml") as packaged:
            self._aws("package", "--template-file", str(TEMPLATE), "--s3-bucket", bucket, "--output-template-file", packaged.name)
            overrides = [f"{name}={value}" for name, value in sorted(parameters.items())]
            try:
                self._aws("deploy", "--template-file", packaged.name, "--stack-name", self.stack_name, "--no-fail-on-empty-changeset",
                          "--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND", "--s3-bucket", bucket,
                          *(["--parameter-overrides", *overrides] if overrides else []))
            except Failure as failure:
                raise Failure("\n".join([str(failure), *self._reasons()])) from None
        return self.outputs() or {}

    def outputs(self) -> Optional[dict[str, str]]:
        """The outputs of the deployed stack; nothing if there is none."""
        try:
            stack = self.client("cloudformation").describe_stacks(StackName=self.stack_name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def secret_value(self, outputs: Optional[Mapping[str, str]]) -> Optional[dict[str, Any]]:
        """What is in the stack's secret; nothing if it has no value yet, or there is no stack."""
        if not outputs or "SecretId" not in outputs:
            return None
        client = self.client("secretsmanager")
        try:
            text = client.get_secret_value(SecretId=outputs["SecretId"]).get("SecretString")
        except client.exceptions.ResourceNotFoundException:
            return None
        return json.loads(text) if text else None  # the local AWS answers an empty text where AWS has no value

    def put_first_secret(self, outputs: Mapping[str, str], api_key: str) -> dict[str, Any]:
        """Gives a secret without a value the vendor's key and a new token; an existing value is never replaced."""
        existing = self.secret_value(outputs)
        if existing is not None:
            return existing
        value = {"oneclickdz_api_key": api_key,
                 "api_tokens": [{"token": secrets.token_urlsafe(32), "scopes": ["orders", "cards"]}]}
        self.client("secretsmanager").put_secret_value(SecretId=outputs["SecretId"], SecretString=json.dumps(value))
        return value

    def function_settings(self, outputs: Mapping[str, str]) -> dict[str, str]:
        """What the template gives the functions as their environment, all of it."""
        client = self.client("lambda")
        settings: dict[str, str] = {}
        for function in FUNCTIONS:
            deployed = client.get_function_configuration(FunctionName=outputs[f"{function.capitalize()}Function"])
            settings.update(deployed["Environment"]["Variables"])
        return settings

    def hear_every_event(self, outputs: Mapping[str, str]) -> str:
        """A queue that hears everything on the bus (local stacks only); answers its address."""
        sqs, events = self.client("sqs"), self.client("events")
        name = f"{self.stack_name}-every-event"
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        rule = events.put_rule(Name=name, EventBusName=outputs["EventBus"], EventPattern='{"source": [{"prefix": ""}]}')["RuleArn"]
        policy = {"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": rule}}}]}
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
        events.put_targets(Rule=name, EventBusName=outputs["EventBus"], Targets=[{"Id": "queue", "Arn": arn}])
        return url

    def _identity(self) -> tuple[str, str]:
        try:
            sts = self.client("sts")
            return sts.get_caller_identity()["Account"], sts.meta.region_name
        except (BotoCoreError, ClientError) as error:
            raise Failure(f"AWS does not know who is asking: {error}; set AWS_REGION and credentials") from None

    def _bucket(self, name: str, region: str) -> str:
        """The bucket for the functions' programs, made if it is not there."""
        s3 = self.client("s3")
        try:
            s3.head_bucket(Bucket=name)
        except ClientError:
            place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
            s3.create_bucket(Bucket=name, **place)
        return name

    def _aws(self, *arguments: str) -> None:
        environment = {**os.environ, "AWS_PAGER": ""}
        if self.endpoint:
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
                environment.pop(name, None)
            environment.update(AWS_ENDPOINT_URL=self.endpoint, AWS_ACCESS_KEY_ID=str(self.access_key_id),
                               AWS_SECRET_ACCESS_KEY=str(self.secret_access_key))
        if self.region:
            environment.update(AWS_REGION=self.region, AWS_DEFAULT_REGION=self.region)
        done = subprocess.run([str(tools.program("deploy", "aws")), "cloudformation", *arguments], env=environment,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise Failure(f"aws cloudformation {arguments[0]} failed: {' '.join(done.stdout.split())[-600:]}")

    def _reasons(self) -> list[str]:
        """Why CloudFormation could not make a resource, as it says itself."""
        try:
            happened = self.client("cloudformation").describe_stack_events(StackName=self.stack_name)["StackEvents"]
        except (BotoCoreError, ClientError):
            return []
        return [f"    {event['LogicalResourceId']}: {event.get('ResourceStatusReason')}"
                for event in happened[:50] if event["ResourceStatus"].endswith("_FAILED")]
