<?php
/** Tests of the examples that need no stack: php test.php */

declare(strict_types=1);

// The vector in the tests of the Standard Webhooks libraries, which stand beside the specification.
const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const ID = 'msg_p5jXN8AQM9LWM0D4loKWxJek';
const TIMESTAMP = 1614265330;
const BODY = '{"test": 2432232314}';
const SIGNATURE = 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=';
const OTHER_SIGNATURE = 'v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=';
const SAMPLES = __DIR__ . '/../../events/out/';

$folder = sys_get_temp_dir() . '/inbox-' . bin2hex(random_bytes(8));
putenv("STATE_DIR=$folder");
require_once __DIR__ . '/receive.php';

/** Fails the run if two values differ. */
function check(string $what, mixed $found, mixed $expected): void
{
    if ($found !== $expected) {
        fwrite(STDERR, "FAILED: $what: " . var_export($found, true) . ', expected ' . var_export($expected, true) . "\n");
        exit(1);
    }
    $GLOBALS['checks'] = ($GLOBALS['checks'] ?? 0) + 1;
}

function sample(string $name): array
{
    return json_decode(file_get_contents(SAMPLES . "$name.json"), true);
}

function samples(): array
{
    return array_map(fn ($file) => sample(basename($file, '.json')), glob(SAMPLES . '*.json'));
}

/** Receives an event as the tracker sends it. */
function send(Inbox $inbox, array $envelope): int
{
    [$id, $now, $body] = [$envelope['detail']['event_id'], time(), json_encode($envelope)];
    $key = base64_decode(substr(SECRET, strlen('whsec_')));
    $signature = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$now.$body", $key, true));
    return receive($inbox, SECRET, ['HTTP_WEBHOOK_ID' => $id, 'HTTP_WEBHOOK_TIMESTAMP' => "$now", 'HTTP_WEBHOOK_SIGNATURE' => $signature], $body);
}

function signatures(): void
{
    $isGood = fn (string $body = BODY, string $signature = SIGNATURE, string $secret = SECRET, string $id = ID, int $clock = TIMESTAMP) =>
        is_signed($secret, $id, (string) TIMESTAMP, $signature, $body, $clock);
    check('the vector', $isGood(), true);
    check('the secret without its prefix', $isGood(secret: substr(SECRET, strlen('whsec_'))), true);
    check('a changed body', $isGood(body: '{"test": 2432232315}'), false);
    check('another id', $isGood(id: 'msg_other'), false);
    check('another secret', $isGood(secret: 'whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'), false);
    foreach ([300 => true, 301 => false, -300 => true, -301 => false] as $seconds => $expected) {
        check("$seconds seconds later", $isGood(clock: TIMESTAMP + $seconds), $expected);
    }
    foreach (['', '-1', '1e9', '1614265330.0', 'now'] as $timestamp) {
        check("the timestamp '$timestamp'", is_signed(SECRET, ID, $timestamp, SIGNATURE, BODY, TIMESTAMP), false);
    }
    check('a good signature after another', $isGood(signature: OTHER_SIGNATURE . ' ' . SIGNATURE), true);
    check('a good signature before another', $isGood(signature: SIGNATURE . ' ' . OTHER_SIGNATURE), true);
    foreach ([OTHER_SIGNATURE . ' ' . OTHER_SIGNATURE, 'v1', 'v1,', '', str_replace('v1,', 'v2,', SIGNATURE), substr(SIGNATURE, 3)] as $signature) {
        check("the signature '$signature'", $isGood(signature: $signature), false);
    }
    foreach (['', 'whsec_', 'whsec_*'] as $secret) {
        try {
            check("the secret '$secret'", $isGood(secret: $secret), 'an error');
        } catch (InvalidArgumentException $error) {
            check('an error that names the setting', str_contains($error->getMessage(), 'WEBHOOK_SECRET'), true);
        }
    }
}

function handlers(): void
{
    foreach (samples() as ['detail' => $detail]) {
        $kind = $detail['detail_type'];
        check("$kind is known", str_contains(handle($detail), 'ignored'), false);
        check("$kind refunds", str_contains(handle($detail), 'refunded order-12345'), $kind === 'Order Refunded');
        $isPassing = preg_match('/^Order (Queued|Uncertain|Delayed)|^Vendor/', $kind) === 1;
        check("$kind is ignored if late", str_contains(handle($detail, true), 'ignored'), $isPassing);
    }
    $refunded = sample('order-refunded')['detail'];
    foreach (['retry_order_id', 'follow_order_id'] as $link) {
        $continued = array_replace_recursive($refunded, ['order' => [$link => '690']]);
        check("a refunded order with $link refunds", str_contains(handle($continued), 'refunded'), false);
    }
    foreach ([...array_keys(REVIEWS), 'a_new_one'] as $reason) {
        $line = handle(['reason' => $reason] + sample('order-needs-review')['detail']);
        check("the review $reason", str_contains($line, "($reason "), true);
    }
    check('an unknown type', str_contains(handle(['version' => 1, 'detail_type' => 'Order Exploded']), 'ignored'), true);
    try {
        check('an unknown version', handle(['version' => 2, 'detail_type' => 'Order Fulfilled']), 'an error');
    } catch (UnexpectedValueException $error) {
        check('an unknown version', str_contains($error->getMessage(), 'version 2'), true);
    }
}

/** What `say` prints goes to standard output, past any buffer. So the folders show what was handled. */
function inboxes(string $folder): void
{
    $inbox = new Inbox();
    $done = fn () => count(array_diff(scandir("$folder/done"), ['.', '..']));
    $envelopes = array_column(array_map(fn ($envelope) => [$envelope['detail']['event_id'], $envelope], samples()), 1, 0); // the samples share some ids
    foreach ([1, 2] as $round) {
        foreach ($envelopes as $envelope) {
            check('the answer', send($inbox, $envelope), 204);
        }
        check('new events', count($inbox->names()), $round === 1 ? count($envelopes) : 0);
        check('all is handled', $inbox->work(), true);
        check('handled events', $done(), count($envelopes));
    }
    check('a known event', $inbox->keep('mobile/6901616fe9e88196b4eb64b0#1', []), false);
    check('the newest event of an order', file_get_contents("$folder/newest/internet%2F6901616fe9e88196b4eb64b2"), '4');
    [$wrong, $good] = [sample('order-fulfilled'), sample('order-tracked')];
    $wrong['detail'] = ['event_id' => 'internet/w#1', 'version' => 2] + $wrong['detail'];
    $good['detail'] = ['event_id' => 'mobile/g#1'] + $good['detail'];
    send($inbox, $wrong);
    send($inbox, $good);
    check('a failed event', $inbox->work(), false);
    check('a failed event stays, the other is handled', [array_values($inbox->names()), $done()], [['internet%2Fw%231'], count($envelopes) + 1]);
    $now = (string) time();
    $key = base64_decode(substr(SECRET, strlen('whsec_')));
    foreach (['{"test": 1}', '[]', '5', '"text"', 'null', '{"detail": "text"}', '{"detail": {"event_id": 5}}', 'no JSON'] as $body) {
        $signature = 'v1,' . base64_encode(hash_hmac('sha256', ID . ".$now.$body", $key, true));
        $server = ['HTTP_WEBHOOK_ID' => ID, 'HTTP_WEBHOOK_TIMESTAMP' => $now, 'HTTP_WEBHOOK_SIGNATURE' => $signature];
        check("signed, but no event: $body", receive($inbox, SECRET, $server, $body), 400);
    }
    check('no headers', receive($inbox, SECRET, [], BODY), 401);
}

register_shutdown_function(fn () => exec('rm -rf ' . escapeshellarg($folder)));
signatures();
handlers();
inboxes($folder);
echo "{$GLOBALS['checks']} checks passed\n";
