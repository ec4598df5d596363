import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Refused, call, fail, save, stateFolder, usage } from './tracker.mjs';

const USAGE = `Hands over the card code of an internet order, once. **The code is printed: this program stands for the page that shows it to the customer.**

  card.mjs ID

Settings: API_URL, API_TOKEN (scope \`cards\`), STATE_DIR (what was handed over).
Before you make this call in a shop, check that the customer owns the order. The tracker does not know your customers.`;

const args = process.argv.slice(2);
usage(USAGE, args, args.length === 1);
const id = encodeURIComponent(args[0]);
const folder = join(stateFolder(), 'cards');
const record = join(folder, id);
if (existsSync(record)) {
  console.log(`handed over at ${readFileSync(record, 'utf8')}; not read again`);
} else {
  const card = await call('GET', `/orders/internet/${id}/card`).catch((error) => {
    if (!(error instanceof Refused)) throw error;
    fail(error.status === 409 ? `${error.message}\nWait for \`Order Fulfilled\` or \`Card Available\`.` : error.message);
  });
  for (const name of ['card_code', 'num_trans', 'date_traitement']) console.log(`${name}: ${card[name] ?? '-'}`);
  // Recorded last: after a crash the customer gets the same card again, which harms nobody. No card at all would. The code itself is not kept here.
  mkdirSync(folder, { recursive: true });
  save(record, new Date().toISOString());
}
