// Every page, in both themes and at both widths, with hostile data in it.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { ADMIN, HOSTILE, LONG, VIEWER, accessible, admin, ask, changeBy, launch, shot, sound, startGateway, visitor } from "./dashboard.mjs";

let gateway, browser, keyId, requestId;

before(async () => {
  gateway = await startGateway(() => '[bodies]\nkeep = "all"\n');
  browser = await launch();
  const { origin } = gateway;
  await admin(origin, "POST", "projects", { id: "team", name: HOSTILE, policy: { models: ["demo/*", "fast"], deny: [`<b>${HOSTILE.slice(0, 40)}`.replace(/[^\x21-\x7e]/g, "x")], tags: { team: "a<b>" }, limits: [{ concurrent: 40 }] } });
  keyId = (await admin(origin, "POST", "keys", { name: HOSTILE, project: "team" })).id;
  await admin(origin, "POST", "keys", { name: LONG, project: "team" });
  for (let n = 0; n < 5; n += 1) await ask(origin, { model: "demo/echo" }, { "x-session-id": HOSTILE.replace(/[^\x20-\x7e]/g, "") });
  requestId = `req_${"a".repeat(24)}`;
  assert.equal(await ask(origin, { model: "demo/echo", stream: true }, { "x-request-id": requestId, "x-llmgateway-tags": "team=a,env=prod" }), 200);
  await ask(origin, { model: HOSTILE });
  await ask(origin, { model: LONG });
  await ask(origin, { model: "broken/some-model" });
  await ask(origin, { model: "demo/echo", temperature: "warm" });
  // Records reach the database a moment after the answers.
  for (let tries = 0; tries < 100; tries += 1) {
    const { data = [] } = await admin(origin, "GET", "requests?limit=50");
    if (data.length >= 9) break;
    await new Promise((done) => setTimeout(done, 50));
  }
});

after(async () => { await browser?.close(); await gateway?.stop(); });

const PAGES = () => [
  ["overview", "/ui"], ["overview-30d", "/ui?range=30d"], ["requests", "/ui/requests"], ["requests-none", "/ui/requests?q=model%3Anothing-like-this"], ["requests-wrong", "/ui/requests?q=modle%3Ax"],
  ["request", `/ui/requests/${requestId}`], ["models", "/ui/models?all=1&q=gpt-5"], ["models-open", "/ui/models?open=demo%2Fecho"], ["models-matrix", "/ui/models?show=matrix"],
  ["routing", "/ui/routing?model=demo%2Fecho&prompt=100&tools=1&stream=1&open=demo"], ["routing-unknown", `/ui/routing?model=${encodeURIComponent(HOSTILE)}`],
  ["projects", "/ui/projects"], ["project", "/ui/projects/team?model=demo%2Fecho"], ["project-declared", "/ui/projects/declared"], ["key", `/ui/keys/${keyId}`],
  ["playground", "/ui/playground?model=demo%2Fecho&model=fast"], ["settings", "/ui/settings"], ["audit", "/ui/audit"], ["absent", "/ui/requests/req_nothing"],
];

for (const theme of ["light", "dark"]) for (const width of [1440, 390]) {
  test(`pages, ${theme}, ${width} px`, async (t) => {
    const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN, theme, width });
    for (const [name, path] of PAGES()) {
      await t.test(name, async () => {
        await page.goto(path);
        await page.waitForLoadState("load");
        await sound(page, name);
        clean();
        await shot(page, `${name}-${theme}${width < 600 ? "-390" : ""}`);
        await accessible(page, `${name}, ${theme}, ${width}`);
        await page.goto("about:blank");
      });
    }
    await context.close();
  });
}

test("no page scrolls sideways between the widths", async () => {
  for (const width of [768, 1100]) {
    const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN, width });
    for (const [name, path] of PAGES()) { await page.goto(path); await sound(page, `${name} at ${width}`); clean(); }
    await context.close();
  }
});

test("the sign-in page", async () => {
  for (const theme of ["light", "dark"]) for (const width of [1440, 390]) {
    const { page, context, clean } = await visitor(browser, gateway.origin, { theme, width });
    await page.goto("/ui/requests?q=x");
    assert.match(page.url(), /\/ui\/login\?next=/);
    await page.getByLabel("Admin or viewer key").fill("lgw-nonsense");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
    await sound(page, "login");
    clean();
    await shot(page, `login-${theme}${width < 600 ? "-390" : ""}`);
    await accessible(page, "login");
    await context.close();
  }
});

test("hostile texts are shown as texts", async () => {
  const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN });
  for (const path of ["/ui/projects", "/ui/projects/team", `/ui/keys/${keyId}`, "/ui/requests", "/ui/audit", `/ui/routing?model=${encodeURIComponent(HOSTILE)}`, `/ui/requests?q=${encodeURIComponent(HOSTILE)}`, `/ui/models?q=${encodeURIComponent(HOSTILE)}`, `/ui/projects/team?model=${encodeURIComponent(HOSTILE)}`, `/ui/requests/${encodeURIComponent(HOSTILE)}`, `/ui/login?next=${encodeURIComponent(HOSTILE)}`]) {
    await page.goto(path);
    assert.equal(await page.evaluate(() => globalThis.hacked ?? null), null, path);
    assert.equal(await page.locator("img, main script:not([type='application/json'])").count(), 0, path);
    clean();
  }
  await page.goto("/ui/projects");
  assert.ok((await page.content()).includes("&lt;img src=x onerror="));
  await page.goto("/ui/requests");
  const cell = page.getByTitle(LONG, { exact: true });
  const box = await cell.boundingBox();
  assert.ok(box.width < 900, "a long name is cut");
  await context.close();
});

test("a viewer has no button that would be refused", async () => {
  const { page, context, clean } = await visitor(browser, gateway.origin, { key: VIEWER });
  for (const path of ["/ui/projects", "/ui/projects/team", `/ui/keys/${keyId}`, "/ui/settings"]) {
    await page.goto(path);
    const actions = await page.locator("main form[method=post]").evaluateAll((forms) => forms.map((form) => new URL(form.action).pathname));
    assert.ok(actions.every((action) => action === "/ui/settings/sessions/end"), `${path}: ${actions}`);
    clean();
  }
  await context.close();
});

test("a page without its style, or in the other theme, is a gross change", async () => {
  const { page, context } = await visitor(browser, gateway.origin, { key: ADMIN });
  await page.goto("/ui");
  assert.ok(await changeBy(page, () => page.emulateMedia({ colorScheme: "dark" })) > 1);
  await page.emulateMedia({ colorScheme: "light" });
  assert.ok(await changeBy(page, () => page.evaluate(() => { for (const sheet of document.styleSheets) sheet.disabled = true; })) > 1);
  await page.reload();
  assert.ok(await changeBy(page, () => page.reload()) < 0.1, "the same page is no change");
  await context.close();
});

test("bodies and headers are shown as texts, to administrators", async () => {
  const id = `req_${"b".repeat(24)}`;
  assert.equal(await ask(gateway.origin, { model: "demo/echo", messages: [{ role: "user", content: HOSTILE }] }, { "x-request-id": id, "x-note": "<b>note</b>" }), 200);
  const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN, width: 390 });
  for (let tries = 0; tries < 100; tries += 1) {
    await page.goto(`/ui/requests/${id}`);
    if (await page.locator("details", { hasText: "As received" }).count() > 0) break;
    await page.waitForTimeout(50);
  }
  for (const title of ["As received", /^As sent, attempt 1 at demo/, /^Answer of demo, status 200/, "Answer to the caller"]) {
    await page.getByText(title).first().click();
  }
  const received = page.locator("details", { hasText: "As received" });
  assert.ok((await received.locator("pre").textContent()).includes("<script>window.hacked=2</script>"));
  await received.getByText("<b>note</b>").waitFor();
  assert.ok(!(await page.content()).includes("lgw-caller-key"), "the key is masked");
  await sound(page, "bodies");
  await accessible(page, "bodies");
  await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
  await shot(page, "bodies-light-390");
  clean();
  await context.close();
  const other = await visitor(browser, gateway.origin, { key: VIEWER });
  await other.page.goto(`/ui/requests/${id}`);
  await other.page.getByText("Only administrators see bodies").waitFor();
  assert.equal(await other.page.locator("details", { hasText: "As received" }).count(), 0);
  other.clean();
  await other.context.close();
});
