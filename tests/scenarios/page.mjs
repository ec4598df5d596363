// Opens tracking pages in Chromium and prints a line for each thing that is wrong with them. `page.py` starts it, with what to open on standard input:
//
//   out      the folder for the pictures
//   pages    [{name, url, final}]: pages to look at from all sides. In `url`, `{lang}` stands for the language. `final`: nothing changes any more
//   live     {url, settle}: a page of an order that ends when a status is sent (POST) to `settle`; absent: not tried
//   card     {url, code}: a page with a button that shows this card; absent: not tried
//   policy   whether the pages come from the tracker, and not from files
//   most_bytes, hidden   the size that no response may have, and what no page may contain
//   picture  {path, of}: a picture of these screenshots side by side; absent: none
//
// Exit status 1 if anything is wrong. It waits for conditions and moves the page's clock; it waits for no time to pass.
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const TOOL = fileURLToPath(new URL('../../.tools/browser/', import.meta.url));
const require = createRequire(TOOL);
const { chromium } = require('playwright-core');
const AXE = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const DIRECTIONS = { ar: 'rtl', fr: 'ltr', en: 'ltr' };
const PHONE = { width: 360, height: 740 };
const NARROW = { width: 320, height: 740 }; // WCAG 1.4.10
const LARGE = '--blink-settings=defaultFontSize=32,defaultFixedFontSize=26'; // 200 % of Chromium's own
const SIDE_BY_SIDE = 3; // pages
const PATIENCE = 120_000; // ms, for a condition
const POLL_MS = [5_000, 10_000]; // how often a page looks for news
const AXE_OPTIONS = {
  runOnly: { type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] },
  rules: { 'target-size': { enabled: true } },
  resultTypes: ['violations', 'incomplete'],
};
// WCAG 1.4.12: a page must bear what its reader's own style sheet sets.
const SPACED = '* { line-height: 1.5 !important; letter-spacing: .12em !important; word-spacing: .16em !important } p { margin-block-end: 2em !important }';

const told = JSON.parse(readFileSync(0, 'utf8'));
mkdirSync(told.out, { recursive: true });
let problems = 0;

/** Prints a thing that is wrong. */
function wrong(where, what) {
  problems += 1;
  console.log(`wrong: ${where}: ${what}`);
}

/** Runs in the page: what of its text cannot be read, and the size of each text. */
function layout() {
  const found = [];
  const shown = (element) => {
    const { width, height } = element.getBoundingClientRect();
    return getComputedStyle(element).visibility !== 'hidden' && width > 1 && height > 1; // a text for screen readers alone is one pixel
  };
  const wide = document.scrollingElement.scrollWidth;
  if (wide > innerWidth) found.push(`it scrolls sideways: ${wide} px in ${innerWidth} px`);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT, (node) =>
    node.nodeType === Node.TEXT_NODE || shown(node) || getComputedStyle(node).display === 'contents' ? NodeFilter.FILTER_ACCEPT : NodeFilter.FILTER_REJECT);
  const lines = [], sizes = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.nodeType === Node.ELEMENT_NODE) {
      const { overflowX, overflowY } = getComputedStyle(node);
      const cut = (overflowX !== 'visible' && node.scrollWidth > node.clientWidth + 1)
        || (overflowY !== 'visible' && node.scrollHeight > node.clientHeight + 1);
      if (cut && node.clientWidth) found.push(`cut off: ${node.textContent.trim().slice(0, 60)}`);
      continue;
    }
    const text = node.data.trim();
    if (!text) continue;
    sizes.push([text, parseFloat(getComputedStyle(node.parentElement).fontSize)]);
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const line of range.getClientRects()) {
      if (line.width < 1) continue;
      for (let box = node.parentElement; box; box = box.parentElement) {
        const { left, right } = box.getBoundingClientRect();
        if (getComputedStyle(box).display === 'inline' || (line.left >= left - 1 && line.right <= right + 1)) continue;
        found.push(`it leaves its ${box.localName}: ${text.slice(0, 60)}`);
        break;
      }
      const over = lines.find(([other, box]) => other !== text && Math.min(box.right, line.right) - Math.max(box.left, line.left) > 1
        && Math.min(box.bottom, line.bottom) - Math.max(box.top, line.top) > Math.min(box.height, line.height) / 2);
      if (over) found.push(`one over the other: ${over[0].slice(0, 40)} / ${text.slice(0, 40)}`);
      lines.push([text, line]);
    }
    const masked = /\d\d[^\d\s]{2,}\d\d/.exec(node.data);
    if (masked) {
      const left = (index) => { range.setStart(node, index); range.setEnd(node, index + 1); return range.getBoundingClientRect().left; };
      if (left(masked.index) > left(masked.index + masked[0].length - 1)) found.push(`the number reads from right to left: ${masked[0]}`);
    }
  }
  return { found, sizes };
}

/** A context whose pages report errors of scripts and policy, and requests to other hosts. */
async function contextOf(browser, where, options = {}) {
  const context = await browser.newContext({ viewport: PHONE, deviceScaleFactor: 2, reducedMotion: 'reduce', ...options });
  context.setDefaultTimeout(PATIENCE);
  const isExpected = (text) => where.name === 'gone' && text.includes('status of 404');
  context.on('console', (message) => message.type() === 'error' && !isExpected(message.text()) && wrong(where.name, `console: ${message.text()}`));
  context.on('weberror', (error) => wrong(where.name, `script: ${error.error()}`));
  const own = new URL(where.url).origin;
  context.on('request', (request) => new URL(request.url()).origin !== own && wrong(where.name, `request to ${request.url()}`));
  return context;
}

const address = ({ url }, lang) => url.replaceAll('{lang}', lang);
const heading = (page) => page.locator('h1').innerText();
/** What a page says; 0 stands for every number, because times change. */
const words = async (page) => (await page.locator('main').innerText()).replace(/\s+/g, ' ').replace(/\d+/g, '0').trim();

/** What axe finds. `undecided`: also texts whose contrast it cannot tell. */
async function axe(page, where, undecided = true) {
  await page.evaluate(AXE); // the page's policy binds its own scripts only
  const { violations, incomplete } = await page.evaluate((options) => globalThis.axe.run(document, options), AXE_OPTIONS);
  for (const { id, help, nodes } of [...violations, ...incomplete.filter(({ id }) => undecided && id === 'color-contrast')]) {
    wrong(where, `axe: ${id}: ${help}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`.replace(/\s+/g, ' ')).join('; ')}`);
  }
}

/** One page in one language, light and dark; `plain` is what this said at 100 % text. Returns what it says and the sizes of its text. */
async function look(context, spec, lang, plain) {
  const where = `${spec.name} ${lang}${plain ? ' at 200 %' : ''}`, page = await context.newPage();
  const answer = await page.goto(address(spec, lang));
  if (told.policy) await response(where, answer);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: join(told.out, `${spec.name}-${lang}-${colorScheme}${plain ? '-large' : ''}.png`), fullPage: true });
    await axe(page, `${where} ${colorScheme}`, !plain); // colours do not change with the size
  }
  const { found, sizes } = await page.evaluate(layout);
  for (const one of found) wrong(where, one);
  if (plain) {
    const small = sizes.filter(([, size], index) => size < 1.9 * plain.sizes[index]?.[1]).map(([text, size]) => `${text} ${size} px`);
    if (small.length) wrong(where, `not larger: ${small.join('; ')}`);
  } else {
    await structure(page, where, lang);
  }
  const text = await words(page);
  await page.close();
  return { text, sizes };
}

/** What a page is for a screen reader, for a narrow screen with the reader's own spacing, and for a reader who wants nothing to move. */
async function structure(page, where, lang) {
  const [root, direction] = await page.evaluate(() => [document.documentElement.lang, document.documentElement.dir]);
  if (root !== lang || direction !== DIRECTIONS[lang]) wrong(where, `lang=${root} dir=${direction}`);
  for (const [role, options] of [['main', {}], ['heading', { level: 1 }]]) {
    const count = await page.getByRole(role, options).count();
    if (count !== 1) wrong(where, `${count} of ${role} ${JSON.stringify(options)}`);
  }
  if (await page.evaluate(() => document.getAnimations().length)) wrong(where, 'it moves in spite of prefers-reduced-motion');
  await page.setViewportSize(NARROW);
  await page.evaluate((style) => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(style);
    document.adoptedStyleSheets = [sheet];
  }, SPACED);
  for (const one of (await page.evaluate(layout)).found) wrong(`${where} narrow, spaced`, one);
}

/** The size of a response, the headers that keep it to itself, and what it must not contain. */
async function response(where, answer) {
  const headers = answer.headers(), body = await answer.body(), csp = headers['content-security-policy'] ?? '';
  if (body.length >= told.most_bytes) wrong(where, `${body.length} bytes`);
  for (const text of told.hidden) if (body.includes(text)) wrong(where, `it contains ${text}`);
  if (!/default-src 'none'/.test(csp) || /unsafe|\*|https?:/.test(csp)) wrong(where, `content-security-policy: ${csp}`);
  const expected = { 'referrer-policy': 'no-referrer', 'x-content-type-options': 'nosniff', 'cache-control': 'no-store', 'x-robots-tag': 'noindex' };
  for (const [name, value] of Object.entries(expected)) if (!headers[name]?.includes(value)) wrong(where, `${name}: ${headers[name]}`);
}

/** Reaches everything with the Tab key, in the order of the page, and sees where it is; changes the language with Enter. */
async function keyboard(context, spec) {
  const where = `${spec.name} keyboard`, page = await context.newPage();
  await page.goto(address(spec, 'ar'));
  const expected = await page.evaluate(() => {
    const all = [...document.querySelectorAll('a[href], button, summary, input:not([type=hidden])')].filter((one) => one.checkVisibility());
    all.forEach((one, index) => { one.dataset.index = index; });
    return all.map((_, index) => index);
  });
  const reached = [];
  for (const _ of expected) {
    await page.keyboard.press('Tab');
    const { index, seen, name } = await page.evaluate(() => {
      const one = document.activeElement, { outlineStyle, outlineWidth } = getComputedStyle(one), { top, bottom } = one.getBoundingClientRect();
      return { index: Number(one.dataset.index), name: one.textContent.trim(),
        seen: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 && top >= -1 && bottom <= innerHeight + 1 };
    });
    reached.push(index);
    if (!seen) wrong(where, `one does not see that the focus is on ${name}`);
  }
  if (String(reached) !== String(expected)) wrong(where, `Tab reaches ${reached} of ${expected}`);
  if (told.policy) {
    await page.locator('a[hreflang=fr], a[lang=fr]').first().focus();
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => document.documentElement.lang === 'fr');
  }
  await page.close();
}

/** The same words without JavaScript; a page that is not final reloads itself. */
async function withoutScript(browser, spec, text) {
  const context = await contextOf(browser, spec, { javaScriptEnabled: false });
  const page = await context.newPage();
  await page.goto(address(spec, 'en'));
  const plain = await words(page);
  if (plain !== text) wrong(`${spec.name} without JavaScript`, `says “${plain}”, not “${text}”`);
  const refresh = await page.locator('meta[http-equiv=refresh i]').count();
  if (spec.final !== undefined && !!refresh === spec.final) wrong(`${spec.name} without JavaScript`, `final: ${spec.final}, reloads itself: ${!!refresh}`);
  if (told.policy && spec.name === 'in_flight') await page.waitForRequest((request) => request.isNavigationRequest());
  await context.close();
}

/** Moves the page's clock on until a condition holds. */
async function forward(page, condition) {
  const until = Date.now() + PATIENCE;
  while (!await condition()) {
    if (Date.now() > until) throw new Error(`not within ${PATIENCE} ms: ${condition}`);
    await page.clock.runFor(1_000);
  }
}

/** A page that is open when its order ends: tells so once and politely, keeps the focus, bears failures in between, and is quiet afterwards. */
async function live(browser, spec) {
  const where = { name: 'live', ...spec }, context = await contextOf(browser, where);
  context.removeAllListeners('console'); // failures are told there
  const page = await context.newPage();
  const now = Date.now();
  await page.clock.install({ time: now });
  await page.clock.pauseAt(now + 3_600_000); // ahead: the clock runs until it is paused, which takes long on a busy machine
  await page.goto(address(spec, 'en'));
  let asked = 0;
  page.on('request', () => { asked += 1; });
  const before = await heading(page);
  await page.evaluate(() => {
    globalThis.announced = [];
    for (const region of document.querySelectorAll('[aria-live=polite], [role=status]')) {
      new MutationObserver(() => region.textContent.trim() && globalThis.announced.push(region.textContent.trim()))
        .observe(region, { childList: true, characterData: true, subtree: true });
    }
  });
  await page.locator('a').last().focus();
  await page.route('**', (route) => route.abort(), { times: 1 });
  const first = page.waitForRequest(() => true);
  await page.clock.runFor(POLL_MS[0] - 1);
  if (asked) wrong(where.name, `it looks for news more often than every ${POLL_MS[0]} ms`);
  await page.clock.runFor(POLL_MS[1] - POLL_MS[0] + 1);
  await first;
  await page.route('**', (route) => route.fulfill({ status: 503, body: '<main>down</main>' }), { times: 1 });
  await forward(page, () => asked >= 3); // it goes on after both failures
  if (await heading(page) !== before) wrong(where.name, `after a failure it says “${await heading(page)}”`);
  const settled = await fetch(spec.settle, { method: 'POST', body: JSON.stringify({ status: 'FULFILLED' }) });
  if (!settled.ok) throw new Error(`the sandbox answered ${settled.status}`);
  const hasEnded = async () => await page.locator('main').getAttribute('data-live') === null;
  await forward(page, hasEnded); // on a slow machine the order is parked before: that is news too
  const announced = await page.evaluate(() => globalThis.announced);
  if (!announced) wrong(where.name, 'it was loaded anew');
  else if (announced.at(-1) !== await heading(page) || new Set(announced).size !== announced.length) {
    wrong(where.name, `it announced ${JSON.stringify(announced)}`);
  }
  if (!await page.evaluate(() => document.activeElement?.matches('a'))) wrong(where.name, 'the focus was lost');
  asked = 0;
  await page.clock.runFor(10 * POLL_MS[1]);
  if (asked) wrong(where.name, `it looked for news ${asked} times after the end`);
  await page.screenshot({ path: join(told.out, 'live.png'), fullPage: true });
  await context.close();
}

/** The card, behind a button, with and without JavaScript. */
async function card(browser, spec) {
  for (const javaScriptEnabled of [true, false]) {
    const where = { name: `card${javaScriptEnabled ? '' : ' without JavaScript'}`, ...spec };
    const context = await contextOf(browser, where, { javaScriptEnabled }), page = await context.newPage();
    await page.goto(address(spec, 'ar'));
    if ((await page.content()).includes(spec.code)) wrong(where.name, 'it is in the page before it is asked for');
    await page.getByRole('button').click();
    await page.getByText(spec.code).waitFor();
    await page.screenshot({ path: join(told.out, 'card.png'), fullPage: true });
    if (javaScriptEnabled) await axe(page, where.name);
    await context.close();
  }
}

/** A page from all sides. */
async function all(browser, large, spec) {
  const [context, enlarged] = [await contextOf(browser, spec), await contextOf(large, spec)], texts = [];
  for (const lang of Object.keys(DIRECTIONS)) {
    const plain = await look(context, spec, lang);
    await look(enlarged, spec, lang, plain);
    texts.push(plain.text);
  }
  if (new Set(texts).size !== texts.length) wrong(spec.name, 'it says the same in two languages');
  await keyboard(context, spec);
  await Promise.all([context.close(), enlarged.close()]);
  await withoutScript(browser, spec, texts.at(-1));
}

/** The upper parts of screenshots, side by side. */
async function picture(browser, { path, of }) {
  const page = await browser.newPage({ viewport: { width: of.length * 376 + 16, height: 100 } });
  const style = `body { display: flex; gap: 16px; margin: 16px; background: #888 }
    img { width: 360px; height: 860px; object-fit: cover; object-position: top }`;
  const images = of.map((name) => `<img src="data:image/png;base64,${readFileSync(join(told.out, `${name}.png`)).toString('base64')}">`);
  await page.setContent(`<style>${style}</style>${images.join('')}`);
  await page.screenshot({ path, fullPage: true });
}

/** Starts Chromium with the pinned libraries and fonts. It finds no host but this machine. */
function launch(...more) {
  return chromium.launch({
    executablePath: join(TOOL, 'chromium'),
    chromiumSandbox: false, // it does not start as root with one
    args: ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
      '--font-render-hinting=none', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', ...more],
    env: { ...process.env, LD_LIBRARY_PATH: join(TOOL, 'lib'), FONTCONFIG_FILE: join(TOOL, 'fonts.conf') },
    timeout: PATIENCE,
  });
}

const [browser, large] = await Promise.all([launch(), launch(LARGE)]);
const tasks = [['live', live], ['card', card]].filter(([name]) => told[name]).map(([name, trial]) => [name, () => trial(browser, told[name])]);
tasks.push(...told.pages.map((spec) => [spec.name, () => all(browser, large, spec)]));
await Promise.all(Array.from({ length: SIDE_BY_SIDE }, async () => {
  for (let task = tasks.shift(); task; task = tasks.shift()) await task[1]().catch((error) => wrong(task[0], error));
}));
if (told.picture) await picture(browser, told.picture);
await Promise.all([browser.close(), large.close()]);
console.log(`${told.pages.length} pages in ${Object.keys(DIRECTIONS).length} languages, ${problems} problems`);
process.exit(problems ? 1 : 0);
