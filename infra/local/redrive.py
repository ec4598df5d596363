#!/usr/bin/env python3
"""Puts dead letters back to where they came from: `make redrive`.

What could not be polled or delivered starts the wait loop again, and what could not be swept is swept. A letter is deleted once that has begun; one that
cannot be understood is left where it is, and named. On AWS, with the credentials, region and STACK_NAME of the environment, or on a local stack.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Collection, Iterator, Mapping, Optional

from infra.local import tools

if __name__ == "__main__":
    tools.enter()

from botocore.exceptions import BotoCoreError, ClientError

from infra.local import cloud
from infra.local.cloud import Cloud
from infra.local.local_stack import Stack, local_cloud
from infra.local.processes import Failure

QUEUES = ("PollerDeadLetters", "RuleDeadLetters", "RecheckFailures")
HIDDEN_SECONDS = 120  # for so long nobody else sees what was received here
ORDER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Letter:
    """A message of a dead-letter queue."""

    id: str
    receipt: str
    text: str
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class Remedy:
    """What a letter asks for: an execution of the wait loop with this input, or, without one, a sweep."""

    execution_input: Optional[Mapping[str, Any]]

    def __str__(self) -> str:
        return "a sweep" if self.execution_input is None else f"poll {self.execution_input['product']}/{self.execution_input['id']}"


class NotUnderstood(Exception):
    """Why a letter stays where it is."""


def is_order(value: object) -> bool:
    """Whether the poller could read this as an order; anything else would come back as a dead letter."""
    return (isinstance(value, dict) and value.get("product") in ("mobile", "internet")
            and isinstance(value.get("id"), str) and ORDER_ID.fullmatch(value["id"]) is not None)


def remedy_for(queue: str, letter: Letter) -> Remedy:
    """What a letter in this queue asks for."""
    if queue == "RecheckFailures":
        return Remedy(None)  # whatever failed, a sweep sees to all that is due
    try:
        body = json.loads(letter.text)
    except ValueError:
        raise NotUnderstood("it is not JSON") from None
    if not isinstance(body, dict):
        raise NotUnderstood("it is not an object")
    if queue == "PollerDeadLetters":
        candidates = [body.get("input")]
    else:
        # The event that a rule could not deliver, or what the rule would have made of it.
        detail = body.get("detail")
        candidates = [detail.get("order") if isinstance(detail, dict) else None, detail, body]
    for candidate in candidates:
        if is_order(candidate):
            return Remedy(candidate)
    if queue == "RuleDeadLetters" and ("SCHEDULE_ARN" in letter.attributes or body.get("source") == "aws.scheduler"):
        return Remedy(None)
    raise NotUnderstood("it names no order with a product and an id that the poller could read")


class Redrive:
    """One run over the queues of a stack."""

    def __init__(self, target: Cloud, only: Collection[str], dry: bool) -> None:
        outputs = target.outputs()
        if outputs is None:
            raise Failure(f"there is no stack {target.stack_name}")
        self.outputs = outputs
        self.sqs, self.sfn, self.functions = (target.client(service) for service in ("sqs", "stepfunctions", "lambda"))
        self.only, self.dry = only, dry
        self.swept = False
        self.done = self.left = 0

    def run(self) -> None:
        """Sees to every letter of every queue."""
        for queue in QUEUES:
            stay: dict[str, str] = {}  # receipts of letters that are seen again by others once all were looked at
            try:
                for letter in self._letters(queue, stay):
                    stay[letter.id] = letter.receipt
                    if (not self.only or letter.id in self.only) and self._see_to(queue, letter):
                        del stay[letter.id]
            finally:
                for receipt in stay.values():
                    self.sqs.change_message_visibility(QueueUrl=self.outputs[queue], ReceiptHandle=receipt, VisibilityTimeout=0)

    def _letters(self, queue: str, stay: dict[str, str]) -> Iterator[Letter]:
        """Every letter once, until no new one comes."""
        seen: set[str] = set()
        while True:
            answer = self.sqs.receive_message(QueueUrl=self.outputs[queue], MaxNumberOfMessages=10, WaitTimeSeconds=1,
                                              VisibilityTimeout=HIDDEN_SECONDS, MessageAttributeNames=["All"])
            messages = answer.get("Messages", [])
            # A run that takes long receives again what it left; only the latest receipt counts.
            stay.update({message["MessageId"]: message["ReceiptHandle"] for message in messages if message["MessageId"] in stay})
            new = [message for message in messages if message["MessageId"] not in seen]
            if not new:
                return
            for message in new:
                seen.add(message["MessageId"])
                attributes = {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()}
                yield Letter(message["MessageId"], message["ReceiptHandle"], message["Body"], attributes)

    def _see_to(self, queue: str, letter: Letter) -> bool:
        """Puts one letter back; answers whether it is gone from its queue."""
        try:
            remedy = remedy_for(queue, letter)
            if not self.dry:
                self._apply(remedy, letter)
                self.sqs.delete_message(QueueUrl=self.outputs[queue], ReceiptHandle=letter.receipt)
        except (NotUnderstood, BotoCoreError, ClientError) as problem:
            self.left += 1
            print(f"{queue} {letter.id}: left where it is: {problem}", flush=True)
            return False
        self.done += 1
        print(f"{queue} {letter.id}: {'would ' if self.dry else ''}{remedy}", flush=True)
        return not self.dry

    def _apply(self, remedy: Remedy, letter: Letter) -> None:
        """Starts what the letter asks for. The execution's name is the letter's, so that a repeat starts it once where names are kept (STANDARD)."""
        if remedy.execution_input is not None:
            try:
                self.sfn.start_execution(stateMachineArn=self.outputs["StateMachineArn"], name=f"redrive-{letter.id}",
                                         input=json.dumps(remedy.execution_input))
            except self.sfn.exceptions.ExecutionAlreadyExists:
                pass  # an earlier run started it, and ended before it deleted the letter
        elif not self.swept:
            self.functions.invoke(FunctionName=self.outputs["RecheckFunction"], InvocationType="Event", Payload=b"{}")
            self.swept = True  # one sweep sees to all that is due, whatever number of letters asks for it


def target_of(directory: Optional[Path], environment: Mapping[str, str]) -> Cloud:
    """The local stack in this directory, or else what the environment names; boto3 itself knows AWS_ENDPOINT_URL."""
    if directory is not None:
        return local_cloud(Stack(directory).read_env()["AWS_ENDPOINT_URL"])
    return Cloud(stack_name=environment.get("STACK_NAME") or cloud.STACK_NAME, region=cloud.chosen_region(environment))


def main() -> None:
    """Command line. Status 1 if a letter was left."""
    parser = argparse.ArgumentParser(description="Put dead letters back to where they came from.")
    parser.add_argument("--dir", type=Path, help="the local stack in this directory, not the AWS of the environment")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument("--message", action="append", default=[], metavar="ID", help="only this message; may be given again")
    options = parser.parse_args()
    try:
        redrive = Redrive(target_of(options.dir, os.environ), options.message, options.dry_run)
        redrive.run()
    except Failure as failure:
        tools.fail(str(failure))
    except (BotoCoreError, ClientError) as error:
        tools.fail(f"AWS: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"redrive: {redrive.done} {'would be ' if options.dry_run else ''}put back, {redrive.left} left")
    sys.exit(1 if redrive.left else 0)


if __name__ == "__main__":
    main()
