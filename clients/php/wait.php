<?php
declare(strict_types=1);

require_once __DIR__ . '/tracker.php';

const USAGE = <<<'TEXT'
    Waits until an order is final, or parked because it takes longer.

      wait.php PRODUCT ID

    PRODUCT is `mobile` or `internet`. Settings: API_URL, API_TOKEN (scope `orders`).
    This is for a program that has time, not for a web request. A shop acts on events instead: hook.php or feed.php.
    TEXT;
const EVERY = 5; // seconds; asking more often brings nothing: the tracker asks the vendor every 5 s at most
const LONGEST = 600; // seconds; after about 5 minutes in flight the tracker parks the order
const MEANINGS = [
    'FULFILLED' => 'delivered',
    'REFUNDED' => 'the vendor gave the money back; refund your customer',
    'queued' => 'it comes within 12 to 48 hours; do not refund',
    'uncertain' => 'the vendor does not know the outcome; do not refund, the outcome follows within 24 hours',
    'delayed' => 'nothing is known yet; do not refund',
    'not_found' => 'the vendor does not know the order yet; check the id, do not refund',
];

function wait(array $arguments): void
{
    [$product, $id] = $arguments;
    $shown = '';
    for ($until = time() + LONGEST; time() < $until; sleep(EVERY)) {
        $order = call('GET', "/orders/$product/" . rawurlencode($id));
        $state = ($order['status'] ?? 'not checked yet') . " ({$order['phase']})\n";
        echo $state === $shown ? '' : $state;
        $shown = $state;
        if ($order['phase'] !== 'in_flight') {
            echo MEANINGS[$order['parked_as'] ?? $order['status']] ?? '', "\n";
            return;
        }
    }
    throw new Misuse('the order is still in flight; ask again later');
}

run(USAGE, fn ($a) => count($a) === 2 && in_array($a[0], ['mobile', 'internet'], true), wait(...));
