"""Deletes a stack whose orders are parked or in flight, and deploys a new one that adopts the table and the card key; then lets a first creation fail.
`python3 -m tests.scenarios.lifecycle --no-build`, some five minutes.

Checks that table and key outlive their stack (twice), that each order gets its outcome once from the new stack, that a card of before can still be read with
the token of before, and that each deployment which would leave orders behind, or adopt what is unfit, is refused.
Of a first creation that fails nothing may stay but the stack in ROLLBACK_COMPLETE, which a deployment must explain. The local AWS does not hold the table's
deletion protection against CloudFormation, as AWS does.

Exit status 1 if anything is not as expected.
"""

import os
import random
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from botocore.exceptions import ClientError

from infra.local import cloud, lifecycle, settings, stack
from infra.local.cloud import Cloud
from infra.local.local_stack import ADMINISTRATOR, REGION, Stack
from infra.local.processes import Failure, wait_until
from tests.scenarios.order_log import DELAYED, PARKED, REFUND, TRACKED, PlannedOrder, card, for_sandbox, phone_number, step
from tests.scenarios.stack_client import StackClient, command_line, console, own_stack

SETTINGS = {"POLL_SCHEDULE_MOBILE": "3s", "POLL_SCHEDULE_INTERNET": "3s", "POLL_DEADLINE": "170s", "LIST_CHECKS": "off", "VENDOR_CALLS_PER_MINUTE": "600",
            "RECHECK_QUEUED": "10s", "RECHECK_UNCERTAIN": "10s", "RECHECK_DELAYED": "10s"}
ENDS_SECONDS = 150.0  # after its send an order that waits gets its outcome: long after the first stack is gone
BROKEN = """
  Broken:
    Type: AWS::SQS::Queue
    DependsOn: [OrdersTable, CardKey]
    Properties: { MessageRetentionPeriod: 5 }

Outputs:
"""


def make_orders(rng: random.Random) -> dict[str, PlannedOrder]:
    """Orders that end at once, and orders that wait as parked or in flight."""
    def order(name: str, product: str, *steps: dict[str, Any]) -> PlannedOrder:
        order_id = f"{rng.getrandbits(96):024x}"
        return PlannedOrder(name, product, id=order_id, direct=for_sandbox(product, order_id, phone_number(product, rng), f"life-{order_id[:6]}", steps))

    begin, parks = step(0, "HANDLING"), 2
    return {one.name: one for one in (
        order("ended", "mobile", begin, step(parks, "FULFILLED")),
        order("card", "internet", begin, step(parks, "FULFILLED", card(rng))),
        order("queued", "internet", begin, step(parks, "QUEUED"), step(ENDS_SECONDS, "FULFILLED", card(rng))),
        order("uncertain", "mobile", begin, step(parks, "UNKNOWN_ERROR"), step(ENDS_SECONDS, "REFUNDED", REFUND)),
        order("in flight", "mobile", begin, step(ENDS_SECONDS, "FULFILLED")),
        order("new", "internet", begin, step(parks, "FULFILLED", card(rng))))}


class Broken(Cloud):
    """Deploys the template with one more resource, which cannot be created."""

    def _template(self) -> str:
        return super()._template().replace("\nOutputs:\n", BROKEN)


class Life(StackClient):
    """The stacks of one run, one after the other."""

    def __init__(self, own: Stack, rng: random.Random) -> None:
        super().__init__(own.read_env())
        self.own, self.named = own, make_orders(rng)
        self.orders = list(self.named.values())
        self.cloudformation, self.kms, self.secrets = map(self.cloud.client, ("cloudformation", "kms", "secretsmanager"))

    def place(self, order: PlannedOrder) -> None:
        """Creates an order at the vendor, and has it tracked."""
        self.sandbox("/orders", order.direct)
        self.by_key[order.key()] = order
        self.tracker("PUT", f"/orders/{order.key()}", {"ref": order.direct["ref"]})
        order.is_sold = True

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Takes in events and starts rechecks until the condition holds."""
        def holds() -> bool:
            self.receive(1)
            if not condition():
                self.start_recheck()
            return condition()

        wait_until(what, holds, 900, every=2)
        console.print(f"{what}: yes")

    def expect(self, what: str, holds: bool) -> None:
        """Notes what does not hold."""
        console.print(f"{what}: {'yes' if holds else 'NO'}")
        self.wrong["what does not hold"] |= set() if holds else {what}

    def expect_refusal(self, action: Callable[[], object], *words: str) -> None:
        """Checks that an action is refused with a message that contains these words."""
        try:
            action()
        except (Failure, ClientError) as error:
            missing = [word for word in words if word not in str(error)]
            self.wrong["messages without what they must name"] |= {f"{word}: {error}" for word in missing}
            console.print(f"refused, as it must be: {error}")
        else:
            self.wrong["not refused"].add(" ".join(words))

    def deploy(self, adopted: Mapping[str, str]) -> None:
        """Deploys to the running local AWS, with the settings of this scenario and these."""
        stack.up(self.own.directory, {**settings.without(os.environ), **SETTINGS, **adopted}, with_build=False)
        self.env = self.own.read_env()

    def delete(self) -> None:
        """Deletes the stack as docs/operations.md says: first the rules that were added to its bus."""
        rule, bus = f"{self.cloud.stack_name}-every-event", self.env["EVENT_BUS"]
        self.events.remove_targets(Rule=rule, EventBusName=bus, Ids=["queue"])
        self.events.delete_rule(Name=rule, EventBusName=bus)
        self.own.follower.stop()  # it copies the logs of this stack
        self.cloudformation.delete_stack(StackName=self.cloud.stack_name)
        self.cloudformation.get_waiter("stack_delete_complete").wait(StackName=self.cloud.stack_name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
        self.expect("the functions are gone", not self.functions.list_functions()["Functions"])
        state = self.kms.describe_key(KeyId=self.env["CARD_KEY_ID"])["KeyMetadata"]["KeyState"]
        self.expect("table and key are still there", bool(self.items()) and state == "Enabled")

    def card_of(self, order: PlannedOrder) -> Any:
        """The card code that the tracker gives out."""
        return self.tracker("GET", f"/orders/{order.key()}/card")["card_code"]

    def run(self) -> None:
        """The first stack, its end, and the second stack."""
        ended, with_card, *waiting, new = self.orders
        for order in self.orders[:-1]:
            self.place(order)
        self.wait_for("two orders have ended and two are parked", lambda: ended.outcome() is not None and with_card.outcome() is not None and all(
            set(PARKED.values()) & set(order.kinds()) for order in waiting[:2]))
        said, known = self.tracker("GET", f"/orders/{ended.key()}"), self.env
        adopted = {"ADOPT_TABLE": known["ORDERS_TABLE"], "ADOPT_CARD_KEY": known["CARD_KEY_ID"]}
        tokens = self.secrets.get_secret_value(SecretId=known["TOKENS_SECRET_ID"])["SecretString"]
        phases = {key: record["phase"]["S"] for key, record in self.records().items()}
        self.delete()
        self.expect_refusal(lambda: self.dynamodb.delete_table(TableName=known["ORDERS_TABLE"]), "protected against deletion")
        self.expect("the other orders wait", [phases[order.key()] for order in waiting] == ["parked", "parked", "in_flight"])
        self.expect_refusal(lambda: self.deploy({}), "Adopt it", known["ORDERS_TABLE"])
        self.expect_refusal(lambda: self.deploy({"ADOPT_TABLE": known["ORDERS_TABLE"]}), "Set both or neither")
        # Off at first: a recheck that runs at once could publish before there is a rule that receives its events.
        self.deploy({**adopted, "ENABLED": "off"})
        self.deploy(adopted)
        self.secrets.put_secret_value(SecretId=self.env["TOKENS_SECRET_ID"], SecretString=tokens)
        self.env = {**self.env, "API_TOKEN": known["API_TOKEN"]}
        self.wait_for("the new stack takes the token of before", lambda: self.accepts_token(ended))
        self.expect("an order that had ended is answered as before", self.tracker("GET", f"/orders/{ended.key()}") == said)
        self.expect("a card of before can be read", self.card_of(with_card) == self.vendor_orders()[with_card.id]["card_code"])
        self.place(new)
        self.wait_for("each order has its outcome", lambda: all(order.outcome() is not None for order in self.orders))
        self.expect("a card of the new stack can be read", self.card_of(new) == self.vendor_orders()[new.id]["card_code"])
        self.expect_refusal(lambda: self.deploy({}), "AdoptTable", "another table")
        self.judge(waiting)
        self.delete()

    def accepts_token(self, order: PlannedOrder) -> bool:
        """Whether the API accepts the token now; it reads its tokens again within about a minute."""
        with suppress(Failure):
            return bool(self.tracker("GET", f"/orders/{order.key()}"))
        return False

    def judge(self, waiting: list[PlannedOrder]) -> None:
        """Compares events and items with the vendor's truth; no event may have come twice."""
        self.check_orders(self.vendor_orders(), self.records())
        for order in self.orders:
            kinds = [kind for kind in order.kinds() if kind not in (DELAYED, "Card Revealed")]
            parked = [kind for kind in kinds if kind in PARKED.values()]
            expected = [TRACKED, *(parked if order in waiting[:2] else []), *kinds[-1:]]
            self.wrong["orders with other events than expected"] |= set() if kinds == expected else {f"{order.name}: {', '.join(kinds)}"}
        self.wrong["dead letters"] |= set(self.dead_letters())

    def fail_first_creation(self) -> None:
        """A stack whose first creation fails: what stays of it, and what a deployment says of it."""
        target = Broken("life-broken", self.env["AWS_ENDPOINT_URL"], REGION, ADMINISTRATOR, ADMINISTRATOR)
        defaults = {name: str(value) for name, value in settings.declared().items() if value is not None}
        parameters = {**defaults, "Architecture": cloud.machine_architecture(), "OneclickdzBaseUrl": self.env["ONECLICKDZ_BASE_URL"]}
        self.expect_refusal(lambda: target.deploy(parameters), "Broken", "MessageRetentionPeriod")
        self.expect_refusal(lambda: lifecycle.check(target, parameters), "ROLLBACK_COMPLETE", "delete the stack", "No order is lost")
        tables = self.dynamodb.list_tables()["TableNames"]
        self.expect("the empty table is gone", not [name for name in tables if name.startswith(target.stack_name)])
        states = [self.kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] for key in self.kms.list_keys()["Keys"]]
        self.expect("the new key is to be deleted, that of the orders is not", sorted(states) == ["Enabled", "PendingDeletion"])
        self.cloudformation.delete_stack(StackName=target.stack_name)
        self.cloudformation.get_waiter("stack_delete_complete").wait(StackName=target.stack_name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        lifecycle.check(target, parameters)

    def adopt_unfit(self) -> None:
        """A table without the indexes, and a key that is to be deleted, are refused before anything is created."""
        target = Cloud("life-unfit", self.env["AWS_ENDPOINT_URL"], REGION, ADMINISTRATOR, ADMINISTRATOR)
        self.dynamodb.create_table(TableName="life-bare", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                                   AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}])
        key, table = self.env["CARD_KEY_ID"], self.env["ORDERS_TABLE"]
        self.expect_refusal(lambda: lifecycle.check(target, {"AdoptTable": "life-bare", "AdoptCardKey": key}), "no index due, feed")
        self.kms.schedule_key_deletion(KeyId=key)
        self.expect_refusal(lambda: lifecycle.check(target, {"AdoptTable": table, "AdoptCardKey": key}), "PendingDeletion")


def main() -> None:
    """Command line."""
    options = command_line(__doc__).parse_args()
    with own_stack("lifecycle", SETTINGS, not options.no_build) as own:
        life = Life(own, random.Random(options.seed))
        life.run()
        life.fail_first_creation()
        life.adopt_unfit()
    sys.exit(0 if life.conclude(f"{len(life.orders)} orders over two stacks, seed {options.seed}") else 1)


if __name__ == "__main__":
    main()
