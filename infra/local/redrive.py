"""Puts dead letters back to where they came from: `make redrive`.

A letter about an order starts the wait loop again. An event that the shop has not taken is sent again. Any other letter starts a recheck. A letter is
deleted once that has started. A letter that cannot be understood stays in its queue and is named. The target is the AWS of the environment (credentials,
region), of a stage of infra/samconfig.toml or STACK_NAME, or a local stack (`--dir`).
"""

import argparse
import json
import re
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeGuard

from infra.local import tools

if __name__ == "__main__":
    tools.enter(environment="deploy")

from botocore.exceptions import BotoCoreError, ClientError

from infra.deploy import stage
from infra.local import cloud
from infra.local.processes import Failure

QUEUES = ("PollerDeadLetters", "RuleDeadLetters", "RecheckFailures", "WebhookDeadLetters")
HIDDEN_SECONDS = 120  # a received letter is hidden from other readers for so long
ORDER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_order(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether the poller accepts this as its input. Anything else would become a dead letter again."""
    known = isinstance(value, dict) and value.get("product") in ("mobile", "internet") and isinstance(value.get("id"), str)
    return known and ORDER_ID.fullmatch(value["id"]) is not None


def order_in(queue: str, letter: Mapping[str, Any]) -> dict[str, Any] | None:
    """The order that a letter is about; None if the remedy is a recheck, which processes all due orders. ValueError if neither is clear."""
    if queue == "RecheckFailures":
        return None
    body = json.loads(letter["Body"])
    if not isinstance(body, dict):
        raise ValueError("it is no JSON object")
    # A rule's letter is an event that the rule could not deliver, or the input that the rule made of an event.
    detail = body.get("detail")
    of_rule = [detail.get("order") if isinstance(detail, dict) else None, detail, body]
    for candidate in [body.get("input")] if queue == "PollerDeadLetters" else of_rule:
        if is_order(candidate):
            return candidate
    if queue == "RuleDeadLetters" and ("SCHEDULE_ARN" in letter.get("MessageAttributes", {}) or body.get("source") == "aws.scheduler"):
        return None
    raise ValueError("it names no order with a valid product and id")


def event_in(letter: Mapping[str, Any]) -> str:
    """The id of the event that the shop has not taken. ValueError if the letter is no event of the tracker."""
    body = json.loads(letter["Body"])
    detail = body.get("detail") if isinstance(body, dict) and body.get("source") in ("topup-tracker", "topup-tracker.resend") else None
    if not isinstance(detail, dict) or not isinstance(detail.get("event_id"), str):
        raise ValueError("it is no event of the tracker")
    return str(detail["event_id"])


class Redrive:
    """One run over the queues of a stack."""

    def __init__(self, target: cloud.Cloud, only: Collection[str], dry: bool) -> None:
        outputs = target.outputs()
        if outputs is None:
            raise Failure(f"there is no stack {target.stack_name}")
        self.outputs = outputs
        self.sqs, self.sfn, self.functions = (target.client(service) for service in ("sqs", "stepfunctions", "lambda"))
        self.only, self.dry = only, dry
        self.rechecked = False
        self.done = self.left = 0

    def run(self) -> None:
        """Processes every letter of every queue, until a queue returns no new letter."""
        for queue in filter(self.outputs.get, QUEUES):  # a stack without webhooks has no WebhookDeadLetters
            url = self.outputs[queue]
            receipts: dict[str, str] = {}  # the latest receipt of each letter, because only that one is valid
            deleted: set[str] = set()
            try:
                while True:
                    answer = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, VisibilityTimeout=HIDDEN_SECONDS,
                                                      MessageAttributeNames=["All"])
                    letters = {letter["MessageId"]: letter for letter in answer.get("Messages", [])}
                    new = [letter for identity, letter in letters.items() if identity not in receipts]
                    receipts.update({identity: letter["ReceiptHandle"] for identity, letter in letters.items()})
                    if not new:
                        break
                    deleted.update(letter["MessageId"] for letter in new if self._process(queue, letter))
            finally:
                for identity in receipts.keys() - deleted:  # makes the other letters visible again
                    self.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=receipts[identity], VisibilityTimeout=0)

    def _process(self, queue: str, letter: Mapping[str, Any]) -> bool:
        """Puts one letter back if it is chosen; returns whether the letter is deleted."""
        if self.only and letter["MessageId"] not in self.only:
            return False
        name = f"{queue} {letter['MessageId']}"
        try:
            if queue == "WebhookDeadLetters":
                remedy = f"a delivery of {event_in(letter)}"
                start = partial(self.sqs.send_message, QueueUrl=self.outputs["WebhookQueue"], MessageBody=letter["Body"])
            else:
                order = order_in(queue, letter)
                remedy = f"poll {order['product']}/{order['id']}" if order else "a recheck"
                start = partial(self._start, order, f"redrive-{letter['MessageId']}")
            if not self.dry:
                start()
                self.sqs.delete_message(QueueUrl=self.outputs[queue], ReceiptHandle=letter["ReceiptHandle"])
        except (ValueError, BotoCoreError, ClientError) as problem:
            self.left += 1
            print(f"{name}: stays in the queue: {problem}", flush=True)
            return False
        self.done += 1
        print(f"{name}: {'would ' if self.dry else ''}start {remedy}", flush=True)
        return not self.dry

    def _start(self, order: dict[str, Any] | None, name: str) -> None:
        """Starts the wait loop or a recheck. A STANDARD state machine starts each execution name once, even if an earlier run ended before deleting."""
        if order:
            with suppress(self.sfn.exceptions.ExecutionAlreadyExists):
                self.sfn.start_execution(stateMachineArn=self.outputs["StateMachineArn"], name=name, input=json.dumps(order))
        elif not self.rechecked:  # one recheck is enough for all letters
            self.functions.invoke(FunctionName=f'{self.outputs["RecheckFunction"]}:live', InvocationType="Event", Payload=b"{}")
            self.rechecked = True


def main() -> None:
    """The command line. Status 1 if a letter stays."""
    parser = argparse.ArgumentParser(description="Put dead letters back to where they came from.")
    stage.add_target(parser)
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done")
    parser.add_argument("--message", action="append", default=[], metavar="ID", help="only this message; can be repeated")
    options = parser.parse_args()
    with cloud.errors_shown():
        redrive = Redrive(stage.target(options), options.message, options.dry_run)
        redrive.run()
    print(f"redrive: {redrive.done} {'would be ' if options.dry_run else ''}put back, {redrive.left} left")
    sys.exit(1 if redrive.left else 0)


if __name__ == "__main__":
    main()
