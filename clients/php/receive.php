<?php
/** Verifies a webhook of the tracker and keeps its event. */

declare(strict_types=1);

require_once __DIR__ . '/inbox.php';
require_once __DIR__ . '/signature.php';

/** Takes one request in; returns the status of the answer. Every other status than 2xx makes the tracker send the event again. */
function receive(Inbox $inbox, string $secret, array $server, string $body, ?int $now = null): int
{
    [$id, $timestamp, $signatures] = array_map(
        fn ($name) => (string) ($server["HTTP_WEBHOOK_$name"] ?? ''),
        ['ID', 'TIMESTAMP', 'SIGNATURE'],
    );
    if (!is_signed($secret, $id, $timestamp, $signatures, $body, $now ?? time())) {
        file_put_contents('php://stderr', "refused: the signature is wrong or too old\n");
        return 401;
    }
    $event = json_decode($body, true)['detail'] ?? null;
    if (!is_string($event['event_id'] ?? null)) {
        return 400;
    }
    if (!$inbox->keep($event['event_id'], $event)) { // event_id: the same as the header webhook-id
        say("repeated {$event['event_id']}");
    }
    return 204;
}
