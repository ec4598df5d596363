<?php
/**
 * Your shop, as a stand-in: put your own code into these functions. Each returns one line that says what was done.
 *
 * Find the customer's order by `$order['ref']`. An order that the vendor made itself (a retry, a redirection) has no `ref` of yours:
 * then `$order['linked_from']` has the ids of the orders that it continues. So store the vendor's id beside each of your orders.
 */

declare(strict_types=1);

/** The customer's order, for a log line. */
function name(array $order): string
{
    return $order['ref'] ?? (implode(' ', $order['linked_from']) ?: $order['id']);
}

/**
 * Marks the customer's order as completed, and tells the customer. In WooCommerce:
 * `$wc_order->update_status('completed')`.
 *
 * In a table, let one statement decide: UPDATE orders SET state = 'delivered' WHERE ref = … AND state = 'sent'.
 * Only if it changed a row, tell the customer. Then a second run changes nothing.
 */
function deliver(array $order): string
{
    return 'delivered ' . name($order);
}

/** Shows the card to the customer: reads it once (`card.php`), and stores it encrypted with the customer's order. Never log the code. */
function deliver_card(array $order): string
{
    return 'the card of ' . name($order) . " can be handed over: card.php {$order['id']}";
}

/**
 * Gives the customer the money back, once: UPDATE orders SET state = 'refunded' WHERE ref = … AND state = 'sent', as in `deliver`.
 *
 * Show `refund_message` unchanged (it is Arabic), and offer the plans in `suggested_offers`. Both can be null.
 */
function refund(array $order): string
{
    $offers = implode(', ', array_column($order['suggested_offers'] ?? [], 'plan_code')) ?: 'none';
    return 'refunded ' . name($order) . '; message: ' . ($order['refund_message'] ?? 'none') . "; other plans: $offers";
}

/** Tells the customer. The order stays open: no refund, no second send. */
function tell_customer(array $order, string $text): string
{
    return 'told the customer of ' . name($order) . ": $text";
}

/** Tells the person who runs the shop, for example by e-mail. */
function tell_operator(string $text): string
{
    return "told the operator: $text";
}

/** Keeps it for the records. */
function note(string $text): string
{
    return "noted: $text";
}
