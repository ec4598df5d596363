// What a shop does for each event of the tracker. `webhook.mjs` and `feed.mjs` both use `handle`. About the events: docs/events.md.
// An event is the `detail` of docs/events.md. Only `Order Refunded` is a reason to refund.
import * as shop from './shop.mjs';

/** `reason` of `Order Needs Review`, and what the operator is to do. None of them is a reason to refund. */
export const REVIEWS = {
  overdue: 'it takes longer than the vendor says; ask the vendor',
  unrecognised_status: 'the vendor stated an unknown status; ask the vendor what it means',
  contradiction: 'the vendor now states something else than its outcome; ask the vendor which is true',
  not_found: 'the vendor does not know the order; check the id, and whether the key is of the same account',
  card_missing: 'it is fulfilled but has no card; ask the vendor for the card',
  retried: 'the vendor retried it under another id; wait for that order, or if you have refunded already, ask the vendor',
  followed: 'the vendor redirected it to another id; wait for that order, or if you have refunded already, ask the vendor',
  unreadable: "the vendor's answers cannot be read; ask the vendor about the order",
  rejected: 'the vendor rejects every call about it; check the id',
  vanished: 'the vendor does not know it any more; ask the vendor',
  store_refuses: "the tracker cannot store the vendor's answer; read the tracker's log",
};

/** The shop has nothing to do. */
const forTheRecords = ({ order }) => shop.note(`${shop.name(order)} has the status ${order.status}`);

export const HANDLERS = {
  /** An outcome: the customer has the credit, or a card can be read. */
  'Order Fulfilled': ({ order }) => {
    if (order.card.available) return shop.deliverCard(order);
    if (order.product === 'internet') return shop.tellCustomer(order, 'it worked; the card follows'); // with `Card Available`
    return shop.deliver(order);
  },

  /** The card came after `Order Fulfilled`. */
  'Card Available': ({ order }) => shop.deliverCard(order),

  /** An outcome: the vendor has given you the money back. If the vendor continues under another id, that order decides. */
  'Order Refunded': ({ order }) => {
    const other = order.retry_order_id ?? order.follow_order_id;
    return other ? shop.tellCustomer(order, `it takes longer; order ${other} continues it`) : shop.refund(order);
  },

  /** No failure: the vendor delivers later. Do not refund. */
  'Order Queued': ({ order }) => shop.tellCustomer(order, 'it comes within 12 to 48 hours'),

  /** UNKNOWN_ERROR: the vendor does not know yet. The customer may have the credit already. Do not refund, do not send again. */
  'Order Uncertain': ({ order }) =>
    shop.tellCustomer(order, order.refund_message ?? 'the operator checks it; we know more within 24 hours'),

  /** Nothing is known yet. Do not refund. */
  'Order Delayed': ({ order }) => shop.tellCustomer(order, 'it takes longer than usual'),

  /** A person must look at the order. Reasons can be added. */
  'Order Needs Review': ({ order, reason, stated_status: stated = '' }) => {
    const advice = Object.hasOwn(REVIEWS, reason) ? REVIEWS[reason] : 'a new reason; read docs/events.md';
    return shop.tellOperator(`${shop.name(order)} (${reason} ${stated}): ${advice}. Do not refund for this`);
  },

  'Order Tracked': forTheRecords,
  'Order Resumed': forTheRecords,
  'Card Revealed': forTheRecords,
  'Order Reviewed': forTheRecords,

  /** No calls are made with the vendor's key. */
  'Vendor Suspended': ({ reason }) =>
    shop.tellOperator(`the vendor refuses the key (${reason}): check the key and its address list at the vendor`),

  /** The vendor's key works again. */
  'Vendor Resumed': () => shop.tellOperator('the vendor answers again; nothing to do'),

  /** A list of the vendor's does not work. Orders are checked one by one. */
  'Vendor List Degraded': ({ product, reason }) =>
    shop.tellOperator(`the vendor's list of ${product} orders does not work (${reason}); nothing to do`),
};

// What a later event makes untrue. Webhooks can come in another order than the events happened.
const PASSING = ['Order Queued', 'Order Uncertain', 'Order Delayed', 'Vendor Suspended', 'Vendor Resumed', 'Vendor List Degraded'];

/**
 * Does what the event asks for; returns one line that says what was done. `isLate`: a later event about the same order or key was handled
 * before. Throws if the event cannot be handled: then it must be tried again. (With `await` in your handlers, make it async.)
 */
export function handle(event, isLate = false) {
  if (event.version !== 1) throw new Error(`the event has version ${event.version}, this program knows version 1`);
  if (!Object.hasOwn(HANDLERS, event.detail_type)) return 'ignored: this program does not know the type';
  if (isLate && PASSING.includes(event.detail_type)) return 'ignored: a later event was handled before';
  return HANDLERS[event.detail_type](event);
}
