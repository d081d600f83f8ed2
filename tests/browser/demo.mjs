// The demo as a person sees it: log in, look at the context, switch the platform in one tab and see the other follow,
// change settings, end another browser's session, log out everywhere. Ends with an error at the first thing that is not
// as it should be; leaves screenshots to look at.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

const { DEMO, SCREENSHOTS } = process.env;
const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);
assert.ok(executablePath, 'Chromium is not installed');

const chrome = await chromium.launch({
  executablePath,
  headless: false,
  args: [
    '--headless=new', '--hide-scrollbars', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
  ],
});
const viewport = { width: 1280, height: 900 };
const browser = await chrome.newContext({ viewport });
browser.setDefaultTimeout(20_000);

const page = await browser.newPage();
const faults = [];
const watch = (tab) => {
  tab.on('pageerror', (error) => faults.push(`${error}`));
  tab.on('console', (message) => {
    if (message.type() === 'error' && !/status of (401|403|422)/.test(message.text())) faults.push(message.text());
  });
};
watch(page);
const shoot = (tab, name) => tab.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true });
const step = (text) => console.log(`- ${text}`);
const logIn = async (tab, name) => {
  await tab.getByLabel('User name').fill(name);
  await tab.getByLabel('Password').fill('demo');
  await tab.getByRole('button', { name: 'Log in' }).click();
};
const main = (tab) => tab.locator('main');

try {
  step('a visitor is sent to the login page and back');
  await page.goto(`${DEMO}/account`);
  assert.match(page.url(), /\/login\?return_to=/);
  await shoot(page, '1-login');
  await page.getByLabel('User name').fill('ana');
  await page.getByLabel('Password').fill('wrong');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('alert').waitFor();
  await shoot(page, '2-wrong-password');
  await page.getByLabel('User name').fill('ana');
  await page.getByLabel('Password').fill('demo');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.waitForURL(`${DEMO}/account`);

  step('the context is shown and its signature verified');
  await page.getByText('Signature verified').waitFor();
  await page.goto(`${DEMO}/`);
  await page.getByText('Signature verified').waitFor();
  assert.match(await main(page).innerText(), /Ana/);
  assert.match(await main(page).innerText(), /Lichtbild/);
  await shoot(page, '3-home');
  await page.emulateMedia({ colorScheme: 'dark' });
  await shoot(page, '3a-home-dark');
  await page.emulateMedia({ colorScheme: 'light' });

  step('the cookie is out of reach of scripts');
  assert.equal(await page.evaluate(() => document.cookie), '');
  const cookies = await browser.cookies(DEMO);
  assert.equal(cookies.length, 1);
  assert.equal(cookies[0].httpOnly, true);
  assert.equal(cookies[0].sameSite, 'Lax');

  step('a switch in one tab is followed by the other');
  const second = await browser.newPage();
  watch(second);
  await second.goto(`${DEMO}/`);
  await second.getByRole('button', { name: /Town Square/ }).click();
  await second.locator('.intro').getByText('Town Square').waitFor();
  await page.locator('.intro').getByText('Town Square').waitFor();
  await shoot(page, '4-the-first-tab-follows');

  step('a setting that is changed in one tab is seen in the other, and one beyond the limits is refused');
  await second.getByLabel('Posts per run').fill('20');
  await second.getByLabel('Posts per run').blur();
  await second.getByText('Saved, and told to your other tabs').waitFor();
  await page.waitForFunction(() => document.querySelector('#max-posts').value === '20');
  await second.getByLabel('Posts per run').fill('5000');
  await second.getByLabel('Posts per run').blur();
  await second.getByText(/^Not saved:/).waitFor();
  await page.locator('#figures').getByText('sessions').waitFor();
  await shoot(second, '4a-settings');

  step('another browser\'s session is ended from the list, and drops out at once');
  // Another context: cookies and channels of its own, as on another machine.
  const elsewhere = await chrome.newContext({ viewport });
  elsewhere.setDefaultTimeout(20_000);
  const other = await elsewhere.newPage();
  await other.goto(`${DEMO}/account`);
  await logIn(other, 'ana');
  await other.getByText('this one').waitFor();
  assert.equal(await other.locator('#sessions tr').count(), 2);
  await shoot(other, '4b-sessions');
  await page.goto(`${DEMO}/account`);
  await page.getByRole('button', { name: /^End session/ }).click();
  await page.getByText('That session has ended').waitFor();
  await other.waitForURL(/\/login\?return_to=(%2F|\/)account/);
  await other.getByText('This session was ended.').waitFor();
  await shoot(other, '4c-dropped-out');
  await page.waitForFunction(() => document.querySelectorAll('#sessions tr').length === 1);

  step('logging out everywhere ends both');
  await logIn(other, 'ana');
  await other.getByText('this one').waitFor();
  await other.getByRole('button', { name: 'Log out everywhere' }).click();
  await other.waitForURL(`${DEMO}/public`);
  await page.waitForURL(/\/login/);
  await second.waitForURL(/\/login/);
  await elsewhere.close();
  await logIn(page, 'ana');
  await page.getByText('Signature verified').waitFor();
  await page.goto(`${DEMO}/`);

  step('the administration is open to an administrator');
  await second.goto(`${DEMO}/admin/`);
  await second.getByRole('heading', { name: 'Administration' }).waitFor();
  await shoot(second, '5-admin');
  await second.goto(`${DEMO}/`);

  step('a narrow screen shows the same');
  await page.setViewportSize({ width: 390, height: 844 });
  await shoot(page, '6-narrow');
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(overflow <= 0, `the page is ${overflow} pixels too wide`);
  await page.setViewportSize({ width: 1280, height: 900 });

  step('after the log-out both tabs are outside');
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.waitForURL(`${DEMO}/public`);
  await shoot(page, '7-logged-out');
  await second.waitForURL(/\/login/);
  assert.deepEqual(await browser.cookies(DEMO), []);
  await page.goto(`${DEMO}/`);
  assert.match(page.url(), /\/login/);

  step('somebody without a platform is sent to choose one');
  await page.getByLabel('User name').fill('cho');
  await page.getByLabel('Password').fill('demo');
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('heading', { name: 'No platform yet' }).waitFor();
  await shoot(page, '8-no-platform');

  assert.deepEqual(faults, []);
} catch (error) {
  await shoot(page, 'failure');
  console.log(page.url());
  throw error;
} finally {
  await chrome.close();
}
