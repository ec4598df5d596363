// Peer of the benchmark: the job of `status` in Node with the AWS SDK v3 and the global fetch.
// Left out of what `status` does: admission (the vendor's rate limit and lock-out), history, outbox, cards.

import { timingSafeEqual } from "node:crypto";
import { ConditionalCheckFailedException, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { EventBridgeClient, PutEventsCommand } from "@aws-sdk/client-eventbridge";
import { DynamoDBDocumentClient, GetCommand, UpdateCommand } from "@aws-sdk/lib-dynamodb";

const { API_TOKEN, EVENT_BUS, ONECLICKDZ_API_KEY, ONECLICKDZ_BASE_URL, ORDERS_TABLE } = process.env;
const AUTHORIZATION = Buffer.from(`Bearer ${API_TOKEN}`);
const ORDER_PATH = /^\/orders\/(mobile|internet)\/([A-Za-z0-9_-]+)$/;
const CLAIM_MS = 5_000;

const dynamodb = DynamoDBDocumentClient.from(new DynamoDBClient({}));
const eventbridge = new EventBridgeClient({});

export async function handler(event) {
  if (!authorized(event.headers?.authorization ?? "")) return problem(401, "Unauthorized");
  const match = ORDER_PATH.exec(event.rawPath);
  if (!match) return problem(404, "Not Found");
  const [, product, id] = match;
  const Key = { pk: `${product}#${id}`, sk: "ORDER" };
  const { Item: order } = await dynamodb.send(
    new GetCommand({ TableName: ORDERS_TABLE, Key, ConsistentRead: true }),
  );
  if (!order) return problem(404, "Not Found");
  if (order.phase === "final" || !(await claim(Key, order))) return reply(200, order);

  let status;
  try {
    status = await ask(product, id);
  } catch (error) {
    console.warn("the vendor did not answer", error);
    return reply(200, { ...order, stale: true });
  }
  if (status !== order.status && (await commit(Key, order, status)) && order.phase === "final") {
    await announce(order);
  }
  return reply(200, order);
}

function authorized(authorization) {
  const given = Buffer.from(authorization);
  return given.length === AUTHORIZATION.length && timingSafeEqual(given, AUTHORIZATION);
}

// Takes the turn to ask the vendor. false: another request had it less than five seconds ago.
async function claim(Key, order) {
  const now = Date.now();
  const claimed = await update({
    Key,
    UpdateExpression: "SET asked_at = :now",
    ConditionExpression: "attribute_not_exists(asked_at) OR asked_at < :before",
    ExpressionAttributeValues: { ":now": now, ":before": now - CLAIM_MS },
  });
  if (claimed) order.asked_at = now;
  return claimed;
}

async function ask(product, id) {
  const response = await fetch(`${ONECLICKDZ_BASE_URL}/${product}/check-id/${id}`, {
    headers: { "X-Access-Token": ONECLICKDZ_API_KEY },
    signal: AbortSignal.timeout(8_000),
  });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const { data } = await response.json();
  if (typeof data?.status !== "string") throw new Error("no status in the answer");
  return data.status;
}

// Stores the new status. false: somebody else changed the order since it was read.
async function commit(Key, order, status) {
  const now = Date.now();
  const phase = ["FULFILLED", "REFUNDED"].includes(status) ? "final" : "in_flight";
  const committed = await update({
    Key,
    UpdateExpression:
      "SET #status = :status, phase = :phase, checked_at = :now, version = version + :one",
    ConditionExpression: "version = :seen",
    ExpressionAttributeNames: { "#status": "status" },
    ExpressionAttributeValues: {
      ":status": status,
      ":phase": phase,
      ":now": now,
      ":one": 1,
      ":seen": order.version,
    },
  });
  if (committed) Object.assign(order, { status, phase, checked_at: now, version: order.version + 1 });
  return committed;
}

// A conditional write. false: its condition did not hold.
async function update(input) {
  try {
    await dynamodb.send(new UpdateCommand({ TableName: ORDERS_TABLE, ...input }));
    return true;
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return false;
    throw error;
  }
}

async function announce(order) {
  const entry = {
    Source: "peer",
    DetailType: order.status === "FULFILLED" ? "Order Fulfilled" : "Order Refunded",
    Detail: toJson(order),
    EventBusName: EVENT_BUS,
  };
  const answer = await eventbridge.send(new PutEventsCommand({ Entries: [entry] }));
  if (answer.FailedEntryCount > 0) {
    throw new Error(`event not accepted: ${JSON.stringify(answer.Entries)}`);
  }
}

function toJson({ pk, sk, ...order }) {
  return JSON.stringify(order);
}

function reply(statusCode, body, contentType = "application/json") {
  return { statusCode, headers: { "content-type": contentType }, body: toJson(body) };
}

function problem(status, title) {
  return reply(status, { title, status }, "application/problem+json");
}
