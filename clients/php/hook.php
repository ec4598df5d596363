<?php
/**
 * The route that receives the tracker's webhooks: put this behind your web server, with https. It answers at once; `work.php` (cron) or
 * `webhook.php` handles the events after that. Settings: WEBHOOK_SECRET, STATE_DIR (the inbox; not inside the web server's public folder).
 */

declare(strict_types=1);

require_once __DIR__ . '/receive.php';

try {
    if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
        http_response_code(405);
    } else {
        http_response_code(receive(new Inbox(), setting('WEBHOOK_SECRET'), $_SERVER, file_get_contents('php://input')));
    }
} catch (Throwable $error) {
    http_response_code(500); // the tracker sends the event again
    file_put_contents('php://stderr', "error: {$error->getMessage()}\n");
}
