// Keeps each event once, and handles each event once, also if it comes twice or the program is killed in between.
//
// Here an event is a file, and its id is the file's name. In a shop it is a row of a table:
//
//     CREATE TABLE tracker_events (event_id VARCHAR(120) PRIMARY KEY, body TEXT NOT NULL, handled_at DATETIME NULL)
//
// `keep` is then an INSERT that ignores a known key, and `work` handles the rows without `handled_at`.
// Node has no file locks: let one program at a time use a folder.
import { randomUUID } from 'node:crypto';
import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { handle } from './handlers.mjs';

/** The events of one shop, in a folder: `new` (to be handled), `done` (an empty file for each), `newest` (the highest `seq` of each order). */
export class Inbox {
  constructor(folder) {
    [this.new, this.done, this.newest] = ['new', 'done', 'newest'].map((name) => join(folder, name));
    for (const part of [this.new, this.done, this.newest]) mkdirSync(part, { recursive: true });
  }

  /** Stores an event; returns false if it is known. Once this has returned, the event is not lost. */
  keep(eventId, event) {
    const name = encodeURIComponent(eventId);
    if (existsSync(join(this.done, name))) return false;
    const complete = join(this.new, `.${randomUUID()}`);
    writeFileSync(complete, JSON.stringify(event));
    try {
      linkSync(complete, join(this.new, name)); // fails if the name exists: the unique key
    } catch (error) {
      if (error.code === 'EEXIST') return false;
      throw error;
    } finally {
      unlinkSync(complete);
    }
    return true;
  }

  /** Handles what is to be handled, the oldest event first; returns whether all of it succeeded. What failed stays, for the next call. */
  work() {
    const names = readdirSync(this.new).filter((name) => !name.startsWith('.'));
    const events = names.map((name) => JSON.parse(readFileSync(join(this.new, name), 'utf8')));
    events.sort((a, b) => a.occurred_at.localeCompare(b.occurred_at) || a.seq - b.seq);
    return events.map((event) => this.#handle(event)).every(Boolean);
  }

  #handle(event) {
    const { event_id: eventId, seq, detail_type: kind } = event;
    const name = encodeURIComponent(eventId);
    const newest = join(this.newest, encodeURIComponent(eventId.slice(0, eventId.lastIndexOf('#'))));
    const last = existsSync(newest) ? Number(readFileSync(newest, 'utf8')) : 0;
    if (!existsSync(join(this.done, name))) {
      let line;
      try {
        line = handle(event, seq < last).replaceAll(/\s+/g, ' ');
      } catch (error) { // one event must not stop the others
        console.log(`failed ${eventId} ${kind}: ${error.message}; it stays in the inbox`);
        return false;
      }
      console.log(`handled ${eventId} ${kind}: ${line}`);
      writeFileSync(newest, String(Math.max(last, seq)));
      writeFileSync(join(this.done, name), '');
    }
    unlinkSync(join(this.new, name));
    return true;
  }
}
