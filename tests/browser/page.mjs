// The page for operators as a person sees it: log in, look at figures and plots, break the configuration and be told, log
// out. Ends with an error at the first thing that is not as it should be; leaves screenshots to look at.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

const { ADMIN, CONFIG, PROFILE, SCREENSHOTS, TOKEN } = process.env;
const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
assert.ok(executablePath, 'Chromium is not installed');

const browser = await chromium.launchPersistentContext(PROFILE, {
  executablePath,
  headless: false,
  args: [
    '--headless=new', '--hide-scrollbars', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
  ],
  viewport: { width: 1360, height: 900 },
  colorScheme: 'light',
});
browser.setDefaultTimeout(20_000);

const page = await browser.newPage();
const faults = [];
const elsewhere = [];
page.on('pageerror', (error) => faults.push(`${error}`));
page.on('console', (message) => {
  if (message.type() === 'error' && !/status of (401|403|409)/.test(message.text())) faults.push(message.text());
});
page.on('request', (request) => { if (!request.url().startsWith(ADMIN)) elsewhere.push(request.url()); });
const shoot = (name) => page.screenshot({ path: join(SCREENSHOTS, `page-${name}.png`), fullPage: true });
const step = (text) => console.log(`- ${text}`);

try {
  step('without a login the page leads to it');
  await page.goto(`${ADMIN}/`);
  await page.waitForURL(`${ADMIN}/login`);
  await shoot('1-login');
  await page.getByLabel('Admin token').fill('certainly not the token');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('alert').waitFor();
  await page.getByLabel('Admin token').fill(TOKEN);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.waitForURL(`${ADMIN}/`);

  step('the figures are there');
  await page.locator('#phase').getByText('serving').waitFor();
  await page.locator('#routes').getByText('/session/').first().waitFor();
  await page.locator('#recent').getByText('no_cookie').waitFor();
  await page.locator('#recent').getByText('no_route').waitFor();
  await page.locator('#stores').getByText('answers').first().waitFor();
  await page.locator('#latency[aria-label*="p99"]').waitFor();
  await page.locator('#latency path.line.three').waitFor({ state: 'attached' });
  const tiles = await page.locator('#tiles').innerText();
  assert.match(tiles, /1, 0\s+sessions started, ended/);
  assert.match(await page.locator('#latency').getAttribute('aria-label'), /p50 .* p90 .* p99/);

  step('the cookie is out of reach of scripts, and nothing inside the page runs');
  assert.equal(await page.evaluate(() => document.cookie), '');
  const cookies = await browser.cookies(ADMIN);
  assert.deepEqual(cookies.map(({ httpOnly, sameSite }) => [httpOnly, sameSite]), [[true, 'Strict']]);
  const ran = await page.evaluate(() => {
    const script = document.createElement('script');
    try { script.textContent = 'window.ran = true'; document.body.append(script); } catch { /* trusted types */ }
    return window.ran === true;
  });
  assert.equal(ran, false);
  faults.length = 0; // what was just tried is reported there
  await shoot('2-light');

  step('a configuration that is refused is told');
  const good = readFileSync(CONFIG, 'utf8');
  writeFileSync(CONFIG, good.replace('path = "/public/"', 'paht = "/public/"'));
  await page.getByRole('button', { name: 'Read the configuration again' }).click();
  await page.getByText('did you mean `path`?').waitFor();
  await page.getByText('number 1 stays in force').waitFor();
  await page.emulateMedia({ colorScheme: 'dark' });
  await shoot('3-refused-dark');
  writeFileSync(CONFIG, good);
  await page.getByRole('button', { name: 'Read the configuration again' }).click();
  await page.locator('#refused').waitFor({ state: 'hidden' });

  step('a narrow screen shows the same');
  await page.setViewportSize({ width: 390, height: 844 });
  await shoot('4-narrow');
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(overflow <= 0, `the page is ${overflow} pixels too wide`);
  await page.setViewportSize({ width: 1360, height: 900 });

  step('after the log-out nothing is shown');
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.waitForURL(`${ADMIN}/login`);
  assert.deepEqual(await browser.cookies(ADMIN), []);
  await page.goto(`${ADMIN}/`);
  await page.waitForURL(`${ADMIN}/login`);

  assert.deepEqual(faults, []);
  assert.deepEqual(elsewhere, []);
} catch (error) {
  await shoot('failure');
  console.log(page.url(), faults);
  throw error;
} finally {
  await browser.close();
}
