<?php
/**
 * What a shop does for each event of the tracker. The webhook and `feed.php` both use `handle`. About the events: docs/events.md.
 *
 * An event is the `detail` of docs/events.md. Only `Order Refunded` is a reason to refund.
 */

declare(strict_types=1);

require_once __DIR__ . '/shop.php';

/** `reason` of `Order Needs Review`, and what the operator is to do. None of them is a reason to refund. */
const REVIEWS = [
    'overdue' => 'it takes longer than the vendor says; ask the vendor',
    'unrecognised_status' => 'the vendor stated an unknown status; ask the vendor what it means',
    'contradiction' => 'the vendor now states something else than its outcome; ask the vendor which is true',
    'not_found' => 'the vendor does not know the order; check the id, and whether the key is of the same account',
    'card_missing' => 'it is fulfilled but has no card; ask the vendor for the card',
    'retried' => 'the vendor retried it under another id; wait for that order, or if you have refunded already, ask the vendor',
    'followed' => 'the vendor redirected it to another id; wait for that order, or if you have refunded already, ask the vendor',
    'unreadable' => "the vendor's answers cannot be read; ask the vendor about the order",
    'rejected' => 'the vendor rejects every call about it; check the id',
    'vanished' => 'the vendor does not know it any more; ask the vendor',
    'store_refuses' => "the tracker cannot store the vendor's answer; read the tracker's log",
];

/** What a later event makes untrue. Webhooks can come in another order than the events happened. */
const PASSING = ['Order Queued', 'Order Uncertain', 'Order Delayed', 'Vendor Suspended', 'Vendor Resumed', 'Vendor List Degraded'];

/**
 * Does what the event asks for; returns one line that says what was done. `$isLate`: a later event about the same order or key was handled
 * before. Throws an error if the event cannot be handled: then it must be tried again.
 */
function handle(array $event, bool $isLate = false): string
{
    if ($event['version'] !== 1) {
        throw new UnexpectedValueException("the event has version {$event['version']}, this program knows version 1");
    }
    if ($isLate && in_array($event['detail_type'], PASSING, true)) {
        return 'ignored: a later event was handled before';
    }
    return match ($event['detail_type']) {
        'Order Fulfilled' => order_fulfilled($event['order']),
        'Card Available' => deliver_card($event['order']), // it came after `Order Fulfilled`
        'Order Refunded' => order_refunded($event['order']),
        'Order Queued' => tell_customer($event['order'], 'it comes within 12 to 48 hours'), // no failure: do not refund
        'Order Uncertain' => order_uncertain($event['order']),
        'Order Delayed' => tell_customer($event['order'], 'it takes longer than usual'), // nothing is known yet: do not refund
        'Order Needs Review' => order_needs_review($event),
        'Order Tracked', 'Order Resumed', 'Card Revealed', 'Order Reviewed' => note(name($event['order']) . ' has the status ' . ($event['order']['status'] ?? 'none')),
        'Vendor Suspended' => tell_operator("the vendor refuses the key ({$event['reason']}): check the key and its address list at the vendor"),
        'Vendor Resumed' => tell_operator('the vendor answers again; nothing to do'),
        'Vendor List Degraded' => tell_operator("the vendor's list of {$event['product']} orders does not work ({$event['reason']}); nothing to do"),
        default => 'ignored: this program does not know the type',
    };
}

/** An outcome: the customer has the credit, or a card can be read. */
function order_fulfilled(array $order): string
{
    if ($order['card']['available']) {
        return deliver_card($order);
    }
    if ($order['product'] === 'internet') {
        return tell_customer($order, 'it worked; the card follows'); // with `Card Available`
    }
    return deliver($order);
}

/** An outcome: the vendor has given you the money back. If the vendor continues under another id, that order decides. */
function order_refunded(array $order): string
{
    $other = $order['retry_order_id'] ?? $order['follow_order_id'];
    return $other === null ? refund($order) : tell_customer($order, "it takes longer; order $other continues it");
}

/** UNKNOWN_ERROR: the vendor does not know yet. The customer may have the credit already. Do not refund, do not send again. */
function order_uncertain(array $order): string
{
    return tell_customer($order, $order['refund_message'] ?? 'the operator checks it; we know more within 24 hours');
}

/** A person must look at the order. Reasons can be added. */
function order_needs_review(array $event): string
{
    $advice = REVIEWS[$event['reason']] ?? 'a new reason; read docs/events.md';
    $stated = $event['stated_status'] ?? '';
    return tell_operator(name($event['order']) . " ({$event['reason']} $stated): $advice. Do not refund for this");
}
