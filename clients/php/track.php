<?php
declare(strict_types=1);

require_once __DIR__ . '/tracker.php';

const USAGE = <<<'TEXT'
    Tracks an order that was sent to the vendor.

      track.php PRODUCT ID [REF]    right after the vendor accepted the order: ID is `topupId` of its answer
      track.php PRODUCT --ref REF   after a send without an answer: finds the order by your REF, and tracks it

    PRODUCT is `mobile` or `internet`. Settings: API_URL, API_TOKEN (scope `orders`).
    TEXT;
const LOOKUP_SECONDS = 300;

function track(array $arguments): void
{
    [$product, $id] = $arguments;
    $body = isset($arguments[2]) ? ['ref' => $arguments[2]] : [];
    try {
        $order = $id === '--ref'
            ? call('POST', "/orders/$product/lookup", $body, LOOKUP_SECONDS)
            : call('PUT', "/orders/$product/" . rawurlencode($id), $body);
    } catch (Refused $refused) {
        if ($id === '--ref' && $refused->getCode() === 404) {
            throw new Misuse("{$refused->getMessage()}\nThis does not prove that nothing was sent. Do not refund."
                . ' You may send once more with the same ref, never with a new one.');
        }
        throw $refused;
    }
    echo "tracked {$order['product']} {$order['id']}\n";
}

run(USAGE, fn ($a) => in_array(count($a), [2, 3], true) && in_array($a[0], ['mobile', 'internet'], true) && end($a) !== '--ref', track(...));
