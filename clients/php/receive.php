<?php
/** Verifies a webhook of the tracker and keeps its event. */

declare(strict_types=1);

require_once __DIR__ . '/inbox.php';

const TOLERANCE = 300; // seconds between the signature and now

/**
 * Whether a signature of the header `webhook-signature` is right: Standard Webhooks, symmetric. During a rotation the header has two,
 * separated by a space. `$body` must be the body exactly as it came.
 */
function is_signed(string $secret, string $id, string $timestamp, string $signatures, string $body, int $now): bool
{
    $key = base64_decode(preg_replace('/^whsec_/', '', $secret), true);
    if (!$key) {
        throw new Misuse('WEBHOOK_SECRET must be `whsec_` and the secret in base64');
    }
    if (!ctype_digit($timestamp) || abs($now - (int) $timestamp) > TOLERANCE) {
        return false;
    }
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    $equal = array_map(fn ($signature) => hash_equals($expected, $signature), explode(' ', $signatures));
    return in_array(true, $equal, true);
}

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
