// A real identity provider for the tests: oidc-provider, with its own pages for sign-in and consent.
// node issuer.mjs PORT REDIRECT_URI. Prints a line once it listens.
import { Provider } from "oidc-provider";

const [port, redirect] = process.argv.slice(2);
const ROLES = { root: ["gateway-admin"], eve: ["gateway-viewer"], mallory: ["somebody-else"] };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id: "llmgateway", client_secret: "secret+of the/client%of the browser tests", redirect_uris: [redirect] }],
  // Everything but the subject is in userinfo, as the standard requires for this flow.
  claims: { openid: ["sub"], profile: ["name", "roles"], email: ["email", "email_verified"] },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, name: `${id} <b>`, email: `${id}@example.com`, email_verified: true, roles: ROLES[id] ?? [] }) }),
  cookies: { keys: ["of the tests"] },
  pkce: { required: () => true },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listens"));
