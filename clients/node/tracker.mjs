// Calls of the tracker's HTTP API (docs/api.md), and what all these examples share: settings, errors, files.
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const TIMEOUT = 25_000; // milliseconds for one call: the tracker waits for the vendor up to 8 s, and for events up to 15 s

/** A call that failed. `status`: the HTTP status, 0 without an answer. The message has the answer's `detail`. */
export class Refused extends Error {
  constructor(status, text) {
    super(status ? `the tracker answered ${status}: ${text}` : `no answer from the tracker: ${text}`);
    this.status = status;
  }
}

/** Ends the program with this status and message. */
export function fail(message, status = 1) {
  console.error(status === 1 ? `error: ${message}` : message);
  process.exit(status);
}

/** Ends the program with its usage, if the caller asks for it or if the arguments are wrong. */
export function usage(text, args, isRight) {
  if (args.includes('--help') || args.includes('-h')) {
    console.log(text);
    process.exit(0);
  }
  if (!isRight) fail(text, 2);
}

/** A setting from the environment. Without a value and without a default the program ends, and names the variable. */
export function setting(name, fallback) {
  const value = process.env[name] || fallback;
  if (value === undefined) fail(`${name} is not set. After \`make up\`: set -a; . .local/stack.env; set +a`);
  return value;
}

/** The folder for what must survive a restart: the setting STATE_DIR, or `state` beside this file. */
export function stateFolder() {
  const folder = setting('STATE_DIR', fileURLToPath(new URL('state', import.meta.url)));
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Replaces a file in one step: after a crash it has the old text or the new one. */
export function save(file, text) {
  const complete = `${file}.${process.pid}.tmp`;
  writeFileSync(complete, text);
  renameSync(complete, file);
}

export const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/**
 * Makes a call and returns the JSON of the answer. Every call of this API can be repeated without harm. So it is repeated, for up to
 * `patience` seconds, if there is no answer or if the answer asks for it. Throws `Refused` otherwise.
 */
export async function call(method, path, body, patience = 60) {
  const address = setting('API_URL') + path;
  const headers = { Authorization: `Bearer ${setting('API_TOKEN')}`, 'Content-Type': 'application/json' };
  const until = Date.now() + patience * 1000;
  for (;;) {
    const [found, refused, wait] = await once(address, { method, headers, body: body && JSON.stringify(body) });
    if (!refused) return found;
    if (wait === undefined || Date.now() + wait * 1000 > until) throw refused;
    await sleep(wait);
  }
}

/** One try: what was found, or the refusal and the seconds after which a repeat is of use (undefined: never). */
async function once(address, request) {
  try {
    const answer = await fetch(address, { ...request, signal: AbortSignal.timeout(TIMEOUT) });
    const text = await answer.text();
    if (answer.ok) return [JSON.parse(text)];
    const asked = answer.headers.get('Retry-After') ?? '';
    const wait = /^\d+$/.test(asked) ? Number(asked) : [429, 502, 503, 504].includes(answer.status) ? 2 : undefined;
    return [undefined, new Refused(answer.status, detailOf(text)), wait];
  } catch (error) {
    return [undefined, new Refused(0, error.cause?.code ?? error.message), 2];
  }
}

/** What an error answer says. API Gateway's own answers are no `problem+json`. */
function detailOf(text) {
  try {
    return JSON.parse(text).detail ?? text.slice(0, 200);
  } catch {
    return text.slice(0, 200);
  }
}
