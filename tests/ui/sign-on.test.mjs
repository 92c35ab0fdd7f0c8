// Sign-in by OpenID Connect, at a real provider (oidc-provider), in a browser.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { ADMIN, accessible, admin, freePort, launch, shot, sound, startGateway, visitor } from "./dashboard.mjs";

const FOLDER = new URL("./issuer/", import.meta.url).pathname;
const skip = existsSync(`${FOLDER}node_modules/oidc-provider`) ? false : "oidc-provider is not installed (npm ci --prefix tests/ui/issuer)";
const SECRET = "secret+of the/client%of the browser tests";

let gateway, browser, issuer, issuerUrl;

async function startIssuer(port, redirect) {
  const child = spawn(process.execPath, ["issuer.mjs", String(port), redirect], { cwd: FOLDER, stdio: ["ignore", "pipe", "ignore"] });
  await new Promise((done, failed) => { child.stdout.once("data", done); child.once("exit", () => failed(new Error("the provider does not start"))); });
  return child;
}

before(async () => {
  if (skip) return;
  const port = await freePort();
  issuerUrl = `http://127.0.0.1:${port}`;
  gateway = await startGateway((origin) => `
[auth.oidc]
issuer = "${issuerUrl}"
client_id = "llmgateway"
client_secret = "${SECRET}"
public_url = "${origin}"
label = "Sign in with the test provider"
admins = ["gateway-admin"]
viewers = ["gateway-viewer"]
`);
  issuer = await startIssuer(port, `${gateway.origin}/ui/oidc/callback`);
  browser = await launch();
});
after(async () => { await browser?.close(); issuer?.kill(); await gateway?.stop(); });

/// Signs in at the provider's own pages.
async function signIn(page, account) {
  await page.getByRole("link", { name: "Sign in with the test provider" }).click();
  await page.locator("input[name=login]").fill(account);
  await page.locator("input[name=password]").fill("any");
  await page.locator("button[type=submit]").click();
  await page.getByRole("button", { name: "Continue" }).click();
}

for (const scripts of [true, false]) test(`an administrator, ${scripts ? "with" : "without"} scripts`, { skip }, async () => {
  const context = await browser.newContext({ baseURL: gateway.origin, javaScriptEnabled: scripts });
  const page = await context.newPage();
  await page.goto("/ui/requests?q=model%3Ax");
  await signIn(page, "root");
  await page.waitForURL("**/ui/requests?q=model%3Ax");
  await page.goto("/ui/settings");
  await page.getByRole("button", { name: "Check and reload" }).waitFor();
  assert.ok((await page.content()).includes("root@example.com"));
  assert.ok(!(await page.content()).includes("browser tests"), "the client's secret is masked");
  const cookies = await context.cookies();
  const session = cookies.find(({ name }) => name === "llmgateway_session");
  assert.deepEqual([session.httpOnly, session.sameSite], [true, "Strict"]);
  assert.ok(!cookies.some(({ name }) => name === "llmgateway_sign_on"), "the cookie of the sign-in is deleted");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL("**/ui/login");
  await context.close();
});

test("a viewer, somebody without a role, and a provider that is away", { skip }, async () => {
  for (const [account, reload] of [["eve", 0], ["mallory", null]]) {
    const context = await browser.newContext({ baseURL: gateway.origin });
    const page = await context.newPage();
    await page.goto("/ui/settings");
    await signIn(page, account);
    if (reload === null) {
      await page.getByRole("alert").getByText("This account cannot sign in here").waitFor();
      await page.goto("/ui/settings");
      assert.match(page.url(), /login/);
    } else {
      await page.waitForURL("**/ui/settings");
      assert.equal(await page.getByRole("button", { name: "Check and reload" }).count(), reload);
    }
    await context.close();
  }
  const { data } = await admin(gateway.origin, "GET", "audit?limit=50").catch(() => ({}));
  if (data) assert.ok(data.some(({ actor }) => actor === "oidc:root@example.com"), JSON.stringify(data));
  assert.ok(!gateway.log().includes("browser tests"), "no secret in the log");

  issuer.kill();
  const { page, context, clean } = await visitor(browser, gateway.origin, { width: 390 });
  await page.goto("/ui/login");
  await sound(page, "login with a provider");
  clean();
  await accessible(page, "login with a provider");
  await shot(page, "login-provider-light-390");
  await page.getByRole("link", { name: "Sign in with the test provider" }).click();
  // The gateway keeps the provider's document for an hour, so the browser is the first to notice that the provider is away.
  await page.goBack().catch(() => {});
  await page.goto("/ui/login").catch(() => page.goto("/ui/login"));
  await page.getByLabel("Admin or viewer key").fill(ADMIN);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.waitForURL("**/ui");
  await context.close();
});
