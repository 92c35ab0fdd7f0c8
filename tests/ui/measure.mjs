// The time of every page over HTTP, by a gateway that runs: `node tests/ui/measure.mjs http://127.0.0.1:4000 ADMIN_KEY [PROJECT KEY_ID]`.
// The median of five and the longest, after one that is not counted. See docs/performance.md for records to fill its database with.
const [origin, key, project = "default", keyId] = process.argv.slice(2);
const ranges = ["24h", "7d", "30d"];
const filters = ["", "is:failed", "is:recovered", "is:unpriced", "status:503", "provider:deepseek", "cost:>0.03", "tag:customer=c49000", "session:session-77777", "nothing-is-like-this", "key:nobody", ...(keyId ? [`key:${keyId}`] : [])];

const signedIn = await fetch(`${origin}/ui/login`, { method: "POST", redirect: "manual", headers: { origin, "content-type": "application/x-www-form-urlencoded" }, body: new URLSearchParams({ key }) });
const cookie = signedIn.headers.get("set-cookie")?.split(";")[0];
if (!cookie) throw new Error(`the key does not sign in: ${signedIn.status}`);

const load = async (path) => {
  const started = performance.now();
  const answer = await fetch(origin + path, { headers: { cookie } });
  const { length } = await answer.text();
  return { ms: performance.now() - started, status: answer.status, length };
};
const newest = /href="(\/ui\/requests\/req_[^"]+)"/.exec(await (await fetch(`${origin}/ui/requests?range=30d`, { headers: { cookie } })).text())?.[1];
const pages = [
  ...ranges.map((range) => `/ui?range=${range}`),
  ...filters.map((filter) => `/ui/requests?range=30d&q=${encodeURIComponent(filter)}`),
  ...(newest ? [newest] : []),
  "/ui/models", "/ui/models?show=matrix", "/ui/routing", "/ui/projects", `/ui/projects/${project}`, ...(keyId ? [`/ui/keys/${keyId}`] : []), "/ui/playground", "/ui/settings", "/ui/audit",
];
console.log("| page | median of five | longest | KiB |\n|---|---:|---:|---:|");
for (const path of pages) {
  await load(path);
  const runs = [];
  for (let n = 0; n < 5; n += 1) runs.push(await load(path));
  const times = runs.map((run) => run.ms).sort((one, other) => one - other);
  const status = runs[0].status === 200 ? "" : ` (${runs[0].status})`;
  console.log(`| \`${decodeURIComponent(path.replace(newest, "/ui/requests/ID"))}\`${status} | ${times[2].toFixed(0)} ms | ${times[4].toFixed(0)} ms | ${(runs[0].length / 1024).toFixed(0)} |`);
}
