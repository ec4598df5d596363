<?php
/** The signature of the tracker's webhooks, by Standard Webhooks. Needs no other file. */

declare(strict_types=1);

const TOLERANCE = 300; // seconds between the signature and now

/**
 * Whether a signature of the header `webhook-signature` is right: Standard Webhooks, symmetric. During a rotation the header has two,
 * separated by a space. `$body` must be the body exactly as it came.
 */
function is_signed(string $secret, string $id, string $timestamp, string $signatures, string $body, int $now): bool
{
    $key = base64_decode(preg_replace('/^whsec_/', '', $secret), true);
    if (!$key) {
        throw new InvalidArgumentException('WEBHOOK_SECRET must be `whsec_` and the secret in base64');
    }
    if (!ctype_digit($timestamp) || abs($now - (int) $timestamp) > TOLERANCE) {
        return false;
    }
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    $equal = array_map(fn ($signature) => hash_equals($expected, $signature), explode(' ', $signatures));
    return in_array(true, $equal, true);
}
