// Your shop, as a stand-in: put your own code into these functions. Each returns one line that says what was done.
//
// Find the customer's order by `order.ref`. An order that the vendor made itself (a retry, a redirection) has no `ref` of yours:
// then `order.linked_from` has the ids of the orders that it continues. So store the vendor's id beside each of your orders.

/** The customer's order, for a log line. */
export const name = (order) => order.ref ?? (order.linked_from.join(' ') || order.id);

/**
 * Marks the customer's order as completed, and tells the customer.
 *
 * In a table, let one statement decide: UPDATE orders SET state = 'delivered' WHERE ref = … AND state = 'sent'.
 * Only if it changed a row, tell the customer. Then a second run changes nothing.
 */
export const deliver = (order) => `delivered ${name(order)}`;

/** Shows the card to the customer: reads it once (`card.mjs`), and stores it encrypted with the customer's order. Never log the code. */
export const deliverCard = (order) => `the card of ${name(order)} can be handed over: card.mjs ${order.id}`;

/**
 * Gives the customer the money back, once: UPDATE orders SET state = 'refunded' WHERE ref = … AND state = 'sent', as in `deliver`.
 *
 * Show `refund_message` unchanged (it is Arabic), and offer the plans in `suggested_offers`. Both can be null.
 */
export function refund(order) {
  const offers = (order.suggested_offers ?? []).map((offer) => offer?.plan_code).filter(Boolean);
  return `refunded ${name(order)}; message: ${order.refund_message}; other plans: ${offers.join(', ') || 'none'}`;
}

/** Tells the customer. The order stays open: no refund, no second send. */
export const tellCustomer = (order, text) => `told the customer of ${name(order)}: ${text}`;

/** Tells the person who runs the shop, for example by e-mail. */
export const tellOperator = (text) => `told the operator: ${text}`;

/** Keeps it for the records. */
export const note = (text) => `noted: ${text}`;
