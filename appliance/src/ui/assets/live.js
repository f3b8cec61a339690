// Keeps the page as fresh as the server's: on news it fetches itself and swaps the main part.
// Without this script a reload shows the same.
"use strict";
(() => {
  const PAUSE = 500;
  const state = document.getElementById("live-state");
  let wanted = false;
  let busy = false;

  const refresh = async () => {
    if (busy) { wanted = true; return; }
    busy = true;
    wanted = false;
    try {
      const answer = await fetch(location.pathname, { cache: "no-store" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("live");
      if (fresh) document.getElementById("live").replaceWith(fresh);
    } catch { /* the event stream tells that the server is away */ }
    setTimeout(() => { busy = false; if (wanted) refresh(); }, PAUSE);
  };

  const events = new EventSource("/api/v1/events");
  events.onopen = () => { state.textContent = "live"; };
  events.onerror = () => { state.textContent = "the appliance does not answer; trying again"; };
  events.addEventListener("machine", refresh);
  events.addEventListener("status", refresh);
})();
