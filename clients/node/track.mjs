import { Refused, call, fail, usage } from './tracker.mjs';

const USAGE = `Tracks an order that was sent to the vendor.

  track.mjs PRODUCT ID [REF]    right after the vendor accepted the order: ID is \`topupId\` of its answer
  track.mjs PRODUCT --ref REF   after a send without an answer: finds the order by your REF, and tracks it

PRODUCT is \`mobile\` or \`internet\`. Settings: API_URL, API_TOKEN (scope \`orders\`).`;
const LOOKUP_SECONDS = 300;

const args = process.argv.slice(2);
usage(USAGE, args, [2, 3].includes(args.length) && ['mobile', 'internet'].includes(args[0]) && args.at(-1) !== '--ref');
const [product, id, ref] = args;
try {
  const order =
    id === '--ref'
      ? await call('POST', `/orders/${product}/lookup`, { ref }, LOOKUP_SECONDS)
      : await call('PUT', `/orders/${product}/${encodeURIComponent(id)}`, ref ? { ref } : {});
  console.log(`tracked ${order.product} ${order.id}`);
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  if (id === '--ref' && error.status === 404) {
    fail(`${error.message}\nThis does not prove that nothing was sent. Do not refund. You may send once more with the same ref, never with a new one.`);
  }
  fail(error.message);
}
