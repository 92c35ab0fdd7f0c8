// States that are not the usual one: loading, failed, unpriced, without permission, without the database; in both themes and widths.
import { after, before, test } from "node:test";
import { rename } from "node:fs/promises";
import { join } from "node:path";
import assert from "node:assert/strict";
import { ADMIN, LONG, LOOKS, VIEWER, accessible, admin, ask, eventually, launch, sound, startGateway, visitor } from "./dashboard.mjs";

const UNPRICED = `unknown-price-${"of-a-model-with-a-very-long-name-".repeat(6)}`;
let gateway, browser;
before(async () => {
  gateway = await startGateway(() => `[providers.demo.models."${UNPRICED}"]\ncontext_tokens = 128000\n`);
  browser = await launch();
});
after(async () => { await browser?.close(); await gateway?.stop(); });

/// Requests to a path wait until they are released, and are answered by `answer`, or really.
async function hold(page, path, answer = (route) => route.continue()) {
  let release;
  const held = new Promise((done) => { release = done; });
  await page.route(path, async (route) => { await held; await answer(route); });
  return { release, end: () => page.unroute(path) };
}

test("the live tail says that it connects, that it has no connection, and that it was refused", async () => {
  const { page, context } = await visitor(browser, gateway.origin, { key: ADMIN });
  await ask(gateway.origin, { model: "demo/echo" });
  const state = page.locator("#live-state"), live = page.getByRole("switch", { name: /Live/ });
  const first = await hold(page, "**/ui/requests/live*", (route) => route.abort());
  await page.goto("/ui/requests");
  await page.locator("#live-state", { hasText: "Connecting" }).waitFor();
  first.release();
  await page.locator("#live-state", { hasText: "No connection. It is tried again." }).waitFor();
  assert.ok(await live.isChecked());
  await first.end();
  await page.waitForFunction(() => document.querySelector("#live-state").textContent === "", null, { timeout: 20_000 });
  assert.equal(await page.locator("#live-said").textContent(), "");

  const rows = await hold(page, "**/ui/requests/rows*", (route) => route.fulfill({ status: 500, body: "" }));
  await ask(gateway.origin, { model: "fast" });
  await page.locator("#log[aria-busy=true]").waitFor();
  rows.release();
  await page.locator("#live-state", { hasText: "New requests could not be read" }).waitFor();
  assert.equal(await page.locator("#log[aria-busy]").count(), 0);
  await rows.end();
  await ask(gateway.origin, { model: "fast" });
  await page.waitForFunction(() => document.querySelectorAll("#log tbody tr").length >= 3);
  assert.equal(await state.textContent(), "");

  await page.route("**/ui/requests/live*", (route) => route.fulfill({ status: 401, body: "" }));
  await live.uncheck();
  await live.check();
  await page.locator("#live-state", { hasText: "refused" }).waitFor();
  assert.ok(!await live.isChecked());
  await sound(page, "a live tail that was refused");
  await accessible(page, "a live tail that was refused");
  await context.close();
});

for (const [theme, width] of LOOKS) {
  test(`explain and other forms are busy until the answer, ${theme}, ${width} px`, async () => {
    const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN, theme, width });
    await page.goto("/ui/routing");
    await page.getByRole("combobox", { name: /^For/ }).fill("demo/echo");
    const held = await hold(page, "**/ui/routing?*");
    // Playwright's own clicks and waits would wait for the navigation.
    const state = await page.evaluate(() => {
      const button = document.querySelector("form.ask button");
      let sent = 0;
      addEventListener("submit", (ev) => { sent += ev.defaultPrevented ? 0 : 1; });
      button.click();
      button.click();
      return { busy: document.documentElement.dataset.busy, button: button.getAttribute("aria-busy"), sent };
    });
    assert.deepEqual(state, { busy: "", button: "true", sent: 1 }, "a second press sends nothing");
    held.release();
    await page.getByText(/^demo would serve echo/).waitFor();
    assert.equal(await page.locator("html[data-busy], [aria-busy]").count(), 0);
    await held.end();
    await page.getByRole("combobox", { name: /^For/ }).fill("nobody/has-this");
    await page.getByRole("button", { name: "Explain" }).first().click();
    await page.locator(".verdict .st.bad").waitFor();
    await sound(page, "a model that nobody has");
    // Back at the page as it was, its form works again.
    await page.goBack();
    await page.getByRole("button", { name: "Explain" }).first().click();
    await page.locator(".verdict .st.bad, .verdict").first().waitFor();
    clean();
    await context.close();
  });

  test(`the playground waits, fails and stops, ${theme}, ${width} px`, async () => {
    const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN, theme, width });
    await page.goto("/ui/playground?model=demo%2Fecho");
    const send = async (answer) => {
      const held = await hold(page, "**/ui/playground/ask*", answer);
      await page.getByLabel("Message").fill("Hello");
      await page.locator("#send").click();
      await page.locator(".thread[aria-busy=true] .st.run", { hasText: "waiting" }).waitFor();
      assert.equal(await page.locator("#send").textContent(), "Stop");
      return held;
    };
    const ended = async (held, words) => {
      held.release();
      const last = page.locator(".msg.bot").last();
      await last.getByText(words).waitFor();
      await page.locator("#send", { hasText: "Send" }).waitFor();
      assert.equal(await page.locator(".thread[aria-busy]").count(), 0);
      await held.end();
    };
    clean();
    await ended(await send((route) => route.abort()), "The connection to the gateway failed or broke.");
    await ended(await send((route) => route.fulfill({ status: 502, contentType: "text/html", body: "<h1>Bad gateway</h1>" })), "502: The answer gives no reason.");
    await ended(await send((route) => route.fulfill({ contentType: "text/event-stream", body: 'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\ndata: {"error":{"message":"The provider stopped."}}\n\n' })), /Hel\s+The provider stopped\./);
    const stopped = await send();
    await page.locator("#send").click();
    await ended(stopped, "stopped; what was produced is charged");
    await ended(await send(), /demo/);
    assert.equal(await page.locator(".msg.bot").last().locator(".st.bad").count(), 0);
    await sound(page, "playground");
    await context.close();
  });

  test(`an unpriced model with a long name, ${theme}, ${width} px`, async () => {
    const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN, theme, width });
    const id = `req_unpriced${theme}${width}`.padEnd(28, "0");
    assert.equal(await ask(gateway.origin, { model: `demo/${UNPRICED}` }, { "x-request-id": id, "x-llmgateway-tags": "team=unpriced" }), 200);
    await eventually(async () => assert.equal((await page.goto(`/ui/requests/${id}`)).status(), 200));
    const main = page.locator("main");
    await main.getByText("unpriced").first().waitFor();
    assert.ok(!(await main.innerText()).includes("$0"), "never $0");
    await sound(page, "an unpriced request");
    await page.goto("/ui/requests?view=is%3Aunpriced");
    const row = page.locator("#log tbody tr").first();
    await row.getByText("unpriced", { exact: true }).waitFor();
    assert.ok(!(await row.innerText()).includes("$0"));
    await sound(page, "unpriced requests");
    for (const path of ["/ui", "/ui/projects/default"]) {
      await page.goto(path);
      await page.getByText(/[1-9]\d* unpriced/).first().waitFor();
      await sound(page, path);
    }
    await page.goto(`/ui/models?open=${encodeURIComponent(UNPRICED)}&q=unknown-price`);
    await page.getByText("unpriced").first().waitFor();
    await sound(page, "an unpriced model");
    clean();
    await context.close();
  });
}

test("a viewer is told what needs an administrator, and a caller's key does not sign in", async () => {
  const { page, context, clean } = await visitor(browser, gateway.origin, { key: VIEWER, theme: "dark", width: 390 });
  await page.goto("/ui/playground");
  await page.getByText("The playground needs an administrator").waitFor();
  await accessible(page, "the playground of a viewer");
  for (const [path, form] of [["/ui/settings/reload", ""], ["/ui/routing/suspend", "provider=demo&does=suspend"], ["/ui/projects", "id=mine"]]) {
    const status = await page.evaluate(async ([path, form]) => (await fetch(path, { method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" }, body: form })).status, [path, form]);
    assert.equal(status, 403, path);
  }
  await sound(page, "viewer");
  await context.close();
  const key = await admin(gateway.origin, "POST", "keys", { name: "caller", project: "default" });
  const other = await visitor(browser, gateway.origin);
  await other.page.goto("/ui/login");
  await other.page.getByLabel("Admin or viewer key").fill(key.secret);
  await other.page.getByRole("button", { name: "Sign in" }).click();
  await other.page.getByRole("alert").waitFor();
  assert.match(other.page.url(), /login/);
  other.clean();
  await other.context.close();
});

test("without the database each page says so, and works again afterwards", async () => {
  const { page, context } = await visitor(browser, gateway.origin, { key: ADMIN, width: 390 });
  await ask(gateway.origin, { model: LONG });
  const file = join(gateway.folder, "gateway.db");
  await rename(file, `${file}.away`);
  try {
    for (const path of ["/ui", "/ui/requests", "/ui/projects/default", "/ui/settings"]) {
      assert.equal((await page.goto(path)).status(), 503, path);
      await page.getByRole("heading", { name: "The database does not answer" }).waitFor();
      await sound(page, `${path} without the database`);
    }
    await accessible(page, "without the database");
    assert.equal(await ask(gateway.origin, { model: "demo/echo" }), 200, "requests go on");
  } finally { await rename(`${file}.away`, file); }
  await page.getByRole("link", { name: "Try again" }).click();
  await page.getByRole("heading", { name: "Settings" }).waitFor();
  await context.close();
});
