import { Refused, call, fail, sleep, usage } from './tracker.mjs';

const USAGE = `Waits until an order is final, or parked because it takes longer.

  wait.mjs PRODUCT ID

PRODUCT is \`mobile\` or \`internet\`. Settings: API_URL, API_TOKEN (scope \`orders\`).
This is for a program that has time, not for a web request. A shop acts on events instead: webhook.mjs or feed.mjs.`;
const EVERY = 5; // seconds; asking more often brings nothing: the tracker asks the vendor every 5 s at most
const LONGEST = 600; // seconds; after about 5 minutes in flight the tracker parks the order
const MEANINGS = {
  FULFILLED: 'delivered',
  REFUNDED: 'the vendor gave the money back; refund your customer',
  queued: 'it comes within 12 to 48 hours; do not refund',
  uncertain: 'the vendor does not know the outcome; do not refund, the outcome follows within 24 hours',
  delayed: 'nothing is known yet; do not refund',
  not_found: 'the vendor does not know the order yet; check the id, do not refund',
};

const args = process.argv.slice(2);
usage(USAGE, args, args.length === 2 && ['mobile', 'internet'].includes(args[0]));
const [product, id] = args;
const until = Date.now() + LONGEST * 1000;
for (let shown; ; await sleep(EVERY)) {
  const order = await call('GET', `/orders/${product}/${encodeURIComponent(id)}`).catch((error) => {
    if (error instanceof Refused) fail(error.message);
    throw error;
  });
  const state = `${order.status ?? 'not checked yet'} (${order.phase})`;
  if (state !== shown) console.log(state);
  shown = state;
  if (order.phase !== 'in_flight') {
    console.log(MEANINGS[order.parked_as ?? order.status] ?? '');
    break;
  }
  if (Date.now() > until) fail('the order is still in flight; ask again later');
}
