<?php
declare(strict_types=1);

require_once __DIR__ . '/inbox.php';

const USAGE = <<<'TEXT'
    Reads the tracker's events from its feed: for a shop without a public address.

      feed.php              reads on and on; each call waits up to 15 s for an event
      feed.php --once       reads what is new, then ends: for cron
      … --oldest            without a kept cursor, begins with the oldest event instead of now

    Settings: API_URL, API_TOKEN (scope `orders`), STATE_DIR (the cursor and the inbox). TERM or Ctrl-C ends it.
    TEXT;
const WAIT = 15; // seconds that a call waits for an event
const PATIENCE = 600; // seconds without a good answer, after which the program ends with an error

function follow(array $arguments): void
{
    $once = in_array('--once', $arguments, true);
    $inbox = new Inbox();
    $cursorFile = state_folder() . '/cursor';
    $cursor = file_exists($cursorFile) ? file_get_contents($cursorFile) : (in_array('--oldest', $arguments, true) ? null : 'latest');
    do {
        $query = http_build_query(['limit' => 100, 'wait' => $once ? 0 : WAIT, 'after' => $cursor]); // null is left out
        $page = call('GET', "/events?$query", null, PATIENCE);
        foreach ($page['events'] as $event) {
            if (!$inbox->keep($event['event_id'], $event)) {
                say("repeated {$event['event_id']}");
            }
        }
        $inbox->work();
        $isEnd = $page['next'] === $cursor; // nothing more now
        $cursor = $page['next'];
        save($cursorFile, $cursor); // only now: after a crash the same page is read again
        if ($isEnd && !$once) {
            sleep(1);
        }
    } while (!$once || !$isEnd);
}

run(USAGE, fn ($arguments) => array_diff($arguments, ['--once', '--oldest']) === [], follow(...));
