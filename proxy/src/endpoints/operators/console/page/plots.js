// Draws lines over time into an SVG element. Only elements and attributes are made: no markup from text, no inline style.

const SVG = 'http://www.w3.org/2000/svg';
const LEFT = 52, RIGHT = 8, TOP = 8, BOTTOM = 20;
// What is shown grows with what there is, up to a quarter of an hour.
const SPANS = [1, 3, 6, 15].map((minutes) => minutes * 60_000);

const made = (name, attributes, text) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
};

// Steps that a person reads easily: 1, 2 or 5 times a power of ten; on a logarithmic scale the powers themselves.
function marks(low, high, logarithmic) {
  if (logarithmic) {
    const all = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) all.push(10 ** power);
    return all;
  }
  const rough = (high - low) / 4 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const all = [];
  for (let at = 0; at <= high + step / 2; at += step) all.push(at);
  return all;
}

function scale(points, series, options) {
  const values = points.flatMap((point) => series.map(({ of }) => of(point))).filter((value) => value !== null && value !== undefined);
  if (options.logarithmic) {
    const shown = values.filter((value) => value > 0);
    const lowest = Math.min(...shown, 1), highest = Math.max(...shown, 10);
    return { low: 10 ** Math.floor(Math.log10(lowest)), high: 10 ** Math.ceil(Math.log10(highest)) };
  }
  return { low: 0, high: options.high ?? Math.max(...values, options.least ?? 1) };
}

/** Draws `points` (`at` in milliseconds) as `series` of `{name, className, of}`; `show` writes a value for people. */
export function plot(svg, points, series, options) {
  const { width, height } = svg.getBoundingClientRect();
  if (width === 0) return;
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  const end = points.at(-1)?.at ?? 0;
  const span = SPANS.find((wide) => wide >= end - (points[0]?.at ?? end)) ?? SPANS.at(-1);
  const range = scale(points, series, options);
  const ticks = marks(range.low, range.high, options.logarithmic);
  range.high = Math.max(range.high, ticks.at(-1));
  const share = (value) => options.logarithmic
    ? Math.log(Math.max(value, range.low) / range.low) / Math.log(range.high / range.low)
    : value / range.high;
  const x = (at) => LEFT + (1 - (end - at) / span) * (width - LEFT - RIGHT);
  const y = (value) => height - BOTTOM - share(value) * (height - TOP - BOTTOM);

  const parts = [];
  for (const tick of ticks) {
    parts.push(made('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }));
    parts.push(made('text', { x: LEFT - 6, y: y(tick) + 4, 'text-anchor': 'end' }, options.show(tick)));
  }
  for (const part of [3, 2, 1, 0]) {
    const ago = span * part / 3;
    const anchor = part === 3 ? 'start' : part === 0 ? 'end' : 'middle';
    const text = part === 0 ? 'now' : ago < 60_000 ? `−${ago / 1000} s` : `−${ago / 60_000} min`;
    parts.push(made('text', { x: x(end - ago), y: height - 4, 'text-anchor': anchor }, text));
  }
  for (const { className, of } of series) {
    const isGap = (point) => !point || of(point) === null || of(point) === undefined || point.at < end - span;
    let path = '';
    points.forEach((point, at) => {
      if (isGap(point)) return;
      const place = [x(point.at).toFixed(1), y(of(point)).toFixed(1)];
      const [before, after] = [isGap(points[at - 1]), isGap(points[at + 1])];
      // A point between two gaps is a dot.
      if (before && after) parts.push(made('circle', { class: `dot ${className}`, cx: place[0], cy: place[1], r: 3 }));
      path += `${before ? 'M' : 'L'}${place.join(' ')}`;
    });
    parts.push(made('path', { class: `line ${className}`, d: path || 'M0 0' }));
  }
  svg.replaceChildren(...parts);
  tell(svg, points, series, options, x);
}

// The legend shows the newest values, or those under the pointer.
function tell(svg, points, series, options, x) {
  const legend = svg.parentElement.querySelector('.legend');
  const write = (point) => {
    legend.replaceChildren(...series.map(({ name, className, of }) => {
      const entry = document.createElement('span');
      const key = made('svg', { viewBox: '0 0 18 8', 'aria-hidden': 'true' });
      key.append(made('path', { class: `line ${className}`, d: 'M1 4H17' }));
      const value = document.createElement('b');
      const given = point && of(point);
      value.textContent = given === null || given === undefined ? '–' : options.show(given);
      entry.append(key, `${name} `, value);
      return entry;
    }));
  };
  write(points.at(-1));
  svg.setAttribute('role', 'img');
  const said = [...legend.children].map((entry) => entry.textContent.trim()).join(', ');
  svg.setAttribute('aria-label', `${options.title}: ${said}`);
  svg.onpointermove = (event) => {
    const at = event.clientX - svg.getBoundingClientRect().left;
    const nearest = points.reduce((best, point) => Math.abs(x(point.at) - at) < Math.abs(x(best.at) - at) ? point : best, points[0]);
    if (!nearest) return;
    svg.querySelector('.cursor')?.remove();
    const place = x(nearest.at);
    svg.append(made('line', { class: 'cursor', x1: place, x2: place, y1: TOP, y2: svg.getBoundingClientRect().height - BOTTOM }));
    write(nearest);
  };
  svg.onpointerleave = () => { svg.querySelector('.cursor')?.remove(); write(points.at(-1)); };
}
