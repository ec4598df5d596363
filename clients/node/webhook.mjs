import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { Webhook } from 'standardwebhooks';
import { Inbox } from './inbox.mjs';
import { fail, setting, stateFolder, usage } from './tracker.mjs';

const USAGE = `Receives the tracker's webhooks: verifies the signature, keeps the event, answers, and handles the event after the answer.

  webhook.mjs

Listens on http://127.0.0.1:PORT/hook. Settings: WEBHOOK_SECRET (is in .local/stack.env if \`make up\` had a
WEBHOOK_URL), PORT (default 8000; 0: any free port), STATE_DIR (the inbox).
Behind your web server use https. Needs \`npm ci\`. TERM or Ctrl-C ends it.`;
const LARGEST_BODY = 1024 * 1024; // bytes; an event on the bus has at most 256 KiB
const RETRY_SECONDS = 60; // for an event that could not be handled

/** Takes one request in; returns the status of the answer. Every other status than 2xx makes the tracker send the event again. */
export function receive(verifier, inbox, headers, body) {
  let envelope;
  try {
    envelope = verifier.verify(body, headers); // signature, and the age: at most 5 minutes
  } catch (error) {
    console.error(`refused: ${error.message}`);
    return 401;
  }
  const event = envelope?.detail;
  if (typeof event?.event_id !== 'string') return 400;
  if (!inbox.keep(event.event_id, event)) console.log(`repeated ${event.event_id}`); // event_id: the same as the header webhook-id
  return 204;
}

/** The body of a request, exactly as it came: a JSON parser that changes a byte would break the signature. */
async function bodyOf(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > LARGEST_BODY) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Handles what arrived. It runs after the answer: handling may take long, an answer may not. */
function work(inbox) {
  try {
    inbox.work();
  } catch (error) { // a full disk must not end the server
    console.error(`the inbox: ${error.message}`);
  }
}

/** A server for these webhooks. */
export function serverFor(verifier, inbox) {
  return createServer({ requestTimeout: 10_000 }, async (request, response) => {
    let status;
    try {
      const body = request.method === 'POST' && request.url === '/hook' ? await bodyOf(request) : null;
      status = body === null ? 404 : body === undefined ? 413 : receive(verifier, inbox, request.headers, body);
    } catch (error) {
      console.error(`the inbox: ${error.message}`);
      status = 500;
    }
    response.writeHead(status).end();
    setImmediate(work, inbox);
  });
}

function main(args) {
  usage(USAGE, args, args.length === 0);
  const port = setting('PORT', '8000');
  if (!/^\d+$/.test(port) || Number(port) > 65535) fail('PORT must be a number from 0 to 65535');
  let verifier;
  try {
    verifier = new Webhook(setting('WEBHOOK_SECRET'));
  } catch {
    fail('WEBHOOK_SECRET must be `whsec_` and the secret in base64');
  }
  const inbox = new Inbox(stateFolder());
  const server = serverFor(verifier, inbox);
  server.on('error', (error) => fail(`PORT ${port}: ${error.code}`));
  server.listen(Number(port), '127.0.0.1', () => {
    console.log(`listening on http://127.0.0.1:${server.address().port}/hook`);
    work(inbox);
  });
  const timer = setInterval(work, RETRY_SECONDS * 1000, inbox);
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => {
      clearInterval(timer);
      server.close();
      server.closeIdleConnections();
    });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main(process.argv.slice(2));
