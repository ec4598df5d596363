import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Inbox } from './inbox.mjs';
import { Refused, call, fail, save, sleep, stateFolder, usage } from './tracker.mjs';

const USAGE = `Reads the tracker's events from its feed: for a shop without a public address.

  feed.mjs              reads on and on; each call waits up to 15 s for an event
  feed.mjs --once       reads what is new, then ends: for cron
  … --oldest            without a kept cursor, begins with the oldest event instead of now

Settings: API_URL, API_TOKEN (scope \`orders\`), STATE_DIR (the cursor and the inbox). TERM or Ctrl-C ends it.`;
const WAIT = 15; // seconds that a call waits for an event
const PATIENCE = 600; // seconds without a good answer, after which the program ends with an error

const args = process.argv.slice(2);
usage(USAGE, args, args.every((arg) => ['--once', '--oldest'].includes(arg)));
const once = args.includes('--once');
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
const folder = stateFolder();
const inbox = new Inbox(folder);
const cursorFile = join(folder, 'cursor');
let cursor = existsSync(cursorFile) ? readFileSync(cursorFile, 'utf8') : args.includes('--oldest') ? '' : 'latest';
for (;;) {
  const query = new URLSearchParams({ limit: 100, wait: once ? 0 : WAIT, ...(cursor && { after: cursor }) });
  const page = await call('GET', `/events?${query}`, undefined, PATIENCE).catch((error) => {
    if (error instanceof Refused) fail(error.message);
    throw error;
  });
  for (const event of page.events) {
    if (!inbox.keep(event.event_id, event)) console.log(`repeated ${event.event_id}`);
  }
  inbox.work();
  const isEnd = page.next === cursor; // nothing more now
  cursor = page.next;
  save(cursorFile, cursor); // only now: after a crash the same page is read again
  if (isEnd) {
    if (once) break;
    await sleep(1);
  }
}
