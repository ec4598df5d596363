<?php
declare(strict_types=1);

require_once __DIR__ . '/tracker.php';

const USAGE = <<<'TEXT'
    Hands over the card code of an internet order, once. **The code is printed: this program stands for the page that shows it to the customer.**

      card.php ID

    Settings: API_URL, API_TOKEN (scope `cards`), STATE_DIR (what was handed over).
    Before you make this call in a shop, check that the customer owns the order. The tracker does not know your customers.
    TEXT;

function hand_over(array $arguments): void
{
    $id = rawurlencode($arguments[0]);
    $record = state_folder('cards') . "/$id";
    if (file_exists($record)) {
        echo 'handed over at ', file_get_contents($record), "; not read again\n";
        return;
    }
    try {
        $card = call('GET', "/orders/internet/$id/card");
    } catch (Refused $refused) {
        throw $refused->getCode() === 409 ? new Misuse("{$refused->getMessage()}\nWait for `Order Fulfilled` or `Card Available`.") : $refused;
    }
    foreach (['card_code', 'num_trans', 'date_traitement'] as $name) {
        echo "$name: ", $card[$name] ?? '-', "\n";
    }
    // Recorded last: after a crash the customer gets the same card again, which harms nobody. No card at all would. The code itself is not kept here.
    save($record, gmdate(DATE_ATOM));
}

run(USAGE, fn ($a) => count($a) === 1, hand_over(...));
