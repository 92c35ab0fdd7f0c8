// What a person does: keys, projects, live tail, find, theme; with scripts and without, by keyboard alone.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { ADMIN, CALLER, LOOKS, accessible, admin, ask, eventually, launch, openSide, sound, startGateway, visitor } from "./dashboard.mjs";

let gateway, browser;
before(async () => { gateway = await startGateway(); browser = await launch(); });
after(async () => { await browser?.close(); await gateway?.stop(); });

for (const [theme, width] of LOOKS) for (const scripts of [true, false]) {
  test(`projects and keys, ${scripts ? "with" : "without"} scripts, ${theme}, ${width} px`, async () => {
    const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN, scripts, theme, width });
    const id = `${scripts ? "with-scripts" : "without"}-${theme}-${width}`;
    // axe-core is a script itself.
    const good = async (name) => { if (scripts) { await sound(page, name); await accessible(page, name); } };
    await page.goto("/ui/projects");
    await page.getByLabel("Id", { exact: true }).fill(id);
    await page.getByLabel("Budgets, USD").fill("250 per month\n20 per day");
    await page.getByLabel("Allowed models").fill("demo/*");
    await page.getByRole("button", { name: "Create" }).click();
    await page.waitForURL(`**/ui/projects/${id}`);
    await page.getByText("$250.00 of $250.00 left").waitFor();

    await page.locator("#create").getByLabel("Name").first().fill("ci & co");
    await page.locator("#create").getByRole("button", { name: "Create" }).click();
    const secret = (await page.locator("#newkey").textContent()).trim();
    assert.match(secret, /^lgw-[\w-]{43}$/);
    assert.ok(!page.url().includes(secret));
    await good("a new key");
    await page.getByRole("link", { name: "I have copied it" }).click();
    assert.ok(!(await page.content()).includes(secret), "a key is shown once");
    // The browser has nothing to show again: no cache stores the answer of the form.
    await page.goBack().catch(() => {});
    assert.ok(!(await page.content().catch(() => "")).includes(secret), "the browser's history does not show it either");
    // The browser's own error page is a navigation, which may still be under way and interrupt the next one.
    await eventually(() => page.goto(`/ui/projects/${id}`));
    await page.getByRole("link", { name: "ci & co" }).click();
    await page.getByRole("button", { name: "Disable" }).click();
    await page.getByRole("button", { name: "Enable" }).waitFor();
    await page.getByRole("button", { name: "Enable" }).click();
    await page.getByLabel("Keep the old key for").selectOption("0");
    await page.getByRole("button", { name: "Rotate" }).click();
    assert.notEqual((await page.locator("#newkey").textContent()).trim(), secret);
    await page.getByRole("link", { name: "I have copied it" }).click();
    await page.getByRole("link", { name: "ci & co" }).click();
    await page.getByLabel("Type ci & co to revoke it").fill("ci");
    await page.getByRole("button", { name: "Revoke" }).click();
    await page.getByText("The typed name is not the name of the key.").waitFor();
    await good("a wrong name");
    await page.getByRole("link", { name: "Back" }).click();
    await page.getByLabel("Type ci & co to revoke it").fill("ci & co");
    await page.getByRole("button", { name: "Revoke" }).click();
    await page.getByText(/^revoked/).first().waitFor();
    await good("a revoked key");
    clean();
    await openSide(page);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.waitForURL("**/ui/login");
    await page.goto("/ui/settings");
    assert.match(page.url(), /login/);
    await context.close();
  });
}

test("a finished request is in the log within a second or so, and waits while somebody reads", async () => {
  const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN });
  await ask(gateway.origin, { model: "demo/echo" });
  await page.goto("/ui/requests");
  await page.getByRole("switch", { name: /Live/ }).waitFor();
  const rows = page.locator("#log tbody tr");
  await rows.first().waitFor({ timeout: 5000 });
  const before = await rows.count();
  assert.equal(await ask(gateway.origin, { model: "fast" }), 200);
  await page.getByRole("link", { name: "fast" }).first().waitFor({ timeout: 5000 });
  assert.equal(await rows.count(), before + 1);
  // A row has the focus: nothing moves.
  await page.keyboard.press("j");
  assert.equal(await ask(gateway.origin, { model: "fast" }), 200);
  const held = page.getByRole("button", { name: "1 new" });
  await held.waitFor({ timeout: 5000 });
  assert.equal(await rows.count(), before + 1);
  await held.click();
  await page.waitForFunction((wanted) => document.querySelectorAll("#log tbody tr").length === wanted, before + 2);
  clean();
  await context.close();
});

test("by keyboard alone", async () => {
  const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN });
  await page.goto("/ui");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
  await page.keyboard.press("g"); await page.keyboard.press("p");
  await page.waitForURL("**/ui/projects");
  await page.keyboard.press("/");
  await page.keyboard.type("declared");
  await page.getByRole("option", { name: "declared" }).waitFor();
  await page.keyboard.press("Enter");
  await page.waitForURL("**/ui/projects/declared");
  await page.keyboard.press("?");
  await page.getByRole("heading", { name: "Keyboard" }).waitFor();
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("dialog[open]").count(), 0);
  await page.keyboard.press("g"); await page.keyboard.press("r");
  await page.waitForURL("**/ui/requests");
  await page.locator("#log tbody tr").first().waitFor();
  await page.keyboard.press("f");
  assert.equal(await page.evaluate(() => document.activeElement.name), "q");
  await page.keyboard.press("Escape");
  await page.keyboard.press("j"); await page.keyboard.press("Enter");
  await page.waitForURL("**/ui/requests/*");
  clean();
  await context.close();
});

test("the theme is kept, and drawn by the server", async () => {
  const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN, theme: "light" });
  await page.goto("/ui/settings");
  await page.getByRole("button", { name: "Dark" }).click();
  const answer = await page.goto("/ui/settings");
  assert.match(await answer.text(), /<html lang="en" data-theme="dark">/);
  await page.getByRole("button", { name: "Same as the system" }).click();
  assert.match(await (await page.goto("/ui/settings")).text(), /<html lang="en">/);
  clean();
  await context.close();
});

for (const [theme, width] of LOOKS) test(`an administrator suspends and resumes a provider, ${theme}, ${width} px`, async () => {
  const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN, scripts: width > 600, theme, width });
  await page.goto("/ui/routing?open=demo");
  await page.getByLabel("Reason to suspend: Whole provider").fill("<b>maintenance</b>");
  await page.getByRole("button", { name: "Suspend", exact: true }).first().click();
  await page.getByText("<b>maintenance</b>").waitFor();
  await page.goto("/ui/routing?model=demo%2Fecho");
  await page.getByText("suspended by an administrator").first().waitFor();
  await page.goto("/ui/audit");
  await page.getByText("routing.suspend").first().waitFor();
  await page.goto("/ui/routing?open=demo");
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByRole("button", { name: "Suspend", exact: true }).first().waitFor();
  clean();
  await context.close();
});

for (const [theme, width] of LOOKS) test(`explain names the provider that would serve, also for a whole request, ${theme}, ${width} px`, async () => {
  const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN, theme, width });
  await page.goto("/ui/routing");
  await page.getByRole("combobox", { name: /^For/ }).fill("demo/echo");
  await page.getByRole("button", { name: "Explain" }).first().click();
  await page.getByText(/^demo would serve echo/).waitFor();
  await page.getByText("Explain a whole request").click();
  await page.getByLabel("Request body of /v1/chat/completions").fill('{"model": "nobody/has-this", "messages": []}');
  await page.getByRole("button", { name: "Explain" }).last().click();
  await page.locator(".verdict .st.bad").waitFor();
  await sound(page, "explain");
  clean();
  await context.close();
});

test("the same cost in the answer, the log, the sums and the metrics, to the last digit", async () => {
  const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN });
  let sum = 0n;
  const pico = (usd) => { const [whole, digits = ""] = String(usd).split("."); return BigInt(whole) * 10n ** 12n + BigInt(digits.padEnd(12, "0")); };
  for (const [at, text] of ["Hello", "A longer question", "x".repeat(500)].entries()) {
    const id = `req_cost${String(at).repeat(20)}`;
    const answer = await fetch(`${gateway.origin}/v1/chat/completions`, {
      method: "POST", headers: { authorization: `Bearer ${CALLER}`, "content-type": "application/json", "x-request-id": id },
      body: JSON.stringify({ model: "demo/paid", messages: [{ role: "user", content: text }] }),
    });
    const { usage } = JSON.parse(await answer.text());
    const cost = pico(answer.headers.get("x-llmgateway-cost-usd"));
    assert.equal(cost, BigInt(usage.prompt_tokens) * 3_000_000n + BigInt(usage.completion_tokens) * 15_000_000n);
    sum += cost;
    for (let tries = 0; tries < 100; tries += 1) { if ((await page.goto(`/ui/requests/${id}`)).ok()) break; await page.waitForTimeout(50); }
    const shown = await page.locator("dl.kv", { hasText: "Charged" }).last().locator(".dig").last().textContent();
    assert.equal(pico(shown.slice(1)), cost, shown);
  }
  await page.goto("/ui/projects/default");
  const { data } = await admin(gateway.origin, "GET", "usage?scope=project:default&days=1");
  assert.equal(pico(data[0].spent_usd), sum);
  await page.goto("/ui");
  const row = page.getByRole("region", { name: "Cost by model" }).getByRole("row", { name: /paid/ });
  const digits = Number(sum) / 1e12;
  assert.ok((await row.textContent()).includes(`$${digits.toFixed(digits >= 0.01 ? 4 : 6)}`), await row.textContent());
  const metrics = await (await fetch(`${gateway.origin}/metrics`)).text();
  const counted = metrics.split("\n").filter((line) => /^llmgateway_cost_usd_total\{.*model="paid"/.test(line)).map((line) => Number(line.split(" ").at(-1)));
  assert.ok(counted.length > 0 && Math.abs(counted.reduce((all, one) => all + one, 0) - digits) < 1e-12, `${counted}`);
  clean();
  await context.close();
});

for (const [theme, width] of LOOKS) test(`the playground asks two models side by side, and shows the code for it, ${theme}, ${width} px`, async () => {
  const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN, theme, width });
  await page.goto("/ui/playground?model=demo%2Fecho");
  await page.getByRole("button", { name: "Model", exact: true }).click();
  const models = page.getByRole("combobox", { name: "Model" });
  assert.equal(await models.count(), 2);
  await models.last().fill("fast");
  await page.getByLabel("System prompt").fill("Be brief.");
  await page.getByLabel("Message").fill("<b>Hello</b> there");
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "request", exact: true }).nth(1).waitFor({ timeout: 10000 });
  assert.equal(await page.locator(".msg.err").count(), 0);
  assert.equal(await page.locator(".thread b b, .msg.user b").count(), 0, "markup in texts is not rendered");
  assert.match(await page.locator("[data-fig=tokens]").first().textContent(), /\d+ → \d+/);
  await page.getByRole("button", { name: "Code" }).click();
  assert.match(await page.locator("#snippet").textContent(), /^curl http.*"model": "demo\/echo"/s);
  for (const [language, words] of [["Python", "OpenAI(base_url="], ["Node", "new OpenAI("]]) {
    await page.getByRole("button", { name: language }).click();
    assert.ok((await page.locator("#snippet").textContent()).includes(words));
  }
  await accessible(page, "the code");
  await page.getByRole("button", { name: "Close" }).click();
  await sound(page, "answers side by side");
  // A refusal by the gateway is shown in the place of the answer.
  await models.last().fill("nobody/has-this");
  await page.getByLabel("Message").fill("Again");
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator(".msg.err").waitFor({ timeout: 10000 });
  clean();
  await page.getByRole("link", { name: "request", exact: true }).first().click();
  await page.waitForURL("**/ui/requests/req_*");
  await context.close();
});

test("the playground does not bypass keys", async () => {
  const { page, context } = await visitor(browser, gateway.origin, { key: ADMIN });
  await page.goto("/ui/playground");
  const ask = (headers) => page.evaluate(async (headers) => (await fetch("/ui/playground/ask", { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify({ model: "demo/echo", messages: [{ role: "user", content: "x" }] }) })).status, headers);
  assert.equal(await ask({}), 403, "without the token of the page");
  assert.equal(await ask({ "x-form-token": await page.locator("#play").getAttribute("data-token") }), 200);
  await context.clearCookies();
  assert.equal(await ask({ "x-form-token": "x" }), 401, "without a session");
  await context.close();
});
