// Whether requests notice that people watch the dashboard: `node tests/ui/hot-path.mjs http://127.0.0.1:4000 ADMIN_KEY CALLER_KEY [ROUNDS]`.
// Windows of ten seconds with and without a dashboard take turns in one run, so that what else the machine does meets both.
// The dashboard has a live tail, and loads a page every five seconds: twice as often as an open page does by itself.
const [origin, key, caller, rounds = "6"] = process.argv.slice(2);
const WINDOW_MS = 10_000, PAGE_MS = 5000, CALLERS = 4;

const signedIn = await fetch(`${origin}/ui/login`, { method: "POST", redirect: "manual", headers: { origin, "content-type": "application/x-www-form-urlencoded" }, body: new URLSearchParams({ key }) });
const cookie = signedIn.headers.get("set-cookie")?.split(";")[0];
if (!cookie) throw new Error(`the key does not sign in: ${signedIn.status}`);

const body = JSON.stringify({ model: "demo/echo", messages: [{ role: "user", content: "Hello" }] });
async function ask(times, until) {
  while (performance.now() < until) {
    const started = performance.now();
    const answer = await fetch(`${origin}/v1/chat/completions`, { method: "POST", headers: { authorization: `Bearer ${caller}`, "content-type": "application/json" }, body });
    await answer.text();
    if (answer.status !== 200) throw new Error(`status ${answer.status}`);
    times.push(performance.now() - started);
  }
}

/// One person at the dashboard.
async function watch(until) {
  const end = new AbortController();
  const tail = fetch(`${origin}/ui/requests/live`, { headers: { cookie }, signal: end.signal }).then((answer) => answer.text()).catch(() => {});
  for (let page = 0; performance.now() < until; page += 1) {
    await (await fetch(origin + ["/ui", "/ui/requests", "/ui/requests/rows", "/ui/routing"][page % 4], { headers: { cookie } })).text();
    await new Promise((done) => setTimeout(done, PAGE_MS));
  }
  end.abort();
  await tail;
}

const all = { alone: [], watched: [] };
for (let round = 0; round < 2 * Number(rounds); round += 1) {
  const until = performance.now() + WINDOW_MS;
  // A B B A: neither is always the first of a pair.
  const name = [0, 3].includes(round % 4) ? "alone" : "watched";
  const people = name === "watched" ? [watch(until)] : [];
  const times = [];
  await Promise.all([...Array.from({ length: CALLERS }, () => ask(times, until)), ...people]);
  all[name].push(times);
}
const quantile = (times, share) => times.sort((one, other) => one - other)[Math.floor(times.length * share)];
console.log("| | requests | p50 | p99 |\n|---|---:|---:|---:|");
const p99 = {};
for (const [name, windows] of Object.entries(all)) {
  const times = windows.flat();
  p99[name] = quantile(times, 0.99);
  console.log(`| ${name} | ${times.length} | ${quantile(times, 0.5).toFixed(2)} ms | ${p99[name].toFixed(2)} ms |`);
}
console.log(`\np99 watched / alone: ${(p99.watched / p99.alone).toFixed(3)}`);
