<?php
/** A server for `hook.php` on your own machine, which also handles the events. */

declare(strict_types=1);

require_once __DIR__ . '/receive.php';

const USAGE = <<<'TEXT'
    Receives the tracker's webhooks: starts PHP's own web server with hook.php, and handles the events that it keeps.

      webhook.php

    Listens on http://127.0.0.1:PORT/hook. Settings: WEBHOOK_SECRET (is in .local/stack.env if `make up` had a
    WEBHOOK_URL), PORT (default 8000; 0: any free port), STATE_DIR (the inbox).
    PHP's own web server is for your own machine. On a host, put hook.php behind the web server, and run work.php from cron.
    Needs the extension pcntl. TERM or Ctrl-C ends it.
    TEXT;
const RETRY_SECONDS = 60; // for an event that could not be handled

/** Starts the web server; returns its process and its standard error, from which its address was read. */
function start_server(string $port): array
{
    $command = [PHP_BINARY, '-q', '-S', "127.0.0.1:$port", __DIR__ . '/hook.php'];
    $process = proc_open($command, [['file', '/dev/null', 'r'], STDOUT, ['pipe', 'w']], $pipes);
    while (($line = fgets($pipes[2])) !== false) {
        if (preg_match('~\((http://127\.0\.0\.1:\d+)\) started~', $line, $found)) {
            say("listening on $found[1]/hook");
            stream_set_blocking($pipes[2], false);
            return [$process, $pipes[2]];
        }
    }
    throw new Misuse("PORT $port: the web server does not start; is the port in use?");
}

/** Handles events until TERM or Ctrl-C, or until the web server ends. */
function serve(): void
{
    need_extension('pcntl');
    $port = setting('PORT', '8000');
    if (!ctype_digit($port) || (int) $port > 65535) {
        throw new Misuse('PORT must be a number from 0 to 65535');
    }
    is_signed(setting('WEBHOOK_SECRET'), '', '', '', '', 0); // is it a secret at all?
    $isOver = false;
    pcntl_async_signals(true);
    foreach ([SIGTERM, SIGINT] as $signal) {
        pcntl_signal($signal, function () use (&$isOver) {
            $isOver = true;
        });
    }
    $inbox = new Inbox();
    [$process, $errors] = start_server($port);
    for ($left = [], $retryAt = 0; !$isOver && proc_get_status($process)['running']; usleep(100_000)) {
        fwrite(STDERR, (string) stream_get_contents($errors));
        if ($inbox->names() !== $left || time() >= $retryAt) {
            $inbox->work();
            [$left, $retryAt] = [$inbox->names(), time() + RETRY_SECONDS];
        }
    }
    proc_terminate($process);
    proc_close($process);
    if (!$isOver) {
        throw new Misuse('the web server has ended');
    }
}

run(USAGE, fn ($arguments) => $arguments === [], serve(...));
