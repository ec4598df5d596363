<?php
/** Handles the events that `hook.php` has kept, then ends: for cron, every minute. Settings: STATE_DIR. */

declare(strict_types=1);

require_once __DIR__ . '/inbox.php';

const USAGE = <<<'TEXT'
    Handles the events that hook.php has kept, then ends: for cron.

      work.php

    Settings: STATE_DIR (the inbox).
    TEXT;

run(USAGE, fn ($arguments) => $arguments === [], fn () => (new Inbox())->work());
