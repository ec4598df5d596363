<?php
/** Calls of the tracker's HTTP API (docs/api.md), and what all these examples share: settings, errors, files. Needs the extensions curl and json. */

declare(strict_types=1);

const TIMEOUT = 25; // seconds for one call: the tracker waits for the vendor up to 8 s, and for events up to 15 s

/** A setting or an argument is wrong. */
final class Misuse extends RuntimeException
{
}

/** A call that failed. The code: the HTTP status, 0 without an answer. The message has the answer's `detail`. */
final class Refused extends RuntimeException
{
    public function __construct(int $status, string $text)
    {
        parent::__construct($status ? "the tracker answered $status: $text" : "no answer from the tracker: $text", $status);
    }
}

/** Runs a program of the command line: shows its usage if the caller asks for it or `$isRight` denies the arguments, and an error as one line. */
function run(string $usage, callable $isRight, callable $main): never
{
    $arguments = array_slice($_SERVER['argv'], 1);
    if (array_intersect(['--help', '-h'], $arguments)) {
        echo "$usage\n";
        exit(0);
    }
    if (!$isRight($arguments)) {
        fwrite(STDERR, "$usage\n");
        exit(2);
    }
    try {
        $main($arguments);
        exit(0);
    } catch (Misuse | Refused | InvalidArgumentException $error) {
        fwrite(STDERR, "error: {$error->getMessage()}\n");
        exit(1);
    }
}

/** Fails if PHP lacks this extension. */
function need_extension(string $name): void
{
    if (!extension_loaded($name)) {
        throw new Misuse("PHP lacks the extension $name (on Debian: apt-get install php-$name)");
    }
}

/** A setting from the environment. Without a value and without a default it is an error that names the variable. */
function setting(string $name, ?string $default = null): string
{
    $value = getenv($name);
    if ($value !== false && $value !== '') {
        return $value;
    }
    return $default ?? throw new Misuse("$name is not set. After `make up`: set -a; . .local/stack.env; set +a");
}

/** The folder for what must survive a restart: the setting STATE_DIR, or `state` beside this file. */
function state_folder(string $part = ''): string
{
    $folder = rtrim(setting('STATE_DIR', __DIR__ . '/state') . "/$part", '/');
    if (!is_dir($folder) && !@mkdir($folder, 0700, true) && !is_dir($folder)) {
        throw new Misuse("STATE_DIR: cannot make the folder $folder");
    }
    return $folder;
}

/** Replaces a file in one step: after a crash it has the old text or the new one. */
function save(string $file, string $text): void
{
    $complete = "$file." . getmypid() . '.tmp';
    if (file_put_contents($complete, $text) !== strlen($text) || !rename($complete, $file)) {
        throw new Misuse("STATE_DIR: cannot write $file");
    }
}

/**
 * Makes a call and returns the JSON of the answer. Every call of this API can be repeated without harm. So it is repeated, for up to
 * `$patience` seconds, if there is no answer or if the answer asks for it. Throws `Refused` otherwise.
 */
function call(string $method, string $path, ?array $body = null, float $patience = 60): array
{
    need_extension('curl');
    $until = microtime(true) + $patience;
    while (true) {
        [$status, $text, $wait] = call_once($method, $path, $body);
        $found = json_decode($text, true);
        if ($status >= 200 && $status < 300 && is_array($found)) {
            return $found;
        }
        if ($wait === null || microtime(true) + $wait > $until) {
            throw new Refused($status, (string) ($found['detail'] ?? substr($text, 0, 200))); // API Gateway's own answers have no `detail`
        }
        sleep($wait);
    }
}

/** One try: status (0 without an answer), body or error, and the seconds after which a repeat is of use (null: never). */
function call_once(string $method, string $path, ?array $body): array
{
    $request = curl_init(setting('API_URL') . $path);
    curl_setopt_array($request, [
        CURLOPT_CUSTOMREQUEST => $method,
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_TIMEOUT => TIMEOUT,
        CURLOPT_HTTPHEADER => ['Authorization: Bearer ' . setting('API_TOKEN'), 'Content-Type: application/json'],
    ]);
    if ($body !== null) {
        curl_setopt($request, CURLOPT_POSTFIELDS, json_encode((object) $body, JSON_THROW_ON_ERROR));
    }
    $text = curl_exec($request);
    if ($text === false) {
        return [0, curl_error($request), 2];
    }
    $status = curl_getinfo($request, CURLINFO_RESPONSE_CODE);
    $asked = curl_getinfo($request, CURLINFO_RETRY_AFTER);
    return [$status, $text, $asked ?: (in_array($status, [429, 502, 503, 504], true) ? 2 : null)];
}
