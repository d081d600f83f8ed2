// The life of sessions as browsers see it, over TLS and HTTP/2: two tabs of which one switches, two tabs with a platform
// of their own each, a session that is ended in another browser, and a log-out everywhere. Ends with an error at the first
// thing that is not as it should be.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';

import { chromium } from 'playwright-core';

const SITE = `https://app.test:${process.env.PORT}`;
const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
assert.ok(executablePath, 'Chromium is not installed');

const chrome = await chromium.launch({
  executablePath,
  headless: false,
  args: [
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--host-resolver-rules=MAP app.test 127.0.0.1',
  ],
});
const step = (text) => console.log(`- ${text}`);

// A browser of its own: cookies of its own.
async function browser() {
  const made = await chrome.newContext({ ignoreHTTPSErrors: true });
  made.setDefaultTimeout(20_000);
  return made;
}

async function logIn(tab, path, name) {
  await tab.goto(`${SITE}${path}`);
  assert.match(tab.url(), /\/login\?return_to=/);
  await tab.locator('input[name=name]').fill(name);
  await tab.locator('input[name=password]').fill('demo');
  await tab.getByRole('button', { name: 'Log in' }).click();
  await listens(tab);
}

const listens = (tab) => tab.locator('#state').getByText('listening').waitFor();
const ended = (tab) => tab.locator('#state').getByText('ended').waitFor();
const works = (tab, platform) => tab.locator('#platform').getByText(platform, { exact: true }).waitFor();
const shown = (tab) => tab.locator('#platform').innerText();

async function another(context, path) {
  const tab = await context.newPage();
  await tab.goto(`${SITE}${path}`);
  await listens(tab);
  return tab;
}

// What a script of the page asks the proxy for, with the anti-forgery token of its session.
const asks = (tab, method, path) => tab.evaluate(async ([method, path]) => {
  const state = await (await fetch('/.countersign/session')).json();
  const answer = await fetch(`/.countersign/${path}`, { method, headers: { 'x-csrf-token': state.csrf_token } });
  return { status: answer.status, body: await answer.json() };
}, [method, path]);

try {
  step('a login over TLS and HTTP/2 sets a cookie that scripts and other hosts cannot reach');
  const ana = await browser();
  const first = await ana.newPage();
  await logIn(first, '/tab', 'ana');
  const protocol = await first.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol);
  assert.equal(protocol, 'h2');
  const cookies = await ana.cookies();
  assert.deepEqual(cookies.map(({ name, secure, httpOnly, sameSite, path }) => ({ name, secure, httpOnly, sameSite, path })), [
    { name: '__Host-session', secure: true, httpOnly: true, sameSite: 'Lax', path: '/' },
  ]);
  assert.equal(await first.evaluate(() => document.cookie), '');

  step('a switch in one tab is followed by the other');
  const second = await another(ana, '/tab');
  assert.deepEqual([await shown(first), await shown(second)], ['11', '11']);
  assert.equal((await asks(second, 'POST', 'platforms/12/switch')).status, 200);
  await works(first, '12');
  await first.reload();
  assert.equal(await shown(first), '12');

  step('two tabs of one session work with two platforms, whatever the session has chosen');
  const [left, right] = [await another(ana, '/p/11/tab'), await another(ana, '/p/12/tab')];
  assert.equal((await asks(left, 'POST', 'platforms/11/switch')).status, 200);
  await works(first, '11');
  for (const [tab, platform] of [[left, '11'], [right, '12'], [left, '11'], [right, '12']]) {
    await tab.reload();
    assert.equal(await shown(tab), platform);
  }
  const foreign = await right.evaluate(async () => (await fetch('/p/21/tab')).status);
  assert.equal(foreign, 403);
  await right.close();

  step('a session is ended in another browser');
  const elsewhere = await browser();
  const there = await elsewhere.newPage();
  await logIn(there, '/tab', 'ana');
  const list = (await asks(there, 'GET', 'sessions')).body.sessions;
  assert.equal(list.length, 2);
  const other = list.find((session) => !session.current);
  assert.equal((await asks(there, 'DELETE', `sessions/${other.id}`)).status, 200);
  for (const tab of [first, second, left]) await ended(tab);
  await first.reload();
  assert.match(first.url(), /\/login\?return_to=/);
  assert.equal(await there.locator('#state').innerText(), 'listening');

  step('logging out everywhere ends every browser of this user and no other');
  const ben = await browser();
  const stranger = await ben.newPage();
  await logIn(stranger, '/tab', 'ben');
  await logIn(first, '/tab', 'ana');
  assert.equal((await asks(there, 'POST', 'logout/everywhere')).status, 200);
  for (const tab of [first, there]) await ended(tab);
  assert.deepEqual(await elsewhere.cookies(), []);
  await stranger.reload();
  await listens(stranger);
  assert.equal(await shown(stranger), '21');
} finally {
  await chrome.close();
}
