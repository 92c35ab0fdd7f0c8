// A gateway with traffic, and a browser that fails a test for everything that a page must not do.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const BINARY = process.env.LLMGATEWAY_BINARY ?? new URL("../../target/debug/llmgateway", import.meta.url).pathname;
const CHROMIUM = process.env.LLMGATEWAY_CHROMIUM ?? "/usr/bin/chromium";
export const SHOTS = process.env.LLMGATEWAY_SHOTS ?? new URL("../../target/ui-shots", import.meta.url).pathname;
const AXE = readFileSync(new URL("./node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

export const ADMIN = "lgw-admin-key-of-the-browser-tests";
export const VIEWER = "lgw-viewer-key-of-the-browser-tests";
export const CALLER = "lgw-caller-key-of-the-browser-tests";
/// Text that callers and operators could write into any field.
export const HOSTILE = `<img src=x onerror="window.hacked=1"><script>window.hacked=2</script>"'><b>\u202Ereversed\u202C`;
export const LONG = `demo/${"very-long-model-name-".repeat(15)}`.slice(0, 300);

/// Themes and widths in which actions are tried.
export const LOOKS = ["light", "dark"].flatMap((theme) => [1440, 390].map((width) => [theme, width]));

export const freePort = () => new Promise((done) => {
  const server = createServer().listen(0, "127.0.0.1", () => { const { port } = server.address(); server.close(() => done(port)); });
});

/// A gateway in a folder of its own; `more` writes further settings for its address, `prepare` gets the URL of its database first.
export async function startGateway(more = () => "", prepare = () => {}) {
  const folder = mkdtempSync(join(tmpdir(), "llmgateway-ui-"));
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  writeFileSync(join(folder, "llmgateway.toml"), `
[server]
listen = "127.0.0.1:${port}"
[auth]
api_keys = ["${CALLER}"]
admin_keys = ["${ADMIN}"]
[database]
url = "sqlite:${join(folder, "gateway.db")}"
[models.fast]
targets = ["demo/echo"]
[projects.declared]
models = ["demo/*"]
budgets = [{ usd = "5", per = "month" }, { usd = "1", per = "day" }]
limits = [{ concurrent = 4 }, { requests = 600, per = "minute" }]
unpriced = "allow"
keys = [{ name = "watch", key = "${VIEWER}", roles = ["viewer"] }]
[providers.demo.models.paid]
price = { input = "3", output = "15" }
[providers.broken]
protocol = "openai-chat"
base_url = "http://127.0.0.1:9/v1"
${more(origin)}`);
  prepare(`sqlite:${join(folder, "gateway.db")}`);
  const child = spawn(BINARY, ["serve", "--config", "llmgateway.toml"], { cwd: folder, env: { PATH: process.env.PATH, HOME: folder }, stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => { log += data; });
  for (let tries = 0; ; tries += 1) {
    if (child.exitCode !== null || tries > 300) throw new Error(`the gateway does not answer:\n${log}`);
    try { if ((await fetch(`${origin}/health`)).ok) break; } catch { /* not yet */ }
    await new Promise((done) => setTimeout(done, 50));
  }
  const stop = async () => {
    const ended = new Promise((done) => child.once("exit", done));
    child.kill("SIGTERM");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  return { origin, folder, stop, log: () => log };
}

/// Asks a model; returns the answer's status.
export async function ask(origin, body, headers = {}) {
  const answer = await fetch(`${origin}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${CALLER}`, "content-type": "application/json", ...headers },
    body: JSON.stringify({ messages: [{ role: "user", content: "Hello" }], ...body }),
  });
  await answer.text();
  return answer.status;
}

export const admin = (origin, method, path, body) => fetch(`${origin}/admin/v1/${path}`, {
  method, headers: { authorization: `Bearer ${ADMIN}`, "content-type": "application/json" }, body: body && JSON.stringify(body),
}).then((answer) => answer.json());

/** Repeats an action that another navigation interrupted; the last failure counts. */
export async function eventually(action) {
  for (let left = 5; left > 0; left -= 1) {
    try {
      return await action();
    } catch {
      await new Promise((done) => setTimeout(done, 100));
    }
  }
  return action();
}

/// Makes the side visible, which is a drawer on a small screen.
export async function openSide(page) {
  const menu = page.getByRole("button", { name: "Menu" });
  if (await menu.isVisible()) await menu.click();
}

export const launch = () => chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });

/// A page of its own context, signed in with a key, that notes everything that it must not do.
export async function visitor(browser, origin, { key, theme = "light", width = 1440, scripts = true } = {}) {
  const context = await browser.newContext({ baseURL: origin, viewport: { width, height: width < 600 ? 844 : 900 }, colorScheme: theme, javaScriptEnabled: scripts, reducedMotion: "reduce" });
  const page = await context.newPage();
  const faults = [];
  page.on("console", (message) => { if (message.type() === "error" && !/status of 40[0134]/.test(message.text())) faults.push(`console: ${message.text()}`); });
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("request", (request) => { if (!request.url().startsWith(origin) && !/^(data|about|blob):/.test(request.url())) faults.push(`foreign request: ${request.url()}`); });
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (ev) => console.error(`CSP: ${ev.violatedDirective} ${ev.blockedURI} ${ev.sourceFile}:${ev.lineNumber}`));
  });
  const clean = () => { assert.deepEqual(faults.splice(0), []); };
  if (key) {
    await page.goto("/ui/login");
    await page.getByLabel("Admin or viewer key").fill(key);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL((url) => !url.pathname.startsWith("/ui/login"));
    clean();
  }
  return { page, context, clean };
}

/// No serious finding of axe-core. It runs outside of the page's policy, and its actions do not count against the page.
export async function accessible(page, name) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const failures = serious.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.target} ${node.html.slice(0, 120)} ${(node.any[0] ?? node.all[0] ?? node.none[0])?.message ?? ""}`).join(" | ")}`);
  assert.deepEqual(failures, [], name);
}

/// The whole page does not scroll sideways, no id occurs twice, and no text became markup.
export async function sound(page, name) {
  const state = await page.evaluate(() => {
    const ids = [...document.querySelectorAll("[id]")].map((el) => el.id);
    return {
      sideways: Math.max(0, document.documentElement.scrollWidth - innerWidth),
      twice: ids.filter((id, at) => ids.indexOf(id) !== at),
      hacked: globalThis.hacked ?? null,
      styled: document.querySelectorAll("[style]:not(.menu):not(.tip)").length,
      headings: document.querySelectorAll("h1").length,
    };
  });
  assert.deepEqual(state, { sideways: 0, twice: [], hacked: null, styled: 0, headings: 1 }, name);
}

/// The columns and rows of a coarse picture: each cell is the brightness of a part of a screenshot, from 0 to 15.
const GRID = [24, 15];
/// A cell that differs by this much differs. Other fonts and other figures change few cells so much.
const CELL = 2;
/// The largest share of cells that may differ.
const CHANGED = 0.1;
const BASELINE = new URL("./shots.json", import.meta.url);
const baseline = existsSync(BASELINE) ? JSON.parse(readFileSync(BASELINE, "utf8")) : {};
const isUpdate = process.env.UPDATE_SHOTS === "1";
let canvas;

/// A screenshot as hexadecimal digits, one for each cell. A page of the browser decodes it.
async function coarse(page, png) {
  canvas ??= await (await page.context().browser().newContext()).newPage();
  return canvas.evaluate(async ([data, [columns, rows]]) => {
    const image = new Image();
    image.src = `data:image/png;base64,${data}`;
    await image.decode();
    const drawing = Object.assign(document.createElement("canvas"), { width: columns, height: rows }).getContext("2d");
    drawing.imageSmoothingQuality = "high";
    drawing.drawImage(image, 0, 0, columns, rows);
    const { data: pixels } = drawing.getImageData(0, 0, columns, rows);
    const digit = (at) => Math.round((0.3 * pixels[at] + 0.6 * pixels[at + 1] + 0.1 * pixels[at + 2]) / 17).toString(16);
    return Array.from({ length: columns * rows }, (_, cell) => digit(cell * 4)).join("");
  }, [png.toString("base64"), GRID]);
}

/// The share of cells in which two coarse pictures differ.
export function difference(one, other) {
  const changed = [...one].filter((digit, at) => Math.abs(parseInt(digit, 16) - parseInt(other[at], 16)) >= CELL);
  return changed.length / one.length;
}

/// Keeps a screenshot, and compares it with the one of `shots.json` for gross change. `UPDATE_SHOTS=1` writes that file anew.
export async function shot(page, name) {
  mkdirSync(SHOTS, { recursive: true });
  const picture = await coarse(page, await page.screenshot({ path: join(SHOTS, `${name}.png`) }));
  if (isUpdate) {
    baseline[name] = picture;
    writeFileSync(BASELINE, `${JSON.stringify(Object.fromEntries(Object.entries(baseline).sort()), null, 0).replaceAll(",", ",\n")}\n`);
    return;
  }
  assert.ok(baseline[name], `${name} is not in shots.json; UPDATE_SHOTS=1 npm test adds it`);
  const changed = difference(picture, baseline[name]);
  assert.ok(changed <= CHANGED, `${name} looks different: ${Math.round(changed * 100)} % of it; if it shall, UPDATE_SHOTS=1 npm test`);
}

/// How much of a page changes with an action.
export async function changeBy(page, action) {
  const before = await coarse(page, await page.screenshot());
  await action();
  return difference(before, await coarse(page, await page.screenshot())) / CHANGED;
}
