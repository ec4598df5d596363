<?php
/**
 * Keeps each event once, and handles each event once, also if it comes twice or the program is killed in between.
 *
 * Here an event is a file, and its id is the file's name. In a shop it is a row of a table:
 *
 *     CREATE TABLE tracker_events (event_id VARCHAR(120) PRIMARY KEY, subject VARCHAR(120) NOT NULL, seq INT NOT NULL,
 *                                  body MEDIUMTEXT NOT NULL, handled_at DATETIME NULL)
 *
 * `keep` is then an INSERT that ignores a known key, and `work` handles the rows without `handled_at`.
 */

declare(strict_types=1);

require_once __DIR__ . '/tracker.php';
require_once __DIR__ . '/handlers.php';

/** The events of one shop, in a folder: `new` (to be handled), `done` (an empty file for each), `newest` (the highest `seq` of each order). */
final class Inbox
{
    private string $new;
    private string $done;
    private string $newest;

    public function __construct()
    {
        [$this->new, $this->done, $this->newest] = array_map(state_folder(...), ['new', 'done', 'newest']);
    }

    /** Stores an event; returns false if it is known. Once this has returned, the event is not lost. */
    public function keep(string $eventId, array $event): bool
    {
        $name = rawurlencode($eventId);
        if (file_exists("$this->done/$name")) {
            return false;
        }
        $complete = "$this->new/." . bin2hex(random_bytes(16));
        save($complete, json_encode($event, JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION | JSON_UNESCAPED_UNICODE));
        $isNew = @link($complete, "$this->new/$name"); // fails if the name exists: the unique key
        unlink($complete);
        if (!$isNew && !file_exists("$this->new/$name") && !file_exists("$this->done/$name")) {
            throw new Misuse("STATE_DIR: cannot write $this->new/$name");
        }
        return $isNew;
    }

    /** The names of the events that are to be handled. */
    public function names(): array
    {
        return preg_grep('/^[^.]/', scandir($this->new));
    }

    /** Handles what is to be handled, the oldest event first; returns whether all of it succeeded. What failed stays, for the next call. */
    public function work(): bool
    {
        $lock = fopen("$this->new/.lock", 'c');
        flock($lock, LOCK_EX); // one process at a time
        $events = array_map(fn ($name) => json_decode(file_get_contents("$this->new/$name"), true), $this->names());
        usort($events, fn ($a, $b) => [$a['occurred_at'], $a['seq']] <=> [$b['occurred_at'], $b['seq']]);
        $results = array_map($this->handle(...), $events);
        fclose($lock);
        return !in_array(false, $results, true);
    }

    private function handle(array $event): bool
    {
        ['event_id' => $eventId, 'seq' => $seq, 'detail_type' => $kind] = $event;
        $name = rawurlencode($eventId);
        $newest = "$this->newest/" . rawurlencode(substr($eventId, 0, (int) strrpos($eventId, '#')));
        $last = file_exists($newest) ? (int) file_get_contents($newest) : 0;
        if (!file_exists("$this->done/$name")) {
            try {
                $line = preg_replace('/[\r\n]+/', ' ', handle($event, $seq < $last));
            } catch (Throwable $error) { // one event must not stop the others
                say("failed $eventId $kind: {$error->getMessage()}; it stays in the inbox");
                return false;
            }
            say("handled $eventId $kind: $line");
            save($newest, (string) max($last, $seq));
            touch("$this->done/$name");
        }
        unlink("$this->new/$name");
        return true;
    }
}

/** A line of the log. */
function say(string $line): void
{
    file_put_contents('php://stdout', "$line\n");
}
