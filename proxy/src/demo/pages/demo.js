// Keeps the open tabs of one browser together, and shows settings, figures and sessions. The proxy stays the judge: it
// tells what happened, and this only decides when to ask it again.
"use strict";
(() => {
  const OWN = "/.countersign";
  const shown = document.body.dataset;
  const notice = document.getElementById("notice");
  const channel = "BroadcastChannel" in window ? new BroadcastChannel("countersign-demo") : null;
  const follows = shown.authn === "session";
  let asking = false;
  let leaving = false;
  let csrf = null;

  const say = (text) => { notice.textContent = text; notice.hidden = !text; };
  const part = (id) => document.getElementById(id);
  const moment = (text) => new Date(text).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });

  // ---- The proxy's own endpoints ----

  async function own(path, options = {}) {
    const answer = await fetch(`${OWN}/${path}`, { cache: "no-store", ...options });
    return { ok: answer.ok, status: answer.status, body: await answer.json() };
  }

  // What changes something carries the anti-forgery token of the session; a token that became too old is fetched anew.
  async function change(method, path, document) {
    for (let attempt = 0; ; attempt += 1) {
      if (!csrf || attempt > 0) csrf = (await own("csrf-token")).body.csrf_token ?? null;
      const headers = { "x-csrf-token": csrf ?? "" };
      if (document) headers["content-type"] = "application/json";
      const answer = await own(path, { method, headers, body: document && JSON.stringify(document) });
      if (attempt > 0 || !`${answer.body.code}`.startsWith("csrf_")) return answer;
    }
  }

  // ---- Does this page still show what is true? ----

  // Tells the other tabs what this tab has just been served with.
  const tell = () => {
    if (channel && follows) channel.postMessage({ session: shown.session, platform: shown.platform });
  };

  const again = () => { if (!leaving) location.reload(); };

  async function ask() {
    if (asking || !follows) return;
    asking = true;
    try {
      const answer = await fetch("/api/whoami", { headers: { accept: "application/json" }, cache: "no-store" });
      if (answer.ok) {
        const now = await answer.json();
        say("");
        if ((now.session_id ?? "") !== shown.session || (now.platform_id ?? "") !== shown.platform) again();
        else showSessions();
      } else if (answer.status === 401) {
        // Certainly nobody: let the proxy decide what this page comes to.
        again();
      } else {
        // "Could not find out" is not "logged out": keep the page and say so.
        say("Your session cannot be checked at the moment. You are still logged in as far as anyone knows.");
      }
    } catch {
      if (!leaving) say("Countersign cannot be reached at the moment.");
    } finally {
      asking = false;
    }
  }

  // ---- Settings and figures for the platform in force ----

  const settings = part("settings");

  function fill(values) {
    for (const field of settings.elements) {
      if (!field.name || field === document.activeElement) continue;
      if (field.type === "checkbox") field.checked = Boolean(values[field.name]);
      else field.value = values[field.name] ?? "";
    }
  }

  async function showSettings() {
    if (!settings) return;
    const answer = await own("settings");
    if (!answer.ok) return;
    fill(answer.body.settings);
    settings.hidden = false;
  }

  async function saveSetting(field) {
    const value = field.type === "checkbox" ? field.checked : field.type === "number" ? Number(field.value) : field.value;
    const answer = await change("PATCH", "settings", { [field.name]: value });
    const expected = answer.body.errors?.[0]?.expected;
    part("settings-said").textContent = answer.ok ? "Saved, and told to your other tabs." : `Not saved: ${expected ?? answer.body.title}`;
    field.setAttribute("aria-invalid", String(!answer.ok));
    if (answer.ok) fill(answer.body.settings);
  }

  if (settings) {
    settings.addEventListener("change", (event) => saveSetting(event.target));
    settings.addEventListener("submit", (event) => event.preventDefault());
  }

  async function showFigures() {
    const place = part("figures");
    if (!place) return;
    const answer = await own("stats");
    if (!answer.ok || !answer.body.stats) return;
    place.replaceChildren();
    for (const [name, value] of Object.entries(answer.body.stats)) {
      const term = document.createElement("dt");
      const figure = document.createElement("dd");
      term.textContent = name.replaceAll("_", " ");
      figure.textContent = /_(at|used)$/.test(name) && typeof value === "number" ? moment(value) : `${value ?? "none"}`;
      place.append(term, figure);
    }
    place.closest("section").hidden = false;
  }

  // ---- Sessions ----

  async function showSessions() {
    const place = part("sessions");
    if (!place) return;
    const answer = await own("sessions");
    if (!answer.ok) return;
    place.replaceChildren(...answer.body.sessions.map(line));
    place.closest("section").hidden = false;
  }

  function line(session) {
    const row = document.createElement("tr");
    row.dataset.id = session.id;
    const cell = (text) => { const made = document.createElement("td"); made.append(text); row.append(made); return made; };
    const name = document.createElement("code");
    name.textContent = session.id.slice(0, 10);
    cell(name);
    cell(moment(session.created_at));
    cell(moment(session.last_activity));
    cell(session.platform ?? "default");
    if (session.current) {
      const chip = document.createElement("span");
      chip.className = "chip session";
      chip.textContent = "this one";
      cell(chip);
    } else {
      const end = document.createElement("button");
      end.className = "plain";
      end.textContent = "End";
      end.setAttribute("aria-label", `End session ${session.id.slice(0, 10)}`);
      end.addEventListener("click", async () => {
        end.disabled = true;
        const ended = await change("DELETE", `sessions/${session.id}`);
        say(ended.ok ? "That session has ended, and whoever used it is out." : ended.body.title);
        showSessions();
      });
      cell(end);
    }
    return row;
  }

  part("end-all")?.addEventListener("click", async () => {
    leaving = true;
    const ended = await change("POST", "logout/everywhere");
    if (ended.ok) location.assign("/public");
    else { leaving = false; say(ended.body.title); }
  });

  // ---- What happens ----

  // A page that is being left must not be called back by the end of its own session.
  for (const form of document.forms) if (form !== settings) form.addEventListener("submit", () => { leaving = true; });
  window.addEventListener("pageshow", (event) => { if (event.persisted) { leaving = false; listen(); ask(); } });

  // Over HTTP/1.1 a browser opens six connections to one site, so a tab that nobody sees gives its stream back and goes
  // on later where it stood. The tabs that are seen tell it meanwhile.
  let events = null;
  let last = "";

  function listen() {
    if (!follows || events || document.hidden || !("EventSource" in window)) return;
    events = new EventSource(`${OWN}/events${last && `?last_event_id=${encodeURIComponent(last)}`}`);
    const on = (kind, act) => events.addEventListener(kind, (event) => {
      last = event.lastEventId || last;
      act(JSON.parse(event.data));
    });
    on("hello", () => {});
    on("platform_switched", ask);
    on("settings_changed", showSettings);
    on("sessions_ended", ask);
    on("resync", () => { ask(); showSettings(); });
    on("session_expiring", ({ seconds_left: left }) => say(`Your session ends in ${left} seconds if you do not use it.`));
    on("session_ended", ({ this_session: own }) => {
      if (!own) { showSessions(); return; }
      hush();
      channel?.postMessage({ ended: true });
      if (!leaving) sessionStorage.setItem("said", "This session was ended.");
      again();
    });
  }

  function hush() {
    events?.close();
    events = null;
  }

  if (channel) {
    channel.onmessage = ({ data }) => {
      if (data?.ended && follows) ask();
      else if (follows && (data?.session !== shown.session || data?.platform !== shown.platform)) ask();
      else if (shown.page === "login" && data?.session) {
        const goal = document.querySelector("input[name=return_to]");
        location.assign(goal ? goal.value : "/");
      }
    };
  }
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) hush();
    else { listen(); ask(); }
  });
  window.addEventListener("pagehide", hush);
  window.addEventListener("focus", ask);

  say(sessionStorage.getItem("said") ?? "");
  sessionStorage.removeItem("said");
  if (follows) {
    listen();
    showSettings();
    showFigures();
    showSessions();
  }
  // The page after a log-out asks nothing of the session, so it tells the other tabs to look for themselves.
  if (shown.page === "public" && channel) channel.postMessage({ ended: true });
  tell();
})();
