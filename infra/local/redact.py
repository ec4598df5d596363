"""Removes the personal data of one order: `make redact ORDER=mobile/…`. Only an order that is final is redacted; the order and its events stay.

The target is the AWS of the environment (credentials, region), there a stage of infra/samconfig.toml or STACK_NAME, or a local stack (`--dir`).
"""

import argparse
import json

from infra.local import tools

if __name__ == "__main__":
    tools.enter()

from infra.deploy import stage
from infra.local import cloud
from infra.local.processes import Failure


def redact(target: cloud.Cloud, order: str) -> None:
    """Asks the function `recheck`, which may write to the table."""
    product, _, name = order.partition("/")
    outputs = target.outputs()
    if outputs is None:
        raise Failure(f"there is no stack {target.stack_name}")
    payload = json.dumps({"redact": {"product": product, "id": name}}).encode()
    answer = target.client("lambda").invoke(FunctionName=f"{outputs['RecheckFunction']}:live", Payload=payload)
    told = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise Failure(told.get("errorMessage", told))
    if told.get("redacted") != 1:  # a version before redaction took this for a recheck
        raise Failure(f"{order} is not redacted: the function is of a version that cannot do it")
    print(f"redact: the personal data of {order} is removed")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Remove the personal data of one order.")
    parser.add_argument("order", help="product and id, such as mobile/6901616fe9e88196b4eb64b0")
    stage.add_target(parser)
    options = parser.parse_args()
    with cloud.errors_shown():
        redact(stage.target(options), options.order)


if __name__ == "__main__":
    main()
