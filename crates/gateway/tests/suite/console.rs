//! The dashboard, as a browser without scripts uses it.

use serde_json::{Value, json};

use crate::support::{Reply, TestGateway, Upstream, answer, send};

const CONFIG: &str = "[auth]\napi_keys = [\"test-key\"]\nadmin_keys = [\"root\"]\n[projects.declared]\nmodels = [\"mine/*\"]\n\
     keys = [{ name = \"watch\", key = \"viewer-key\", roles = [\"viewer\"] }, { name = \"ask\", key = \"ask-key\" }]\n";

async fn started() -> TestGateway {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    TestGateway::start(&format!("{}{CONFIG}", upstream.provider("mine", "openai-chat"))).await
}

/// A browser: it keeps the cookie of its session.
pub struct Browser<'a> {
    gateway: &'a TestGateway,
    cookie: String,
}

impl<'a> Browser<'a> {
    pub fn new(gateway: &'a TestGateway) -> Self {
        Self { gateway, cookie: String::new() }
    }

    /// A browser that is signed in with this key.
    pub async fn with(gateway: &'a TestGateway, key: &str) -> Self {
        let mut browser = Self::new(gateway);
        let reply = browser.sign_in(key).await;
        assert_eq!(reply.status, 303, "{}", reply.text());
        browser
    }

    pub async fn sign_in(&mut self, key: &str) -> Reply {
        let reply = self.post("/ui/login", &[("key", key)]).await;
        self.keep(&reply);
        reply
    }

    fn keep(&mut self, reply: &Reply) {
        if let Some(cookie) = reply.header("set-cookie") {
            self.cookie = cookie.split(';').next().unwrap().to_owned();
        }
    }

    async fn send(&self, line: &str, more: &str, body: &str) -> Reply {
        let text = format!(
            "{line} HTTP/1.1\r\nhost: g:4000\r\ncookie: {}\r\nconnection: close\r\n{more}content-length: {}\r\n\r\n{body}",
            self.cookie,
            body.len()
        );
        send(self.gateway.address, text.as_bytes()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(&format!("GET {path}"), "accept: text/html\r\n", "").await
    }

    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.post_with(path, "origin: http://g:4000\r\nsec-fetch-site: same-origin\r\n", fields).await
    }

    async fn post_with(&self, path: &str, more: &str, fields: &[(&str, &str)]) -> Reply {
        let body = form(fields);
        let more = format!("{more}content-type: application/x-www-form-urlencoded\r\n");
        self.send(&format!("POST {path}"), &more, &body).await
    }

    /// The token of this session's forms.
    pub async fn token(&self) -> String {
        let page = self.get("/ui/settings").await.text();
        let (_, rest) = page.split_once("name=\"token\" value=\"").expect("a form");
        rest.split('"').next().unwrap().to_owned()
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let escaped = |text: &str| -> String {
        text.bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect()
    };
    fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect::<Vec<_>>().join("&")
}

#[tokio::test]
async fn an_admin_key_signs_in_and_out() {
    let gateway = started().await;
    let mut browser = Browser::new(&gateway);
    let away = browser.get("/ui/settings?x=1").await;
    assert_eq!(
        (away.status, away.header("location")),
        (303, Some("/ui/login?next=%2Fui%2Fsettings%3Fx%3D1"))
    );
    let form = browser.get("/ui/login?next=%2Fui%2Faudit").await;
    assert!(form.text().contains("name=\"next\" value=\"/ui/audit\""), "{}", form.text());

    let reply = browser.post("/ui/login", &[("key", "root"), ("next", "/ui/audit")]).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/ui/audit")));
    let cookie = reply.header("set-cookie").unwrap();
    for flag in ["Path=/ui", "HttpOnly", "SameSite=Strict", "Max-Age=43200"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "without TLS browsers would drop it: {cookie}");
    let forwarded = "origin: http://g:4000\r\nx-forwarded-proto: https\r\n";
    let behind_proxy = browser.post_with("/ui/login", forwarded, &[("key", "root")]).await;
    assert!(behind_proxy.header("set-cookie").unwrap().contains("; Secure"));
    browser.keep(&reply);

    let page = browser.get("/ui/settings").await;
    assert_eq!((page.status, page.header("cache-control")), (200, Some("no-store")));
    let text = page.text();
    assert!(text.contains("Configuration in force") && !text.contains("root\""), "{text}");
    assert!(browser.get("/ui/audit").await.text().contains("session.create"));
    assert_eq!(browser.get("/ui/nothing").await.status, 404);

    let token = browser.token().await;
    let out = browser.post("/ui/logout", &[("token", &token)]).await;
    assert_eq!((out.status, out.header("location")), (303, Some("/ui/login")));
    assert_eq!(browser.get("/ui/settings").await.status, 303, "the cookie alone is no session any more");
}

#[tokio::test]
async fn wrong_keys_are_refused_alike_and_not_often() {
    let gateway = started().await;
    let mut browser = Browser::new(&gateway);
    let unknown = browser.sign_in("nonsense").await;
    assert_eq!(unknown.status, 401);
    let inference = browser.sign_in("ask-key").await;
    assert_eq!((inference.status, inference.header("set-cookie")), (403, None));
    assert!(inference.text().contains("<b>declared</b>"), "{}", inference.text());
    let tries = (0..9).map(|_| browser.post("/ui/login", &[("key", "wrong")]));
    let replies = futures_util::future::join_all(tries).await;
    let refused = replies.iter().filter(|reply| reply.status == 429).count();
    assert_eq!(refused, 1, "ten a minute from one address");
    assert_eq!(browser.sign_in("root").await.status, 429, "nor with a good key");
}

#[tokio::test]
async fn security_headers_and_form_tokens_keep_other_sites_out() {
    let gateway = started().await;
    let browser = Browser::with(&gateway, "root").await;
    let page = browser.get("/ui/settings").await;
    let csp = page.header("content-security-policy").unwrap();
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(csp.contains(rule), "{csp}");
    }
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let text = page.text();
    assert!(!text.contains(" style=") && !text.contains("<style") && !text.contains(" onclick"), "{text}");
    // Assets are cached without expiry under the hash of their content.
    let (_, rest) = text.split_once("href=\"/ui/assets/").unwrap();
    let asset = format!("/ui/assets/{}", rest.split('"').next().unwrap());
    let asset = browser.get(&asset).await;
    assert_eq!(
        (asset.status, asset.header("cache-control")),
        (200, Some("public, max-age=31536000, immutable"))
    );
    assert_eq!(browser.get("/ui/assets/000000000000/style.css").await.status, 404);

    // Forms of other sites and of other sessions, and forms without a token.
    let token = browser.token().await;
    let fields = [("token", token.as_str())];
    for more in ["origin: http://evil.example\r\n", "sec-fetch-site: cross-site\r\n", "origin: null\r\n"] {
        assert_eq!(browser.post_with("/ui/settings/reload", more, &fields).await.status, 403, "{more}");
    }
    assert_eq!(browser.post("/ui/settings/reload", &[("token", "x")]).await.status, 403);
    assert_eq!(browser.post("/ui/settings/reload", &[]).await.status, 403);
    let other = Browser::with(&gateway, "root").await;
    assert_eq!(other.post("/ui/settings/reload", &fields).await.status, 403, "a token of another session");
    assert_eq!(
        Browser::new(&gateway)
            .post("/ui/login", &[("key", "root"), ("next", "//evil.example")])
            .await
            .header("location"),
        Some("/ui")
    );
}

#[tokio::test]
async fn a_viewer_can_read_and_cannot_change() {
    let gateway = started().await;
    let admin = Browser::with(&gateway, "root").await;
    let viewer = Browser::with(&gateway, "viewer-key").await;
    let page = viewer.get("/ui/settings").await.text();
    assert!(!page.contains("/ui/settings/reload"), "no button that would be refused: {page}");
    let token = viewer.token().await;
    assert_eq!(viewer.post("/ui/settings/reload", &[("token", &token)]).await.status, 403);
    // Viewers may end their own session but no other.
    let sessions = gateway.api.store.sessions(0).await.unwrap();
    let id_of = |role: &str| sessions.iter().find(|session| session.role == role).unwrap().id.clone();
    let end = |id: String| {
        let fields = [("token".to_owned(), token.clone()), ("id".to_owned(), id)];
        let viewer = &viewer;
        async move {
            let fields: Vec<(&str, &str)> =
                fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            viewer.post("/ui/settings/sessions/end", &fields).await.status
        }
    };
    assert_eq!(end(id_of("admin")).await, 403);
    assert_eq!(admin.get("/ui/settings").await.status, 200);
    assert_eq!(end(id_of("viewer")).await, 303);
    assert_eq!(viewer.get("/ui/settings").await.status, 303);
}

/// Every page, also with its optional views.
const PAGES: [&str; 18] = [
    "/ui",
    "/ui?range=30d",
    "/ui/requests",
    "/ui/requests?q=is%3Ahit",
    "/ui/requests/rows",
    "/ui/requests/req_nothing",
    "/ui/models",
    "/ui/models?show=matrix",
    "/ui/playground",
    "/ui/routing?open=mine",
    "/ui/routing?model=mine%2Fa",
    "/ui/projects",
    "/ui/projects/declared",
    "/ui/projects/nobody",
    "/ui/settings",
    "/ui/audit",
    "/ui/find?q=mine",
    "/ui/keys/nothing",
];

#[tokio::test]
async fn no_page_offers_a_viewer_a_change() {
    let gateway = started().await;
    let viewer = Browser::with(&gateway, "viewer-key").await;
    for path in PAGES {
        let page = viewer.get(path).await;
        assert!(matches!(page.status, 200 | 404), "{path}: {}", page.status);
        let text = page.text();
        let forms = text.split("<form").skip(1).map(|form| form.split('>').next().unwrap());
        for form in forms.filter(|form| form.contains("method=\"post\"")) {
            let is_harmless = ["/ui/logout", "/ui/settings/sessions/end", "/ui/routing/explain"]
                .iter()
                .any(|action| form.contains(&format!("action=\"{action}\"")));
            assert!(is_harmless, "{path}: {form}");
        }
    }
    let token = viewer.token().await;
    for path in [
        "/ui/settings/reload",
        "/ui/routing/suspend",
        "/ui/projects",
        "/ui/projects/declared",
        "/ui/projects/declared/keys",
        "/ui/keys/x/revoke",
        "/ui/keys/x/rotate",
        "/ui/keys/x/disable",
    ] {
        let fields = [("token", token.as_str()), ("id", "x"), ("name", "x"), ("provider", "mine")];
        assert_eq!(viewer.post(path, &fields).await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn every_page_reports_that_the_database_is_away() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&format!("{}{CONFIG}", upstream.provider("mine", "openai-chat"))).await;
    let admin = Browser::with(&gateway, "root").await;
    gateway.api.store.close().await;
    for path in PAGES {
        let page = admin.get(path).await;
        let text = page.text();
        assert_eq!(page.status, 503, "{path}: {text}");
        assert!(
            text.contains("The database does not answer") && text.contains("Try again"),
            "{path}: {text}"
        );
    }
    let token = "x".repeat(24);
    let change = admin.post("/ui/settings/reload", &[("token", &token)]).await;
    assert_eq!(change.status, 503);
    assert_eq!(admin.get("/ui/login").await.status, 200);
    let asked =
        gateway.chat(&json!({"model": "mine/a", "messages": [{"role": "user", "content": "x"}]})).await;
    assert_eq!(asked.status, 200, "callers are served: {}", asked.text());
}

#[tokio::test]
async fn a_suspension_set_in_the_console_has_the_limits_of_the_api() {
    let gateway = started().await;
    let admin = Browser::with(&gateway, "root").await;
    let token = admin.token().await;
    let suspend = |reason: String, hours: &'static str| {
        let (admin, token) = (&admin, &token);
        async move {
            let fields =
                [("token", token.as_str()), ("provider", "mine"), ("reason", &reason), ("hours", hours)];
            admin.post("/ui/routing/suspend", &fields).await
        }
    };
    for (reason, hours, words) in [
        ("x".repeat(501), "", "The reason may have at most 500 bytes."),
        ("x".to_owned(), "0", "A suspension lasts from 1 to"),
        ("x".to_owned(), "soon", "A suspension lasts from 1 to"),
        ("x".to_owned(), "8785", "A suspension lasts from 1 to"),
    ] {
        let reply = suspend(reason, hours).await;
        assert!(reply.status == 400 && reply.text().contains(words), "{hours}: {}", reply.text());
    }
    assert!(gateway.api.store.suspensions().await.unwrap().is_empty());
    assert_eq!(suspend("x".repeat(500), "8784").await.status, 303);
    let suspensions = gateway.api.store.suspensions().await.unwrap();
    assert_eq!(suspensions[0].until_ms, Some(suspensions[0].since_ms + 366 * 24 * 3_600_000));
    let log = gateway.api.store.audit_before(i64::MAX, 1).await.unwrap();
    assert_eq!(
        (log[0].target.as_str(), log[0].actor.as_str()),
        ("provider:mine", suspensions[0].actor.as_str())
    );
    assert!(log[0].detail.contains("\"seconds\":31622400"), "{}", log[0].detail);
}

#[tokio::test]
async fn a_session_loses_its_access_with_its_key() {
    let gateway = started().await;
    let store = &gateway.api.store;
    let fields = store::KeyFields {
        roles: "admin".to_owned(),
        ..store::KeyFields::named("<script>alert(1)</script>")
    };
    let (row, secret) = store.create_key_with(&fields, None, 1).await.unwrap();
    let mut browser = Browser::new(&gateway);
    gateway.api.auth.reload().await.unwrap();
    assert_eq!(browser.sign_in(secret.expose()).await.status, 303);
    assert_eq!(browser.get("/ui/settings").await.status, 200);
    let mut viewer = row.clone();
    viewer.fields.roles = "viewer".to_owned();
    store.update_key(&viewer, None, 2).await.unwrap();
    gateway.api.auth.reload().await.unwrap();
    assert!(
        !browser.get("/ui/settings").await.text().contains("/ui/settings/reload"),
        "a viewer from now on"
    );
    store.revoke_key(&row.id, 3).await.unwrap();
    gateway.api.auth.reload().await.unwrap();
    assert_eq!(browser.get("/ui/settings").await.status, 303);
}

#[tokio::test]
async fn the_printed_link_signs_in_once() {
    let gateway = started().await;
    let code = gateway.api.console.new_code().unwrap();
    let mut browser = Browser::new(&gateway);
    let head = browser.send(&format!("HEAD /ui/login?code={code}"), "", "").await;
    assert_eq!((head.status, head.header("set-cookie")), (200, None), "a preview does not use the code");
    let reply = browser.get(&format!("/ui/login?code={code}")).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/ui")));
    browser.keep(&reply);
    assert_eq!(browser.get("/ui/settings").await.status, 200);
    let again = Browser::new(&gateway).get(&format!("/ui/login?code={code}")).await;
    assert_eq!((again.status, again.header("set-cookie")), (401, None));
}

#[tokio::test]
async fn a_reload_is_shown_with_its_mistakes() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!("{}{CONFIG}", upstream.provider("mine", "openai-chat"));
    let gateway = TestGateway::start_from_file(&config).await;
    let browser = Browser::with(&gateway, "root").await;
    let token = browser.token().await;
    gateway.rewrite(&format!("{config}[routing]\nmax_retrys = 1\n"));
    assert_eq!(browser.post("/ui/settings/reload", &[("token", &token)]).await.status, 303);
    let page = browser.get("/ui/settings").await.text();
    assert!(page.contains("Refused at") && page.contains("max_retrys"), "{page}");
    gateway.rewrite(&format!("{config}[timeouts]\nconnect = 3\n"));
    browser.post("/ui/settings/reload", &[("token", &token)]).await;
    let page = browser.get("/ui/settings").await.text();
    assert!(page.contains("In force since"), "{page}");
    assert!(!page.contains("root") && !page.contains("ask-key") && page.contains("•••"), "{page}");
    assert!(page.contains(">connect</span> = <span class=\"s\">3<"), "{page}");
    let log: Value = json!(
        gateway
            .api
            .store
            .audit_before(i64::MAX, 3)
            .await
            .unwrap()
            .iter()
            .map(|row| row.action.clone())
            .collect::<Vec<_>>()
    );
    assert_eq!(log, json!(["reload", "reload", "session.create"]));
}

/// The value of a hidden field.
fn hidden(page: &str, name: &str) -> String {
    let (_, rest) =
        page.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("{name}: {page}"));
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test]
async fn projects_and_keys_are_made_and_revoked_by_forms() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&format!("{}{CONFIG}", upstream.provider("mine", "openai-chat"))).await;
    let browser = Browser::with(&gateway, "root").await;
    let token = browser.token().await;
    create_project(&browser, &token).await;
    let secret = create_key(&browser, &token).await;
    let bearer = format!("Bearer {secret}");
    let ask = async || {
        let headers = [("authorization", bearer.as_str())];
        gateway.chat_with(&headers, &crate::support::question("mine/m")).await.status
    };
    assert_eq!(ask().await, 200);
    let row = gateway.api.store.list_keys().await.unwrap().pop().unwrap();
    let key_page = browser.get(&format!("/ui/keys/{}", row.id)).await.text();
    assert!(!key_page.contains(&secret) && key_page.contains("ci &quot;x&quot;"), "{key_page}");
    assert!(key_page.contains("7 concurrent requests") && key_page.contains("0 of 7 running"), "{key_page}");

    let rotation = [("token", &*token), ("once", "1"), ("hours", "0")];
    let rotated = browser.post(&format!("/ui/keys/{}/rotate", row.id), &rotation).await;
    assert_eq!((rotated.status, ask().await), (200, 401));
    revoke_key(&browser, &token, &row.id).await;
    assert!(gateway.api.store.key(&row.id).await.unwrap().unwrap().revoked_at_ms.is_some());

    assert_outdated_change_is_refused(&browser, &token).await;
    assert_viewer_changes_nothing(&Browser::with(&gateway, "viewer-key").await).await;
}

async fn create_project(browser: &Browser<'_>, token: &str) {
    let fields = [
        ("token", token),
        ("id", "team"),
        ("name", "<b>Team</b>"),
        ("models", "mine/*"),
        ("limits", "40 concurrent"),
        ("unpriced", "allow"),
    ];
    let made = browser.post("/ui/projects", &fields).await;
    assert_eq!((made.status, made.header("location")), (303, Some("/ui/projects/team")), "{}", made.text());
    let wrong =
        browser.post("/ui/projects", &[("token", token), ("id", "b"), ("budgets", "5 per fortnight")]).await;
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    assert_eq!(browser.post("/ui/projects", &[("token", token), ("id", "declared")]).await.status, 400);
    assert!(browser.get("/ui/projects").await.text().contains("&lt;b&gt;Team&lt;/b&gt;"));
}

/// The secret of the new key.
async fn create_key(browser: &Browser<'_>, token: &str) -> String {
    let page = browser.get("/ui/projects/team?model=mine%2Fm").await.text();
    assert!(page.contains("0 of 40 running") && page.contains(">Yes<"), "{page}");
    let once = hidden(&page, "once");
    let fields = [
        ("token", token),
        ("once", &once),
        ("name", "ci \"x\""),
        ("role", "inference"),
        ("days", "30"),
        ("limits", "7 concurrent"),
    ];
    let key = browser.post("/ui/projects/team/keys", &fields).await;
    assert_eq!((key.status, key.header("cache-control")), (200, Some("no-store")));
    let repeated = browser.post("/ui/projects/team/keys", &fields).await;
    assert_eq!(repeated.status, 409, "a reload creates no second key");
    let text = key.text();
    let (_, after) = text.split_once("id=\"newkey\" tabindex=\"0\">").unwrap();
    after.split('<').next().unwrap().to_owned()
}

async fn revoke_key(browser: &Browser<'_>, token: &str, id: &str) {
    let disable = format!("/ui/keys/{id}/disable");
    assert_eq!(browser.post(&disable, &[("token", token)]).await.status, 303);
    let revoke = format!("/ui/keys/{id}/revoke");
    let unnamed = browser.post(&revoke, &[("token", token), ("sure", "ci")]).await;
    assert_eq!(unnamed.status, 400, "the name is needed");
    assert_eq!(browser.post(&revoke, &[("token", token), ("sure", "ci \"x\"")]).await.status, 303);
}

async fn assert_outdated_change_is_refused(browser: &Browser<'_>, token: &str) {
    let page = browser.get("/ui/projects/team").await.text();
    let change = [
        ("token", token),
        ("version", &*hidden(&page, "version")),
        ("name", "Team"),
        ("budgets", "3 per month"),
    ];
    assert_eq!(browser.post("/ui/projects/team", &change).await.status, 303);
    assert_eq!(browser.post("/ui/projects/team", &change).await.status, 409);
    assert!(browser.get("/ui/projects/team").await.text().contains("$3.00 of $3.00 left"));
}

async fn assert_viewer_changes_nothing(viewer: &Browser<'_>) {
    let token = viewer.token().await;
    let page = viewer.get("/ui/projects/team").await.text();
    assert!(!page.contains("/ui/projects/team/keys"), "no form that would be refused");
    let fields = [("token", &*token), ("name", "x"), ("once", "2")];
    assert_eq!(viewer.post("/ui/projects/team/keys", &fields).await.status, 403);
}
