/* What the console does where scripts run; without it every page can be read and every form sent.

   A page with [data-live] is told of changes by server-sent events and asks for its part anew; behind
   that it asks every 15 s by itself. Hidden, it is silent. How old the data are is counted by the
   server's clock: this machine's may be wrong. A form that was sent is not sent again by a second click. */
"use strict";
(() => {
  const POLL_MS = 15000;
  /* Twice a second, so that what stands there is never a second off. */
  const PAINT_MS = 500;
  const live = () => document.querySelector("[data-live]");
  let source = null;
  let poll = null;
  /* What does not come: news of changes, or the part itself. Either may work while the other fails. */
  const lost = { news: false, part: false };
  /* The server's clock minus ours, ms. */
  let ahead = 0;
  let asOf = 0;
  /* The part is asked for one at a time; what is told meanwhile is asked for afterwards. */
  let asking = false;
  let again = false;

  function take(asOfMs, nowMs, lateMs = 0) {
    if (nowMs) { ahead = nowMs - (Date.now() - lateMs); }
    if (asOfMs >= asOf) { asOf = asOfMs; }
  }

  function paintAge() {
    const age = document.querySelector("[data-age]");
    if (!age) { return; }
    const text = age.querySelector("[data-ago-text]");
    const time = age.querySelector("time");
    const seconds = Math.max(0, Math.round((Date.now() + ahead - asOf) / 1000));
    const isLost = lost.news || lost.part;
    const isOld = seconds > Number(age.dataset.amber);
    age.classList.toggle("red", isLost);
    age.classList.toggle("amber", !isLost && (!asOf || isOld));
    if (!asOf) { return; }
    let said = age.dataset.ago.replace("#", String(seconds));
    if (isLost) { said += " " + age.dataset.lost; } else if (isOld) { said += " " + age.dataset.stale; }
    if (text.textContent !== said) { text.textContent = said; }
    if (time) {
      const iso = new Date(asOf).toISOString();
      if (time.getAttribute("datetime") !== iso) {
        time.setAttribute("datetime", iso);
        time.textContent = new Date(asOf).toLocaleString("sv-SE", { timeZone: document.body.dataset.zone });
      }
    }
  }

  function readAge(lateMs = 0) {
    const age = document.querySelector("[data-age]");
    if (age) { take(Number(age.dataset.asOf), Number(age.dataset.now), lateMs); }
  }

  /* How long ago the page arrived: it says what time it was when it left the server. */
  function sinceArrivalMs() {
    const [came] = performance.getEntriesByType("navigation");
    return came ? Math.max(0, performance.now() - came.responseStart) : 0;
  }

  function paintCounts() {
    for (const each of document.querySelectorAll("[data-until]")) {
      const left = Math.max(0, Math.floor((Number(each.dataset.until) - Date.now() - ahead) / 1000));
      each.textContent = Math.floor(left / 60) + ":" + String(left % 60).padStart(2, "0");
    }
  }

  function bring() {
    const part = live();
    if (!part || document.hidden) { return; }
    if (asking) { again = true; return; }
    asking = true;
    again = false;
    htmx.ajax("GET", part.dataset.part, { target: part, swap: "innerHTML" }).catch(() => setLost("part", true)).finally(() => {
      asking = false;
      if (again) { bring(); }
    });
  }

  function setLost(what, is) { lost[what] = is; paintAge(); }

  function open() {
    const part = live();
    if (!part || source || document.hidden) { return; }
    let mark = null;
    source = new EventSource(part.dataset.live);
    source.addEventListener("open", () => setLost("news", false));
    source.addEventListener("error", () => setLost("news", true));
    source.addEventListener("full", () => { source.close(); });
    source.addEventListener("changed", (event) => {
      if (event.data !== mark) { mark = event.data; bring(); }
    });
    source.addEventListener("age", (event) => {
      const [asOfMs, nowMs] = event.data.split(" ").map(Number);
      take(asOfMs, nowMs);
      setLost("news", false);
    });
    poll = setInterval(bring, POLL_MS);
  }

  function close() {
    if (source) { source.close(); source = null; }
    if (poll) { clearInterval(poll); poll = null; }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { close(); } else { open(); bring(); }
  });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("button[disabled]")) { button.disabled = false; }
    open();
  });
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (event.target.method === "post" && button) { setTimeout(() => { button.disabled = true; }, 0); }
  });
  document.addEventListener("DOMContentLoaded", () => {
    /* Not `afterOnLoad`: htmx says that of an answer that is an error too. */
    document.body.addEventListener("htmx:afterSwap", () => { readAge(); setLost("part", false); setLost("news", false); });
    document.body.addEventListener("htmx:sendError", () => setLost("part", true));
    document.body.addEventListener("htmx:responseError", (event) => {
      if (event.detail.xhr.status === 401) { location.assign("/sign-in"); } else { setLost("part", true); }
    });
    const paint = () => { paintAge(); paintCounts(); };
    readAge(sinceArrivalMs());
    open();
    paint();
    setInterval(paint, PAINT_MS);
  });
})();
