// Asks for the overview every few seconds and shows it. All text goes in as text, never as markup.

import { plot } from '/plots.js';

const EVERY = 3000;
const find = (id) => document.getElementById(id);
const count = (value) => Math.round(value ?? 0).toLocaleString('en');
const percent = (share) => share === null || share === undefined ? '–' : `${(share * 100).toFixed(share > 0.999 && share < 1 ? 2 : 1).replace(/\.0$/, '')} %`;
const rate = (value) => value >= 100 ? count(value) : `${Number(value.toPrecision(2))}`;
const millis = (value) => {
  if (value === null || value === undefined) return '–';
  if (value < 1) return `${Number((value * 1000).toPrecision(3))} µs`;
  return value < 1000 ? `${Number(value.toPrecision(3))} ms` : `${Number((value / 1000).toPrecision(3))} s`;
};
const moment = (text) => new Date(text).toLocaleTimeString('en-GB');
const since = (text, now) => {
  const seconds = Math.max(0, (new Date(now) - new Date(text)) / 1000);
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
};

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children.map((child) => child instanceof Node ? child : `${child ?? '–'}`));
  return made;
}
const chip = (text, kind = '') => element('span', `chip ${kind}`, text);

// `columns` are [heading, class of the cell, how a row fills it].
function table(id, rows, columns, nothing) {
  const head = element('tr', '', ...columns.map(([heading, className]) => element('th', className === 'number' ? className : '', heading)));
  const body = rows.map((row) => element('tr', '', ...columns.map(([, className, cell]) => element('td', className, cell(row)))));
  if (rows.length === 0) {
    find(id).replaceChildren(element('tbody', '', element('tr', '', element('td', 'quiet', nothing))));
  } else {
    find(id).replaceChildren(element('thead', '', head), element('tbody', '', ...body));
  }
}

function tile(title, value, kind = '') {
  return element('div', `tile ${kind}`, element('b', '', value), element('span', '', title));
}

function tiles({ status, history }) {
  const last = history.at(-1);
  const requests = last ? last.forwarded + last.answered + last.refused + last.failed : 0;
  const { cache, sessions } = status;
  const lease = cache.lease_age_seconds;
  const stale = lease === null ? 'bad' : lease > cache.max_staleness_seconds ? 'warn' : '';
  find('tiles').replaceChildren(
    tile('requests per second', rate(requests)),
    tile('p99 of the last minute', millis(status.latency_milliseconds.p99)),
    tile('requests under way', count(status.requests_in_flight)),
    tile('contexts found in the process', percent(cache.hit_rate)),
    tile('age of the lease', lease === null ? 'none' : millis(lease * 1000), stale),
    tile('keys waiting for the directory', count(status.loader_waiting_keys), status.loader_waiting_keys > 0 ? 'warn' : ''),
    tile('sessions started, ended', `${count(sessions.started)}, ${count(sessions.ended)}`),
    tile('open connections', count(status.connections_open)),
  );
}

function head({ status }) {
  const { configuration } = status;
  const kind = { serving: 'good', starting: 'warn', draining: 'warn' }[status.phase];
  find('phase').className = `chip ${kind}`;
  find('phase').textContent = status.phase;
  find('facts').textContent = `${status.version}, up ${since(status.started, status.at)}, `
    + `configuration ${configuration.generation} for ${since(configuration.in_force_since, status.at)}`;
  find('refused').hidden = configuration.last_read !== 'refused';
  find('refused-title').textContent = `The newest configuration was refused at ${moment(configuration.last_read_at)}; `
    + `number ${configuration.generation} stays in force.`;
  find('refused-error').textContent = configuration.error ?? '';
  document.title = `${configuration.last_read === 'refused' ? '⚠ ' : ''}Countersign, ${status.phase}`;
}

function plots({ history }) {
  const series = (...all) => all.map(([name, of], at) => ({ name, of, className: ['one', 'two', 'three', 'four'][at] }));
  const number = (value) => value >= 10 ? count(value) : `${Number(value.toPrecision(2))}`;
  plot(find('latency'), history, series(['p50', (point) => point.p50], ['p90', (point) => point.p90], ['p99', (point) => point.p99]),
    { title: 'Latency', show: millis, logarithmic: true });
  plot(find('traffic'), history, series(['forwarded', (point) => point.forwarded], ['answered here', (point) => point.answered],
    ['refused', (point) => point.refused], ['failed', (point) => point.failed]), { title: 'Requests per second', show: number });
  plot(find('hits'), history, series(['found', (point) => point.hit_rate]), { title: 'Contexts found in the process', show: percent, high: 1 });
  plot(find('waiting'), history, series(['requests', (point) => point.in_flight], ['keys for the directory', (point) => point.waiting]),
    { title: 'Under way', show: number, least: 4 });
}

function neighbours({ status }) {
  const row = (name) => ({ name, ...status[name], breaker: status.breakers[name] });
  // The embedded directory has nobody else who could change it.
  const deaf = !status.directory_listening && !status.directory.says.startsWith('SQLite');
  table('stores', [row('store'), row('directory')], [
    ['', 'whole', ({ name }) => name],
    ['', 'whole', ({ reachable }) => chip(reachable ? 'answers' : 'away', reachable ? 'good' : 'bad')],
    ['Breaker', 'whole', ({ breaker }) => breaker ? chip(breaker.replace('_', ' '), breaker === 'closed' ? 'good' : 'bad') : '–'],
    ['', 'quiet', ({ says, name }) => name === 'directory' && deaf ? `${says}; changes are not heard of` : says],
  ]);
  const layers = ['process', 'store', 'directory'].filter((name) => status.lookups[name]);
  const of = (result) => (name) => count(status.lookups[name][result]);
  table('lookups', layers, [
    ['Layer', 'whole', (name) => name], ['Found', 'number', of('found')], ['Missing', 'number', of('missing')],
    ['Failed', 'number', of('failed')], ['Unreadable', 'number', of('unreadable')],
  ], 'none yet');
  const events = Object.entries({ started: 0, rotated: 0, ended: 0, ...status.sessions });
  table('sessions', events, [['', '', ([name]) => name], ['', 'number', ([, value]) => count(value)]], 'none yet');
}

function traffic({ routes, upstreams, reasons, recent }) {
  const requires = (route) => [route.requires, route.platform ? 'platform' : '', ...route.roles.map((role) => `role ${role}`),
    route.recent_login_seconds ? `login within ${route.recent_login_seconds} s` : ''].filter(Boolean).join(', ');
  const of = (outcome) => (route) => count(route.requests[outcome]);
  table('routes', routes, [
    ['Route', '', (route) => route.name],
    ['Leads to', 'whole', (route) => route.upstream],
    ['Requires', '', requires],
    ['Forwarded', 'number', of('forwarded')], ['Refused', 'number', of('refused')], ['Failed', 'number', of('failed')],
    ['p50', 'number', (route) => millis(route.latency.p50)], ['p99', 'number', (route) => millis(route.latency.p99)],
  ], 'no routes');
  table('upstreams', upstreams, [
    ['', '', ({ name }) => name],
    ['Servers', 'number', ({ servers, healthy }) => {
      if (healthy === null) return count(servers);
      return chip(`${healthy} of ${servers} healthy`, healthy === servers ? 'good' : healthy > 0 ? 'warn' : 'bad');
    }],
    ['Errors', 'number', ({ errors }) => count(errors)],
  ], 'no upstreams');
  table('reasons', reasons, [['Reason', 'mono', ({ code }) => code], ['Count', 'number', (cause) => count(cause.count)]], 'none yet');
  table('recent', recent, [
    ['At', 'whole', ({ at }) => moment(at)],
    ['', 'whole', ({ status }) => chip(status, status >= 500 ? 'bad' : '')],
    ['Reason', 'mono', ({ code }) => code],
    ['Route', '', ({ route }) => route],
    ['Request', 'mono', ({ request_id }) => request_id],
  ], 'none yet');
}

function trouble(text) {
  find('trouble').hidden = !text;
  find('trouble').textContent = text ?? '';
}

let shown = null;
async function refresh() {
  try {
    const answer = await fetch('/v1/overview', { headers: { accept: 'application/json' } });
    if (answer.status === 401) {
      location.replace('/login');
      return;
    }
    const body = await answer.json();
    if (!answer.ok) {
      trouble(`${body.title}: ${body.next}.`);
    } else {
      shown = body;
      for (const part of [head, tiles, plots, neighbours, traffic]) part(shown);
      trouble(null);
    }
  } catch {
    trouble('The proxy does not answer. What is shown here is how it was.');
  }
  setTimeout(refresh, EVERY);
}

find('reload').addEventListener('click', async () => {
  const button = find('reload');
  button.disabled = true;
  try {
    const answer = await fetch('/v1/reload', { method: 'POST' });
    if (answer.status === 401) location.replace('/login');
    const report = await answer.json();
    find('told').textContent = report.result === 'applied' ? `Configuration ${report.generation} is in force.`
      : report.result === 'refused' ? 'The configuration was refused.' : 'Nothing can be read again here.';
    find('told').hidden = false;
  } catch {
    trouble('The proxy does not answer.');
  }
  button.disabled = false;
});

addEventListener('resize', () => shown && plots(shown));
refresh();
