// A database with many records: every page is bounded, whatever there is. `cargo xtask dashboard` runs it with a million of them.
import { after, before, test } from "node:test";
import { execFileSync } from "node:child_process";
import assert from "node:assert/strict";
import { ADMIN, accessible, launch, shot, sound, startGateway, visitor } from "./dashboard.mjs";

const GENERATOR = process.env.LLMGATEWAY_GENERATOR ?? new URL("../../target/debug/examples/generate_usage", import.meta.url).pathname;
const RECORDS = process.env.LLMGATEWAY_RECORDS ?? "10000";
const KEY = "key_0000000000000003";

let gateway, browser;
before(async () => {
  gateway = await startGateway(() => "", (url) => execFileSync(GENERATOR, ["--records", RECORDS, "--database", url], { stdio: "pipe" }));
  browser = await launch();
});
after(async () => { await browser?.close(); await gateway?.stop(); });

const PAGES = [
  ["overview", "/ui?range=7d"], ["overview-30d", "/ui?range=30d"], ["requests", "/ui/requests?range=30d"], ["requests-failed", "/ui/requests?range=30d&view=is%3Afailed"],
  ["requests-of-a-key", `/ui/requests?range=30d&q=key%3A${KEY}`], ["requests-unpriced", "/ui/requests?range=30d&view=is%3Aunpriced"], ["requests-rare", "/ui/requests?range=30d&q=nothing-is-like-this"],
  ["models", "/ui/models"], ["routing", "/ui/routing"], ["projects", "/ui/projects"], ["project", "/ui/projects/default"], ["settings", "/ui/settings"], ["audit", "/ui/audit"], ["playground", "/ui/playground"],
];

test("every page is bounded and sound", async (t) => {
  const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN });
  for (const [name, path] of PAGES) {
    await t.test(name, async () => {
      const answer = await page.goto(path);
      assert.equal(answer.status(), 200);
      const { length } = await answer.body();
      assert.ok(length < 700_000, `${length} bytes`);
      assert.ok(await page.locator("#log tbody tr").count() <= 60);
      await sound(page, name);
      clean();
      await shot(page, `large-${name}`);
    });
  }
  await page.goto("/ui/requests?range=30d");
  await accessible(page, "many requests");
  await context.close();
});

test("sums, the histogram and the pages of the log reach all records", async () => {
  const { page, context, clean } = await visitor(browser, gateway.origin, { key: ADMIN });
  await page.goto("/ui?range=30d");
  const requests = await page.locator(".strip > div", { has: page.getByText("Requests", { exact: true }) }).locator("[title]").getAttribute("title");
  const number = Number(requests.replaceAll(",", ""));
  // Ninety days are filled evenly, and a third of them is in the range.
  assert.ok(number > RECORDS * 0.32 && number < RECORDS * 0.36, requests);
  await page.goto("/ui/requests?range=30d");
  const words = await page.locator("figure.hist").getAttribute("aria-label");
  assert.match(words, /^\d+ requests, \d+ recovered, \d+ failed/);
  assert.ok(Math.abs(Number(words.split(" ")[0]) - number) < number * 0.03, `${words}, ${requests}`);
  const seen = new Set();
  for (let pages = 0; pages < 3; pages += 1) {
    for (const cursor of await page.locator("#log tbody tr").evaluateAll((rows) => rows.map((row) => row.dataset.c))) seen.add(cursor);
    await page.getByRole("link", { name: "Older" }).click();
    await page.waitForURL(/before=/);
    await page.locator("#log tbody tr").first().waitFor();
  }
  assert.equal(seen.size, 180, "three pages have sixty different rows each");
  await page.getByText(/unpriced/).first().waitFor();
  clean();
  await context.close();
});
