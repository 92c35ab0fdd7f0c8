// Whether requests notice that people watch the dashboard: `cargo xtask hot-path [--records N] [--blocks N]`.
// Starts a gateway with a database of made-up records. Windows with and without a dashboard take turns, so that what else the machine
// does meets both: each block is alone, watched, watched, alone. A block's ratio is the p99 watched over the p99 alone; the ratio of its
// two windows alone says how much of that is chance. The dashboard has a live tail, and loads a page every five seconds: twice as
// often as an open page does by itself.
import { execFileSync } from "node:child_process";
import { ADMIN, CALLER, startGateway } from "./dashboard.mjs";

const GENERATOR = process.env.LLMGATEWAY_GENERATOR ?? new URL("../../target/debug/examples/generate_usage", import.meta.url).pathname;
const option = (name, otherwise) => { const at = process.argv.indexOf(`--${name}`); return at < 0 ? otherwise : Number(process.argv[at + 1]); };
const RECORDS = option("records", 100_000), BLOCKS = option("blocks", 8), WINDOW_MS = option("seconds", 10) * 1000;
const PAGE_MS = 5000, CALLERS = 4, PAGES = ["/ui", "/ui/requests", "/ui/requests/rows", "/ui/routing"];
const body = JSON.stringify({ model: "demo/echo", messages: [{ role: "user", content: "Hello" }] });

async function signIn(origin) {
  const answer = await fetch(`${origin}/ui/login`, { method: "POST", redirect: "manual", headers: { origin, "content-type": "application/x-www-form-urlencoded" }, body: new URLSearchParams({ key: ADMIN }) });
  const cookie = answer.headers.get("set-cookie")?.split(";")[0];
  if (!cookie) throw new Error(`the key does not sign in: ${answer.status}`);
  return cookie;
}

async function ask(origin, times, until) {
  while (performance.now() < until) {
    const started = performance.now();
    const answer = await fetch(`${origin}/v1/chat/completions`, { method: "POST", headers: { authorization: `Bearer ${CALLER}`, "content-type": "application/json" }, body });
    await answer.text();
    if (answer.status !== 200) throw new Error(`status ${answer.status}`);
    times.push(performance.now() - started);
  }
}

/// One person at the dashboard, whose first page is loaded at some moment of the first interval.
async function watch(origin, cookie, until) {
  const end = new AbortController();
  const tail = fetch(`${origin}/ui/requests/live`, { headers: { cookie }, signal: end.signal }).then((answer) => answer.text()).catch(() => {});
  for (let page = 0; performance.now() < until; page += 1) {
    const answer = await fetch(origin + PAGES[page % PAGES.length], { headers: { cookie } });
    await answer.text();
    if (answer.status !== 200) throw new Error(`${PAGES[page % PAGES.length]}: ${answer.status}`);
    await new Promise((done) => setTimeout(done, PAGE_MS));
  }
  end.abort();
  await tail;
}

const quantile = (values, share) => values.toSorted((one, other) => one - other)[Math.min(values.length - 1, Math.floor(values.length * share))];

const gateway = await startGateway(() => "", (url) => execFileSync(GENERATOR, ["--records", String(RECORDS), "--database", url], { stdio: "pipe" }));
try {
  const cookie = await signIn(gateway.origin);
  const window = async (isWatched) => {
    const until = performance.now() + WINDOW_MS, times = [];
    await Promise.all([...Array.from({ length: CALLERS }, () => ask(gateway.origin, times, until)), ...(isWatched ? [watch(gateway.origin, cookie, until)] : [])]);
    return times;
  };
  await window(true);   // caches, connections
  const rows = [];
  for (let block = 0; block < BLOCKS; block += 1) {
    const [a1, w1, w2, a2] = [await window(false), await window(true), await window(true), await window(false)];
    const p99 = (times) => quantile(times, 0.99);
    rows.push({ alone: p99([...a1, ...a2]), watched: p99([...w1, ...w2]), chance: p99(a2) / p99(a1), requests: [a1, w1, w2, a2].flat().length });
    const { alone, watched, chance } = rows.at(-1);
    console.error(`block ${block + 1}: ${alone.toFixed(2)} ms alone, ${watched.toFixed(2)} ms watched, ratio ${(watched / alone).toFixed(3)}; alone twice ${chance.toFixed(3)}`);
  }
  const spread = (values) => `${quantile(values, 0.5).toFixed(3)} (${quantile(values, 0.25).toFixed(3)} to ${quantile(values, 0.75).toFixed(3)})`;
  console.log(`${rows.reduce((all, row) => all + row.requests, 0)} requests in ${BLOCKS} blocks of four windows of ${WINDOW_MS / 1000} s, ${RECORDS} records, ${CALLERS} callers`);
  console.log(`p99 watched / alone: ${spread(rows.map(({ watched, alone }) => watched / alone))}`);
  console.log(`p99 alone / alone:   ${spread(rows.map(({ chance }) => chance))}`);
} finally { await gateway.stop(); }
