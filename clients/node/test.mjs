// Tests of the examples that need no stack: npm test (after npm ci)
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import { Webhook } from 'standardwebhooks';
import { HANDLERS, REVIEWS, handle } from './handlers.mjs';
import { Inbox } from './inbox.mjs';
import { receive, serverFor } from './webhook.mjs';

// The vector in the tests of the Standard Webhooks libraries, which stand beside the specification.
const [SECRET, ID, TIMESTAMP] = ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330];
const [BODY, SIGNATURE] = ['{"test": 2432232314}', 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='];
const SAMPLES = new URL('../../events/out/', import.meta.url);

const sample = (name) => JSON.parse(readFileSync(new URL(`${name}.json`, SAMPLES), 'utf8'));
const samples = () => readdirSync(SAMPLES).map((file) => sample(file.replace('.json', '')));
const details = () => samples().map(({ detail }) => detail);

/** A request as the tracker sends it. */
function signed(envelope) {
  const [id, now, body] = [envelope.detail.event_id, new Date(), JSON.stringify(envelope)];
  const signature = new Webhook(SECRET).sign(id, now, body);
  return [{ 'webhook-id': id, 'webhook-timestamp': String(Math.floor(now / 1000)), 'webhook-signature': signature }, Buffer.from(body)];
}

let folder, inbox, lines;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'inbox-'));
  inbox = new Inbox(folder);
  lines = [];
  mock.method(console, 'log', (line) => lines.push(line));
  mock.method(console, 'error', () => {});
});
afterEach(() => {
  mock.reset();
  mock.timers.reset();
  rmSync(folder, { recursive: true });
});

// The vector has a good signature, but is no event of the tracker: 400 says so. 401 says that the signature is wrong.
describe('signature', () => {
  const statusOf = ({ body = BODY, signature = SIGNATURE, secret = SECRET, id = ID, clock = TIMESTAMP }) => {
    mock.timers.enable({ apis: ['Date'], now: clock * 1000 });
    const headers = { 'webhook-id': id, 'webhook-timestamp': String(TIMESTAMP), 'webhook-signature': signature };
    const status = receive(new Webhook(secret), inbox, headers, Buffer.from(body));
    mock.timers.reset();
    return status;
  };

  it('accepts the vector', () => assert.equal(statusOf({}), 400));
  it('refuses a changed body', () => assert.equal(statusOf({ body: '{"test": 2432232315}' }), 401));
  it('refuses another id', () => assert.equal(statusOf({ id: 'msg_other' }), 401));
  it('refuses another secret', () => assert.equal(statusOf({ secret: 'whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' }), 401));
  it('accepts five minutes and no more', () => {
    for (const [seconds, status] of [[300, 400], [301, 401], [-300, 400], [-301, 401]]) {
      assert.equal(statusOf({ clock: TIMESTAMP + seconds }), status, seconds);
    }
  });
  it('needs one good signature of several', () => {
    const other = 'v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=';
    for (const [signature, status] of [
      [`${other} ${SIGNATURE}`, 400], [`${SIGNATURE} ${other}`, 400], [`${other} ${other}`, 401], ['v1', 401], ['', 401],
      [SIGNATURE.replace('v1,', 'v2,'), 401],
    ]) {
      assert.equal(statusOf({ signature }), status, signature);
    }
  });
});

describe('handlers', () => {
  it('know every sample', () => {
    assert.deepEqual(new Set(details().map((detail) => detail.detail_type)), new Set(Object.keys(HANDLERS)));
    for (const detail of details()) assert.doesNotMatch(handle(detail), /ignored/);
  });
  it('refund for Order Refunded only', () => {
    for (const detail of details()) assert.equal(handle(detail).includes('refunded order-12345'), detail.detail_type === 'Order Refunded');
  });
  it('wait if a refunded order continues elsewhere', () => {
    const { detail } = sample('order-refunded');
    for (const link of ['retry_order_id', 'follow_order_id']) {
      assert.doesNotMatch(handle({ ...detail, order: { ...detail.order, [link]: '690' } }), /refunded/);
    }
  });
  it('know the reasons of a review, and expect others', () => {
    for (const reason of [...Object.keys(REVIEWS), 'a_new_one', 'constructor']) {
      assert.ok(handle({ ...sample('order-needs-review').detail, reason }).includes(`(${reason} `));
    }
  });
  it('ignore unknown types and refuse unknown versions', () => {
    for (const detail_type of ['Order Exploded', 'constructor']) assert.match(handle({ version: 1, detail_type }), /ignored/);
    assert.throws(() => handle({ version: 2, detail_type: 'Order Fulfilled' }), /version 2/);
  });
  it('do not undo an outcome for a late event', () => {
    for (const detail of details()) {
      const isPassing = /^Order (Queued|Uncertain|Delayed)|^Vendor/.test(detail.detail_type);
      assert.equal(handle(detail, true).includes('ignored'), isPassing, detail.detail_type);
    }
  });
});

describe('inbox', () => {
  const send = (envelope) => receive(new Webhook(SECRET), inbox, ...signed(envelope));

  it('handles every sample once', () => {
    const envelopes = new Map(samples().map((envelope) => [envelope.detail.event_id, envelope])); // the samples share some ids
    for (let round = 0; round < 2; round += 1) {
      for (const envelope of envelopes.values()) assert.equal(send(envelope), 204);
      assert.ok(inbox.work());
    }
    for (const id of envelopes.keys()) {
      assert.deepEqual(lines.filter((line) => line.split(' ')[1] === id).map((line) => line.split(' ')[0]), ['handled', 'repeated'], id);
    }
  });
  it('knows that an event is late', () => {
    for (const name of ['order-resumed', 'order-queued']) { // seq 3, then seq 2
      send(sample(name));
      inbox.work();
    }
    assert.match(lines.at(-1), /a later event was handled before/);
  });
  it('keeps what failed, and goes on', () => {
    const wrong = sample('order-fulfilled');
    wrong.detail.version = 2;
    send(wrong);
    send(sample('order-tracked'));
    assert.ok(!inbox.work());
    assert.ok(!inbox.work());
    assert.deepEqual(lines.map((line) => line.split(' ')[0]).sort(), ['failed', 'failed', 'handled']);
  });
  it('is filled over HTTP', async () => {
    const server = serverFor(new Webhook(SECRET), inbox).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const address = `http://127.0.0.1:${server.address().port}`;
    const [headers, body] = signed(sample('order-fulfilled'));
    const statuses = [];
    for (const [path, method, sent] of [['/hook', 'POST', body], ['/hook', 'POST', body], ['/', 'POST', body], ['/hook', 'GET', undefined],
      ['/hook', 'POST', `${body} `], ['/hook', 'POST', Buffer.alloc(1024 * 1024 + 1)]]) {
      statuses.push((await fetch(address + path, { method, headers, body: sent })).status);
    }
    server.close();
    assert.deepEqual(statuses, [204, 204, 404, 404, 401, 413]);
  });
});
