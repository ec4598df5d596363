"""Peer of the benchmark: the job of `status` in Python with boto3 and requests.

Left out of what `status` does: admission (the vendor's rate limit and lock-out), history, outbox, cards.
"""

import hmac
import json
import logging
import os
import re
import time

import boto3
import requests
from botocore.exceptions import ClientError

logger = logging.getLogger()
logger.setLevel(logging.INFO)

ORDER_PATH = re.compile(r"/orders/(mobile|internet)/([A-Za-z0-9_-]+)")
CLAIM_MS = 5_000

table = boto3.resource("dynamodb").Table(os.environ["ORDERS_TABLE"])
events = boto3.client("events")
vendor = requests.Session()
vendor.headers["X-Access-Token"] = os.environ["ONECLICKDZ_API_KEY"]

EVENT_BUS = os.environ["EVENT_BUS"]
VENDOR_URL = os.environ["ONECLICKDZ_BASE_URL"]
AUTHORIZATION = f"Bearer {os.environ['API_TOKEN']}".encode()


def handler(event, context):
    authorization = event.get("headers", {}).get("authorization", "")
    if not hmac.compare_digest(authorization.encode(), AUTHORIZATION):
        return problem(401, "Unauthorized")
    match = ORDER_PATH.fullmatch(event["rawPath"])
    if not match:
        return problem(404, "Not Found")
    product, order_id = match.groups()
    key = {"pk": f"{product}#{order_id}", "sk": "ORDER"}
    order = table.get_item(Key=key, ConsistentRead=True).get("Item")
    if order is None:
        return problem(404, "Not Found")
    if order["phase"] == "final" or not claim(key, order):
        return reply(200, order)
    try:
        status = ask(product, order_id)
    except (requests.RequestException, KeyError, TypeError) as error:
        logger.warning("the vendor did not answer: %s", error)
        return reply(200, order | {"stale": True})
    if status != order["status"] and commit(key, order, status) and order["phase"] == "final":
        announce(order)
    return reply(200, order)


def claim(key, order):
    """Takes the turn to ask the vendor. False: another request had it less than five seconds ago."""
    now = now_ms()
    claimed = update(
        Key=key,
        UpdateExpression="SET asked_at = :now",
        ConditionExpression="attribute_not_exists(asked_at) OR asked_at < :before",
        ExpressionAttributeValues={":now": now, ":before": now - CLAIM_MS},
    )
    if claimed:
        order["asked_at"] = now
    return claimed


def ask(product, order_id):
    response = vendor.get(f"{VENDOR_URL}/{product}/check-id/{order_id}", timeout=8)
    response.raise_for_status()
    return response.json()["data"]["status"]


def commit(key, order, status):
    """Stores the new status. False: somebody else changed the order since it was read."""
    now = now_ms()
    phase = "final" if status in ("FULFILLED", "REFUNDED") else "in_flight"
    committed = update(
        Key=key,
        UpdateExpression="SET #status = :status, phase = :phase, checked_at = :now, version = version + :one",
        ConditionExpression="version = :seen",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={
            ":status": status,
            ":phase": phase,
            ":now": now,
            ":one": 1,
            ":seen": order["version"],
        },
    )
    if committed:
        order.update(status=status, phase=phase, checked_at=now, version=order["version"] + 1)
    return committed


def update(**arguments):
    """A conditional write. False: its condition did not hold."""
    try:
        table.update_item(**arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
            return False
        raise
    return True


def announce(order):
    kind = "Order Fulfilled" if order["status"] == "FULFILLED" else "Order Refunded"
    entry = {"Source": "peer", "DetailType": kind, "Detail": to_json(order), "EventBusName": EVENT_BUS}
    answer = events.put_events(Entries=[entry])
    if answer["FailedEntryCount"] > 0:
        raise RuntimeError(f"event not accepted: {answer['Entries']}")


def now_ms():
    return time.time_ns() // 1_000_000


def to_json(order):
    # boto3 reads numbers as Decimal, which json does not know.
    return json.dumps({name: value for name, value in order.items() if name not in ("pk", "sk")}, default=int)


def reply(status, body, content_type="application/json"):
    return {"statusCode": status, "headers": {"content-type": content_type}, "body": to_json(body)}


def problem(status, title):
    return reply(status, {"title": title, "status": status}, "application/problem+json")
