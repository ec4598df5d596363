"""What is checked before a stack is deployed: that CloudFormation can deploy it in its state, and that it keeps its table and its card key.
The ways out at length: docs/operations.md, "When a deployment fails" and "Remove a stack"."""

import re
from collections.abc import Mapping
from typing import Any

from infra.local import settings
from infra.local.cloud import Cloud
from infra.local.processes import Failure

# States that no deployment gets a stack out of.
FIRST_FAILED = "its first creation failed, and CloudFormation can only delete it now. Mend the cause (the events of the stack name it), delete the stack, "
WAYS_OUT = {
    "ROLLBACK_COMPLETE": f"{FIRST_FAILED}deploy again. No order is lost: what this creation made is gone, and an adopted table is as it was.",
    "CREATE_FAILED": f"{FIRST_FAILED}and the empty table and key that it leaves. Then deploy again. No order is lost.",
    "ROLLBACK_FAILED": f"{FIRST_FAILED}and what it leaves: an empty table that is protected against deletion. Then deploy again. No order is lost.",
    "DELETE_FAILED": "it is half deleted. Mend the cause, delete it again, then deploy anew with the table and the card key that stayed.",
    "UPDATE_ROLLBACK_FAILED": "an update failed, and so did the way back. Mend the cause, let CloudFormation continue the rollback, then deploy again.",
}
ADOPTED = {"AdoptTable": "table", "AdoptCardKey": "card key"}


def check(cloud: Cloud, parameters: Mapping[str, str]) -> None:
    """Fails, with the way out, if a deployment with these parameters cannot work or would leave orders behind. A parameter that is not given keeps its value.
    Needs the rights to describe the stack, the adopted table and key, and to list tables."""
    stack = cloud._stack()
    if stack is None:
        adopted = {name: parameters.get(name, "") for name in ADOPTED}
        if not adopted["AdoptTable"]:
            refuse_forgetting(cloud)
    else:
        refuse_dead_end(cloud.stack_name, stack["StackStatus"])
        adopted = refuse_other_data(stack, parameters)
    if adopted["AdoptTable"] and adopted["AdoptCardKey"]:  # a rule of the template refuses one without the other
        refuse_unfit(cloud, adopted["AdoptTable"], adopted["AdoptCardKey"])


def refuse_dead_end(stack_name: str, state: str) -> None:
    """Fails if CloudFormation neither creates nor updates a stack in this state."""
    if state in WAYS_OUT:
        raise Failure(f"{stack_name} is in {state}: {WAYS_OUT[state]} See docs/operations.md, \"When a deployment fails\"")
    if state.endswith("_IN_PROGRESS"):
        raise Failure(f"{stack_name} is in {state}: another change is under way. Wait for its end")


def refuse_other_data(stack: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, str]:
    """Fails if these parameters give a stack another table or key than it has; returns the adopted ones, empty for its own."""
    known = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack.get("Parameters", [])}
    for name, what in ADOPTED.items():
        has, wants = known.get(name, ""), parameters.get(name, known.get(name, ""))
        if has != wants:
            raise Failure(f"{stack['StackName']} has {name} \"{has}\", would get \"{wants}\": another {what}, without the orders and cards that it has now. "
                          f"{name} stays as it was when the stack was created: docs/operations.md, \"Adopt a table and its key\"")
    return {name: known.get(name, "") for name in ADOPTED}


def refuse_forgetting(cloud: Cloud) -> None:
    """Fails if a deleted stack of the same name left a table: a new stack with a new table would not know its orders."""
    names = cloud.client("dynamodb").get_paginator("list_tables").paginate().search("TableNames")
    if left := [name for name in names if name.startswith(f"{cloud.stack_name}-OrdersTable-")]:
        raise Failure(f"a deleted stack {cloud.stack_name} left the table {', '.join(left)}, and a new one would not know its orders. Adopt it or delete it "
                      "(docs/operations.md, \"Remove a stack\"), or give the new stack another name")


def refuse_unfit(cloud: Cloud, table: str, key: str) -> None:
    """Fails if an adopted table lacks an index of the template, or if the adopted key is not enabled. CloudFormation changes neither of them."""
    described = cloud.client("dynamodb").describe_table(TableName=table)["Table"]
    has = {index["IndexName"] for index in described.get("GlobalSecondaryIndexes", [])
           if index.get("IndexStatus", "ACTIVE") == "ACTIVE"}  # the local AWS states no status
    if missing := set(re.findall(r"IndexName: (\w+)", settings.TEMPLATE.read_text())) - has:
        raise Failure(f"the adopted table {table} has no index {', '.join(sorted(missing))}: add it as infra/template.yaml has it, and wait until it is active")
    state = cloud.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
    if state != "Enabled":
        raise Failure(f"the adopted key {key} is in the state {state}, not Enabled: cancel its deletion or enable it")
