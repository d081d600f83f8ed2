// Keeps the open tabs of one browser together. The server stays the judge: this only decides when to ask it again.
"use strict";
(() => {
  const shown = document.body.dataset;
  const notice = document.getElementById("notice");
  const channel = "BroadcastChannel" in window ? new BroadcastChannel("countersign-demo") : null;
  const follows = shown.authn === "session";
  let asking = false;

  const say = (text) => { notice.textContent = text; notice.hidden = !text; };

  // Tells the other tabs what this tab has just been served with.
  const tell = () => {
    if (channel && follows) channel.postMessage({ session: shown.session, platform: shown.platform });
  };

  async function ask() {
    if (asking || !follows) return;
    asking = true;
    try {
      const answer = await fetch("/api/whoami", { headers: { accept: "application/json" }, cache: "no-store" });
      if (answer.ok) {
        const now = await answer.json();
        say("");
        if ((now.session_id ?? "") !== shown.session || (now.platform_id ?? "") !== shown.platform) location.reload();
      } else if (answer.status === 401) {
        // Certainly nobody: let the proxy decide what this page comes to.
        location.reload();
      } else {
        // "Could not find out" is not "logged out": keep the page and say so.
        say("Your session cannot be checked at the moment. You are still logged in as far as anyone knows.");
      }
    } catch {
      say("Countersign cannot be reached at the moment.");
    } finally {
      asking = false;
    }
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
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });
  window.addEventListener("focus", ask);
  window.addEventListener("pageshow", (event) => { if (event.persisted) ask(); });

  // The page after a log-out asks nothing of the session, so it tells the other tabs to look for themselves.
  if (shown.page === "public" && channel) channel.postMessage({ ended: true });
  tell();
})();
