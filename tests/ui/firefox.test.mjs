// The pages in Firefox, where the system's packages have it. Debian's Firefox is driven by WebDriver BiDi, the protocol of its own.
import { after, before, test } from "node:test";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";
import WebSocket from "ws";
import { ADMIN, HOSTILE, SHOTS, admin, ask, eventually, startGateway } from "./dashboard.mjs";

const FIREFOX = [process.env.LLMGATEWAY_FIREFOX, "/usr/bin/firefox-esr"].find((path) => path && existsSync(path));
const skip = FIREFOX ? false : "NOT RUN: there is no Firefox here";

/// A browser with one window: `send` is a command of the protocol, `run` evaluates JavaScript in the page.
async function startFirefox() {
  const profile = mkdtempSync(join(tmpdir(), "llmgateway-firefox-"));
  const child = spawn(FIREFOX, ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0", "about:blank"], { env: { ...process.env, HOME: profile }, stdio: ["ignore", "ignore", "pipe"] });
  const address = await new Promise((found, failed) => {
    let said = "";
    child.stderr.on("data", (data) => {
      said += data;
      const listening = /listening on (ws:\S+)/.exec(said);
      if (listening) found(listening[1]);
    });
    child.once("exit", () => failed(new Error(`Firefox ended:\n${said}`)));
  });
  const socket = new WebSocket(`${address}/session`);
  await new Promise((open, failed) => { socket.once("open", open); socket.once("error", failed); });
  const waiting = new Map(), faults = [], requests = [];
  socket.on("message", (data) => {
    const message = JSON.parse(data);
    if (message.method === "log.entryAdded" && message.params.level === "error") faults.push(message.params.text);
    if (message.method === "network.beforeRequestSent") requests.push(message.params.request.url);
    const { done, failed } = waiting.get(message.id) ?? {};
    waiting.delete(message.id);
    if (message.type === "error") failed?.(new Error(`${message.error}: ${message.message}`)); else done?.(message.result);
  });
  let last = 0;
  const send = (method, params = {}) => new Promise((done, failed) => { last += 1; waiting.set(last, { done, failed }); socket.send(JSON.stringify({ id: last, method, params })); });
  await send("session.new", { capabilities: {} });
  await send("session.subscribe", { events: ["log.entryAdded", "network.beforeRequestSent"] });
  await send("script.addPreloadScript", { functionDeclaration: `() => { addEventListener("securitypolicyviolation", (ev) => console.error("CSP: " + ev.violatedDirective + " " + ev.blockedURI)); }` });
  const { contexts: [{ context }] } = await send("browsingContext.getTree");
  const go = (url) => send("browsingContext.navigate", { context, url, wait: "complete" });
  const run = async (expression) => {
    const { result, exceptionDetails } = await send("script.evaluate", { expression: `(async () => JSON.stringify(await (${expression})))()`, target: { context }, awaitPromise: true });
    if (exceptionDetails) throw new Error(exceptionDetails.text);
    return result.value === undefined ? undefined : JSON.parse(result.value);
  };
  const resize = (width, height) => send("browsingContext.setViewport", { context, viewport: { width, height } });
  const shot = async (name) => {
    const { data } = await send("browsingContext.captureScreenshot", { context });
    mkdirSync(SHOTS, { recursive: true });
    writeFileSync(join(SHOTS, `firefox-${name}.png`), Buffer.from(data, "base64"));
  };
  const stop = async () => {
    const ended = new Promise((done) => child.once("exit", done));
    child.removeAllListeners("exit");
    child.once("exit", () => rmSync(profile, { recursive: true, force: true, maxRetries: 5 }));
    socket.close();
    child.kill("SIGTERM");
    await Promise.race([ended, new Promise((done) => setTimeout(done, 3000))]);
  };
  return { go, run, resize, shot, stop, faults, requests };
}

let gateway, firefox;
before(async () => {
  if (skip) return;
  gateway = await startGateway();
  await admin(gateway.origin, "POST", "projects", { id: "team", name: HOSTILE });
  for (const model of ["demo/echo", HOSTILE]) await ask(gateway.origin, { model });
  firefox = await startFirefox();
});
after(async () => { await firefox?.stop(); await gateway?.stop(); });

test("in Firefox every page is sound, loads nothing from elsewhere, and violates no policy", { skip }, async (t) => {
  const { go, run, resize, shot, faults, requests } = firefox;
  const { origin } = gateway;
  await go(`${origin}/ui/login`);
  await run(`(document.querySelector("[name=key]").value = ${JSON.stringify(ADMIN)}, document.querySelector("[name=key]").form.requestSubmit(), 1)`);
  await eventually(async () => assert.equal(await run("location.pathname"), "/ui"));
  for (const width of [1440, 390]) {
    await resize(width, 900);
    for (const path of ["/ui", "/ui/requests", "/ui/models?q=gpt-5", "/ui/models?show=matrix", "/ui/routing?model=demo%2Fecho", "/ui/projects", "/ui/projects/team", "/ui/playground?model=demo%2Fecho", "/ui/settings", "/ui/audit"]) {
      await t.test(`${path} at ${width}`, async () => {
        await go(origin + path);
        const state = await run(`({ sideways: Math.max(0, document.documentElement.scrollWidth - innerWidth), headings: document.querySelectorAll("h1").length, hacked: globalThis.hacked ?? null, grid: getComputedStyle(document.querySelector(".shell")).display, surface: getComputedStyle(document.body).backgroundColor })`);
        assert.deepEqual([state.sideways, state.headings, state.hacked, state.grid], [0, 1, null, "grid"]);
        assert.notEqual(state.surface, "rgba(0, 0, 0, 0)", "the colours of the theme are understood");
        assert.deepEqual(faults.splice(0), []);
      });
    }
    await shot(`audit-${width}`);
  }
  // The listeners work: a style in the page is a violation.
  await run(`(document.head.append(Object.assign(document.createElement("style"), { textContent: "b { color: red }" })), 1)`);
  await eventually(() => assert.match(faults.join(), /CSP: style-src/));
  faults.splice(0);
  assert.ok(requests.length > 20);
  assert.deepEqual(requests.filter((url) => !url.startsWith(origin) && !/^(data|about|blob|moz-extension|resource|chrome):/.test(url)), []);
});

test("in Firefox the live tail, explain and the playground work", { skip }, async () => {
  const { go, run, resize, faults } = firefox;
  const { origin } = gateway;
  const until = async (expression, words) => {
    for (let tries = 0; tries < 200; tries += 1) { if (await run(expression)) return; await new Promise((done) => setTimeout(done, 50)); }
    assert.fail(words);
  };
  await resize(1440, 900);
  await go(`${origin}/ui/requests`);
  const rows = await run(`document.querySelectorAll("#log tbody tr").length`);
  await until(`!document.querySelector("[data-live]").closest("label").hidden`, "the live tail is offered");
  assert.equal(await ask(origin, { model: "fast" }), 200);
  await until(`document.querySelectorAll("#log tbody tr").length > ${rows}`, "the row appears");
  await go(`${origin}/ui/playground?model=demo%2Fecho`);
  await run(`(() => { const box = [...document.querySelectorAll("textarea")].find((it) => it.labels?.[0]?.textContent.includes("Message") || it.getAttribute("aria-label") === "Message"); box.value = "Hello"; box.dispatchEvent(new Event("input", { bubbles: true })); [...document.querySelectorAll("button")].find((it) => it.textContent.trim().startsWith("Send")).click(); return 1; })()`);
  await until(`/\\d+ → \\d+/.test(document.querySelector("[data-fig=tokens]")?.textContent ?? "")`, "the playground answers");
  assert.deepEqual(faults.splice(0), []);
});
