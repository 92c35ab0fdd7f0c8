// What every page has: theme, palette, shortcuts, copy buttons, dialogs, menus, tabs, counters. No page needs it to be read.
const $ = (s, el = document) => el.querySelector(s);
const $$ = (s, el = document) => [...el.querySelectorAll(s)];

// ---- theme: the server reads the cookie and draws the page in it, so that nothing flashes
for (const b of $$("[data-theme-set]")) b.addEventListener("click", () => {
  const to = b.dataset.themeSet;
  if (to === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = to;
  document.cookie = `theme=${to}; path=/ui; max-age=${to === "auto" ? 0 : 31536000}; samesite=strict`;
  for (const o of $$("[data-theme-set]")) o.setAttribute("aria-pressed", String(o === b));
});

// ---- toast: one at a time, read out
export function toast(text) {
  $(".toast")?.remove();
  const t = Object.assign(document.createElement("div"), { className: "toast", role: "status", textContent: text });
  document.body.append(t);
  setTimeout(() => t.remove(), 2400);
}

// ---- copy
document.addEventListener("click", async (ev) => {
  const b = ev.target.closest("[data-copy], [data-copy-from]");
  if (!b) return;
  const text = b.dataset.copy ?? $(b.dataset.copyFrom).textContent;
  try { await navigator.clipboard.writeText(text); toast("Copied"); } catch { toast("The browser refused to copy"); }
});

// ---- dialogs: [data-open="#id"] opens, [data-close] closes; a click on the backdrop closes
document.addEventListener("click", (ev) => {
  const open = ev.target.closest("[data-open]");
  if (open) {
    const d = $(open.dataset.open);
    for (const [k, v] of Object.entries(open.dataset)) if (k.startsWith("fill")) for (const el of $$(`[data-slot="${k.slice(4).toLowerCase()}"]`, d)) el.textContent = v;
    d.showModal();
    d.dispatchEvent(new CustomEvent("opened"));
  }
  if (ev.target.closest("[data-close]")) ev.target.closest("dialog").close();
  if (ev.target instanceof HTMLDialogElement) ev.target.close();
});

// ---- menus: popovers put under their button
document.addEventListener("toggle", (ev) => {
  const m = ev.target;
  if (!m.classList?.contains("menu") || ev.newState !== "open") return;
  const at = $(`[popovertarget="${m.id}"]`).getBoundingClientRect();
  m.style.position = "fixed"; m.style.inset = "auto";
  m.style.top = `${Math.min(at.bottom, innerHeight - m.offsetHeight - 12)}px`;
  m.style.left = `${Math.max(8, Math.min(at.right - m.offsetWidth, innerWidth - m.offsetWidth - 8))}px`;
}, true);

// ---- segmented controls that act on the page, and tabs
document.addEventListener("click", (ev) => {
  const b = ev.target.closest(".seg > button");
  if (b) {
    for (const o of b.parentElement.children) o.setAttribute("aria-pressed", String(o === b));
    b.dispatchEvent(new CustomEvent("choose", { bubbles: true, detail: b.dataset.v }));
  }
});
for (const list of $$("[role=tablist]")) {
  const tabs = $$("[role=tab]", list);
  const pick = (t, focus) => {
    for (const o of tabs) {
      const on = o === t;
      o.setAttribute("aria-selected", String(on)); o.tabIndex = on ? 0 : -1;
      document.getElementById(o.getAttribute("aria-controls")).hidden = !on;
    }
    if (focus) t.focus();
  };
  list.addEventListener("click", (ev) => { const t = ev.target.closest("[role=tab]"); if (t) pick(t); });
  list.addEventListener("keydown", (ev) => {
    const k = tabs.indexOf(document.activeElement), step = { ArrowRight: 1, ArrowLeft: -1 }[ev.key];
    if (k >= 0 && step) { ev.preventDefault(); pick(tabs[(k + step + tabs.length) % tabs.length], true); }
  });
}

// ---- counters: text that ages or counts down; the server's number is right when the page arrives
setInterval(() => {
  for (const el of $$("[data-ago]")) { const s = ++el.dataset.ago; el.textContent = s < 60 ? `${s} s` : `${Math.floor(s / 60)} min`; if (el.closest(".upd") && s >= 10) el.dataset.ago = 0; }
  for (const el of $$("[data-countdown]")) { const s = Math.max(0, --el.dataset.countdown); el.textContent = s; }
}, 1000);

// ---- forms: while the answer is awaited, the page and the pressed button are busy, and a second press sends nothing
const BUSY_MS = 10_000;
function idle(form) {
  form.removeAttribute("aria-busy");
  for (const b of $$("button[aria-busy]", form)) b.removeAttribute("aria-busy");
  delete document.documentElement.dataset.busy;
}
document.addEventListener("submit", (ev) => {
  const form = ev.target;
  if (ev.defaultPrevented) return;   // a script of the page sends it
  if (form.hasAttribute("aria-busy")) { ev.preventDefault(); return; }
  for (const el of [form, ev.submitter]) el?.setAttribute("aria-busy", "true");
  document.documentElement.dataset.busy = "";
  // The reader may have stopped the loading, or come back to the page as it was.
  setTimeout(idle, BUSY_MS, form);
  addEventListener("pageshow", () => idle(form), { once: true });
});

// ---- rows that are links: click anywhere; j and k move, Enter opens
document.addEventListener("click", (ev) => {
  const tr = ev.target.closest("tr.go");
  if (tr && !ev.target.closest("a, button, input, label, summary") && !getSelection().toString()) $("a", tr)?.click();
});
function moveRow(step) {
  const rows = $$("tr.go").filter((r) => r.offsetParent);
  const at = rows.findIndex((r) => r.contains(document.activeElement));
  const to = rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + step))];
  $("a", to ?? document)?.focus();
  to?.scrollIntoView({ block: "nearest" });
}

// ---- palette
const GOTO = $$("#pages > li").map((li) => ({ g: "Go to", n: li.textContent, u: li.dataset.u, k: `g ${li.dataset.k}` }));
const ITEMS = [...GOTO, { g: "Do", n: "Keyboard shortcuts", help: true, k: "?" }];
let found = [];
let asked = 0;
// There can be many models, providers and projects, so the server searches for them.
async function lookFor(q, draw) {
  const mine = ++asked;
  if (q.length < 2) { found = []; return; }
  await new Promise((done) => setTimeout(done, 120));
  if (mine !== asked) return;
  try {
    const answer = await fetch(`/ui/find?q=${encodeURIComponent(q)}`, { headers: { accept: "application/json" } });
    if (answer.ok && mine === asked) { found = await answer.json(); draw(); }
  } catch { /* what the page itself knows stays */ }
}
const palette = $("#palette");   // the server draws both dialogs; where there are none (login) nothing opens them
function openPalette() {
  if (!palette) return;
  if (!palette.draw) {
    const input = $("input", palette), list = $("ul", palette);
    let hits = [], at = 0;
    const draw = () => {
      const q = input.value.trim().toLowerCase();
      hits = [...ITEMS.filter((x) => x.n.toLowerCase().includes(q)), ...(q ? found : [])].slice(0, 40);
      if (/^req_|^[0-9a-f]{12,}/.test(q)) hits.unshift({ g: "Request", n: input.value.trim(), u: `/ui/requests/${encodeURIComponent(input.value.trim())}` });
      list.replaceChildren();
      let g = "";
      hits.forEach((x, k) => {
        if (x.g !== g) { g = x.g; list.append(Object.assign(document.createElement("li"), { className: "grp", role: "presentation", textContent: g })); }
        const li = Object.assign(document.createElement("li"), { role: "option", id: `pl${k}`, textContent: x.n });
        li.setAttribute("aria-selected", String(k === at));
        if (x.k) li.append(Object.assign(document.createElement("span"), { className: "k", textContent: x.k }));
        li.addEventListener("click", () => go(x));
        list.append(li);
      });
      if (!hits.length) list.append(Object.assign(document.createElement("li"), { className: "grp", textContent: "Nothing by that name. A request id starts with req_." }));
      input.setAttribute("aria-activedescendant", hits.length ? `pl${at}` : "");
      $(`#pl${at}`, list)?.scrollIntoView({ block: "nearest" });
    };
    const go = (x) => { palette.close(); if (x.help) help(); else location.href = x.u; };
    input.addEventListener("input", () => { at = 0; draw(); lookFor(input.value.trim().toLowerCase(), draw); });
    input.addEventListener("keydown", (ev) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[ev.key];
      if (step) { ev.preventDefault(); at = (at + step + hits.length) % Math.max(1, hits.length); draw(); }
      if (ev.key === "Enter" && hits[at]) { ev.preventDefault(); go(hits[at]); }
    });
    palette.draw = () => { input.value = ""; at = 0; found = []; draw(); };
  }
  palette.draw(); palette.showModal();
}
for (const b of $$("[data-palette]")) b.addEventListener("click", openPalette);

const help = () => $("#help")?.showModal();

// ---- shortcuts: never while typing
let pending = 0;
document.addEventListener("keydown", (ev) => {
  if ((ev.metaKey || ev.ctrlKey) && ev.key.toLowerCase() === "k") { ev.preventDefault(); openPalette(); return; }
  const typing = ev.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
  if (typing) { if (ev.key === "Escape" && !ev.target.closest("dialog")) ev.target.blur(); return; }
  if (ev.metaKey || ev.ctrlKey || ev.altKey || document.querySelector("dialog[open]")) return;
  if (pending && Date.now() - pending < 900) {
    pending = 0;
    const to = GOTO.find((x) => x.k === `g ${ev.key}`);
    if (to) { location.href = to.u; return; }
  }
  if (ev.key === "g") pending = Date.now();
  else if (ev.key === "/") { ev.preventDefault(); openPalette(); }
  else if (ev.key === "?") help();
  else if (ev.key === "j") moveRow(1);
  else if (ev.key === "k") moveRow(-1);
  else if (ev.key === "f") { const f = $("[data-filter]"); if (f) { ev.preventDefault(); f.focus(); } }
  else if (ev.key === "l") $("[data-live]")?.click();
  else if (ev.key === "[" || ev.key === "]") $(`[data-step="${ev.key}"]`)?.click();
});
