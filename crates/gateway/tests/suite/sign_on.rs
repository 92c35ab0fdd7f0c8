//! Sign-in to the dashboard by an identity provider: a small one of our own, whose tokens and documents a test can change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    RsaKeyPair, RsaPublicKeyComponents,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::support::{Reply, TestGateway, advance_seconds, logged, send, start_log, with_held_clock};
use crate::token_server::{TokenRequest, TokenServer};

const SECRET: &str = "canary+secret of the client/%";

/// The changes to the next answers. A null removes a field.
#[derive(Clone)]
struct AnswerChanges {
    claims: Value,
    header: Value,
    document: Value,
    userinfo: Value,
    /// The `kid` that signs, and the published ones.
    signer: &'static str,
    published: Vec<&'static str>,
    /// Refuses every request with this status.
    status: u16,
}

impl Default for AnswerChanges {
    fn default() -> Self {
        Self {
            claims: json!({}),
            header: json!({}),
            document: json!({}),
            userinfo: json!({}),
            signer: "es256",
            published: vec!["es256", "es384", "rsa", "ed"],
            status: 200,
        }
    }
}

struct Keys {
    es256: EcdsaKeyPair,
    other: EcdsaKeyPair,
    es384: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

impl Keys {
    fn new() -> Self {
        let random = SystemRandom::new();
        let ec = |algorithm| {
            let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()
        };
        let pem = include_bytes!("../data/service_account.pem");
        let PrivateKeyDer::Pkcs8(rsa) = PrivateKeyDer::from_pem_slice(pem).unwrap() else {
            panic!("PKCS #8")
        };
        Self {
            es256: ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            other: ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            es384: ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            ed: Ed25519KeyPair::from_pkcs8(Ed25519KeyPair::generate_pkcs8(&random).unwrap().as_ref())
                .unwrap(),
            rsa: RsaKeyPair::from_pkcs8(rsa.secret_pkcs8_der()).unwrap(),
        }
    }

    fn public(&self, kid: &str) -> Value {
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = |key: &EcdsaKeyPair, curve: &str, size: usize| {
            let point = &key.public_key().as_ref()[1..];
            json!({"kty": "EC", "crv": curve, "x": encoded(&point[..size]), "y": encoded(&point[size..])})
        };
        let mut key = match kid {
            "es256" => point(&self.es256, "P-256", 32),
            "other" => point(&self.other, "P-256", 32),
            "es384" => point(&self.es384, "P-384", 48),
            "ed" => json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(self.ed.public_key().as_ref())}),
            _ => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
                json!({"kty": "RSA", "n": encoded(&public.n), "e": encoded(&public.e)})
            }
        };
        key["kid"] = json!(kid);
        key["use"] = json!("sig");
        key
    }

    fn sign(&self, kid: &str, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |padding: &'static dyn ring::signature::RsaEncoding| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(padding, &random, message, &mut signature).unwrap();
            signature
        };
        match (kid, algorithm) {
            (_, "none") => Vec::new(),
            // A client that takes the public key for an HMAC secret would accept this signature.
            (_, "HS256") => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
                ring::hmac::sign(&key, message).as_ref().to_vec()
            }
            ("other", _) => self.other.sign(&random, message).unwrap().as_ref().to_vec(),
            ("es256", _) => self.es256.sign(&random, message).unwrap().as_ref().to_vec(),
            ("es384", _) => self.es384.sign(&random, message).unwrap().as_ref().to_vec(),
            ("ed", _) => self.ed.sign(message).as_ref().to_vec(),
            (_, "RS384") => rsa(&RSA_PKCS1_SHA384),
            (_, "RS512") => rsa(&RSA_PKCS1_SHA512),
            (_, "PS256") => rsa(&RSA_PSS_SHA256),
            (_, "PS384") => rsa(&RSA_PSS_SHA384),
            (_, "PS512") => rsa(&RSA_PSS_SHA512),
            _ => rsa(&RSA_PKCS1_SHA256),
        }
    }
}

struct Issuer {
    server: TokenServer,
    bend: Arc<Mutex<AnswerChanges>>,
}

fn bent(mut value: Value, bend: &Value) -> Value {
    for (name, change) in bend.as_object().unwrap() {
        match change {
            Value::Null => drop(value.as_object_mut().unwrap().remove(name)),
            change => value[name] = change.clone(),
        }
    }
    value
}

fn now_s() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
}

impl Issuer {
    async fn start() -> Self {
        let bend = Arc::new(Mutex::new(AnswerChanges::default()));
        let url = Arc::new(Mutex::new(String::new()));
        let (keys, bend_there, url_there) = (Keys::new(), bend.clone(), url.clone());
        let server = TokenServer::start(move |asked| {
            let (bend, url) = (bend_there.lock().unwrap().clone(), url_there.lock().unwrap().clone());
            answer(&keys, &bend, &url, asked)
        })
        .await;
        url.lock().unwrap().clone_from(&server.url);
        Self { server, bend }
    }

    fn change_answers(&self, change: impl FnOnce(&mut AnswerChanges)) {
        let mut bend = self.bend.lock().unwrap();
        *bend = AnswerChanges::default();
        change(&mut bend);
    }

    fn config(&self, more: &str) -> String {
        format!(
            "[auth]\napi_keys = [\"test-key\"]\nadmin_keys = [\"root\"]\n[auth.oidc]\nissuer = {:?}\nclient_id = \"gate way\"\n\
             public_url = \"http://g:4000\"\nclient_secret = {SECRET:?}\nadmins = [\"boss\"]\nviewers = [\"staff\"]\n{more}",
            self.server.url
        )
    }

    fn requests(&self, path: &str) -> Vec<TokenRequest> {
        self.server.requests().into_iter().filter(|asked| asked.path == path).collect()
    }
}

fn answer(keys: &Keys, bend: &AnswerChanges, url: &str, asked: &TokenRequest) -> (u16, String) {
    if bend.status != 200 {
        let words = if asked.path == "/token" { SECRET } else { "" };
        return (bend.status, json!({"error": "server_error", "error_description": words}).to_string());
    }
    match asked.path.as_str() {
        "/.well-known/openid-configuration" => {
            let document = json!({
                "issuer": url, "authorization_endpoint": format!("{url}/authorize"), "token_endpoint": format!("{url}/token"),
                "jwks_uri": format!("{url}/keys"), "userinfo_endpoint": format!("{url}/me"),
                "response_types_supported": ["code"], "id_token_signing_alg_values_supported": ["ES256"],
            });
            (200, bent(document, &bend.document).to_string())
        }
        "/keys" => {
            let strange = json!({"kty": "future", "kid": "x"});
            let all = bend.published.iter().map(|kid| keys.public(kid)).chain([strange]);
            (200, json!({"keys": all.collect::<Vec<_>>()}).to_string())
        }
        "/me" => match asked.header("authorization") {
            "Bearer access" => (200, bent(json!({"sub": "u-1"}), &bend.userinfo).to_string()),
            _ => (401, "{}".to_owned()),
        },
        "/token" => token(keys, bend, url, &asked.form()),
        _ => (404, "{}".to_owned()),
    }
}

/// The code contains nonce and challenge, which a real provider would remember.
fn token(keys: &Keys, bend: &AnswerChanges, url: &str, form: &BTreeMap<String, String>) -> (u16, String) {
    let (nonce, challenge) = form["code"].split_once('~').unwrap();
    let proves = URL_SAFE_NO_PAD.encode(digest(&SHA256, form["code_verifier"].as_bytes()));
    let is_right = proves == challenge
        && form["grant_type"] == "authorization_code"
        && form["redirect_uri"] == "http://g:4000/ui/oidc/callback";
    if !is_right {
        return (400, json!({"error": "invalid_grant", "error_description": "PKCE"}).to_string());
    }
    let claims = json!({
        "iss": url, "aud": "gate way", "sub": "u-1", "nonce": nonce, "iat": now_s(), "exp": now_s() + 300,
        "roles": ["boss"], "name": "Ada <b>",
    });
    let algorithm = match bend.signer {
        "es384" => "ES384",
        "ed" => "EdDSA",
        "rsa" => "RS256",
        _ => "ES256",
    };
    let header = bent(json!({"typ": "JWT", "alg": algorithm, "kid": bend.signer}), &bend.header);
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encoded(&header), encoded(&bent(claims, &bend.claims)));
    let signature = keys.sign(bend.signer, header["alg"].as_str().unwrap(), message.as_bytes());
    let id_token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    (200, json!({"access_token": "access", "token_type": "Bearer", "id_token": id_token}).to_string())
}

/// A browser that was sent to the provider.
struct SignOnAttempt {
    cookie: String,
    asked: BTreeMap<String, String>,
}

impl SignOnAttempt {
    fn code(&self) -> String {
        format!("{}~{}", self.asked["nonce"], self.asked["code_challenge"])
    }
}

async fn get(gateway: &TestGateway, path: &str, cookie: &str) -> Reply {
    let text = format!(
        "GET {path} HTTP/1.1\r\nhost: g:4000\r\ncookie: {cookie}\r\nsec-fetch-site: cross-site\r\nconnection: close\r\n\r\n"
    );
    send(gateway.address, text.as_bytes()).await
}

fn cookies(reply: &Reply) -> Vec<&str> {
    let all = reply.headers.iter().filter(|(name, _)| name == "set-cookie");
    all.map(|(_, value)| value.as_str()).collect()
}

async fn start(gateway: &TestGateway) -> SignOnAttempt {
    let reply = get(gateway, "/ui/oidc/start?next=/ui/audit", "").await;
    assert_eq!(reply.status, 303, "{}", reply.text());
    let (_, query) = reply.header("location").unwrap().split_once('?').unwrap();
    let asked = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    SignOnAttempt { cookie: cookies(&reply)[0].split(';').next().unwrap().to_owned(), asked }
}

async fn come_back(gateway: &TestGateway, way: &SignOnAttempt, more: &str) -> Reply {
    let code = way.code();
    let path = format!("/ui/oidc/callback?code={code}&state={}{more}", way.asked["state"]);
    get(gateway, &path, &way.cookie).await
}

/// Signs in completely; returns the session cookie.
async fn sign_in(gateway: &TestGateway) -> Result<String, (u16, String)> {
    let way = start(gateway).await;
    let reply = come_back(gateway, &way, "").await;
    let session = cookies(&reply).into_iter().find(|cookie| cookie.starts_with("llmgateway_session="));
    match session {
        Some(cookie) => {
            assert_eq!(reply.status, 200);
            Ok(cookie.split(';').next().unwrap().to_owned())
        }
        None => {
            let text = reply.text();
            let (_, alert) = text.split_once("role=\"alert\"").unwrap_or(("", &text));
            Err((reply.status, alert.chars().take(700).collect()))
        }
    }
}

#[tokio::test]
async fn a_user_signs_in_by_the_provider() {
    start_log();
    let issuer = Issuer::start().await;
    let gateway = TestGateway::start_from_file(&issuer.config("label = \"Work <account>\"\n")).await;
    let login = get(&gateway, "/ui/login?next=%2Fui%2Faudit", "").await.text();
    assert!(login.contains("href=\"/ui/oidc/start?next=%2Fui%2Faudit\">Work &lt;account&gt;</a>"), "{login}");
    assert_eq!(issuer.server.requests().len(), 0, "no request is sent before a sign-in");

    let reply = get(&gateway, "/ui/oidc/start?next=/ui/audit", "").await;
    let flow = cookies(&reply)[0].to_owned();
    for flag in ["Path=/ui/oidc", "Max-Age=600", "HttpOnly", "SameSite=Lax"] {
        assert!(flow.contains(flag), "{flow}");
    }
    let way = start(&gateway).await;
    let field = |name: &str| way.asked[name].as_str();
    assert!(reply.header("location").unwrap().starts_with(&format!("{}/authorize?", issuer.server.url)));
    assert_eq!(
        (field("response_type"), field("client_id"), field("scope")),
        ("code", "gate way", "openid profile email")
    );
    assert_eq!(
        (field("redirect_uri"), field("code_challenge_method")),
        ("http://g:4000/ui/oidc/callback", "S256")
    );

    let back = come_back(&gateway, &way, "").await;
    assert_eq!(back.status, 200, "{}", back.text());
    assert!(back.text().contains("content=\"0; url=/ui/audit\""), "{}", back.text());
    let set = cookies(&back);
    assert!(set[0].starts_with("llmgateway_session=") && set[0].contains("SameSite=Strict"), "{set:?}");
    assert!(set[1].starts_with("llmgateway_sign_on=; ") && set[1].contains("Max-Age=0"), "{set:?}");
    let session = set[0].split(';').next().unwrap();
    let audit = get(&gateway, "/ui/audit", session).await.text();
    assert!(audit.contains("oidc:Ada &lt;b&gt;") && audit.contains("u-1"), "{audit}");
    let settings = get(&gateway, "/ui/settings", session).await.text();
    assert!(settings.contains("client_secret") && settings.contains("/ui/settings/reload"), "{settings}");

    let asked = &issuer.requests("/token")[0];
    let basic = asked.header("authorization").strip_prefix("Basic ").unwrap();
    let pair = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
    assert_eq!(pair, "gate+way:canary%2Bsecret+of+the+client%2F%25", "RFC 6749, 2.3.1");
    assert!(!asked.form().contains_key("client_secret"));
    for place in [&login, &audit, &settings, &logged()] {
        assert!(!place.contains("canary") && !place.contains("secret+of"), "{place}");
    }
}

#[tokio::test]
async fn every_algorithm_of_public_keys_is_read() {
    let issuer = Issuer::start().await;
    let gateway = TestGateway::start(&issuer.config("")).await;
    for (signer, algorithm) in [
        ("es256", "ES256"),
        ("es384", "ES384"),
        ("ed", "EdDSA"),
        ("rsa", "RS256"),
        ("rsa", "RS384"),
        ("rsa", "RS512"),
        ("rsa", "PS256"),
        ("rsa", "PS384"),
        ("rsa", "PS512"),
    ] {
        issuer.change_answers(|bend| (bend.signer, bend.header) = (signer, json!({"alg": algorithm})));
        assert_eq!(sign_in(&gateway).await.map(|_| ()), Ok(()), "{algorithm}");
    }
    issuer.change_answers(|bend| bend.header = json!({"kid": null}));
    assert_eq!(sign_in(&gateway).await.map(|_| ()), Ok(()), "without a name of the key");
}

#[tokio::test]
async fn roles_come_from_the_claim_of_the_token_or_of_userinfo() {
    let issuer = Issuer::start().await;
    let gateway = TestGateway::start(&issuer.config("")).await;
    let forms = |session: String| async {
        let page = get(&gateway, "/ui/settings", &{ session }).await;
        assert_eq!(page.status, 200);
        page.text().contains("action=\"/ui/settings/reload\"")
    };
    assert!(forms(sign_in(&gateway).await.unwrap()).await, "an administrator");
    issuer.change_answers(|bend| bend.claims = json!({"roles": "staff"}));
    assert!(!forms(sign_in(&gateway).await.unwrap()).await, "a viewer");
    assert_eq!(issuer.requests("/me").len(), 0, "the token says it");
    issuer.change_answers(|bend| {
        (bend.claims, bend.userinfo) = (json!({"roles": null}), json!({"roles": ["boss"]}))
    });
    assert!(forms(sign_in(&gateway).await.unwrap()).await, "userinfo says it");

    issuer.change_answers(|bend| bend.claims = json!({"roles": ["guest", 7, {"boss": true}]}));
    let (status, words) = sign_in(&gateway).await.unwrap_err();
    assert_eq!(status, 403);
    assert!(words.contains("This account cannot sign in here") && words.contains("Ada &lt;b&gt;"), "{words}");
    issuer.change_answers(|bend| {
        (bend.claims, bend.userinfo) = (json!({"roles": null}), json!({"sub": "u-2", "roles": ["boss"]}));
    });
    let (status, words) = sign_in(&gateway).await.unwrap_err();
    assert!(status == 401 && words.contains("different accounts"), "{status} {words}");
}

#[tokio::test]
async fn a_token_with_one_fault_signs_nobody_in() {
    let issuer = Issuer::start().await;
    let config = issuer.config("clock_skew_seconds = 60\n");
    let mut gateway = TestGateway::start(&config).await;
    let claims: &[(Value, &str)] = &[
        (json!({"iss": "https://other.example"}), "(iss)"),
        (json!({"iss": [issuer.server.url, "https://other.example"]}), "(iss)"),
        (json!({"iss": null}), "iss"),
        (json!({"aud": "another"}), "(aud)"),
        (json!({"aud": null}), "aud"),
        (json!({"aud": ["gate way", "another"]}), "(azp)"),
        (json!({"azp": "another"}), "(azp)"),
        (json!({"nonce": "another"}), "(nonce)"),
        (json!({"nonce": null}), "(nonce)"),
        (json!({"exp": now_s() - 120}), "(exp)"),
        (json!({"exp": null}), "exp"),
        (json!({"exp": "later"}), "exp"),
        (json!({"nbf": now_s() + 600}), "(nbf)"),
        (json!({"iat": now_s() + 600}), "(iat)"),
        (json!({"iat": null}), "(iat)"),
        (json!({"sub": ""}), "(sub)"),
        (json!({"sub": null}), "sub"),
        (json!({"sub": "x".repeat(256)}), "(sub)"),
    ];
    let headers: &[(Value, &str)] = &[
        (json!({"alg": "none"}), "signed JWT"),
        (json!({"alg": "HS256"}), "HS256"),
        (json!({"alg": "RS256"}), "not signed with a key"),
        (json!({"alg": "ES384"}), "not signed with a key"),
        (json!({"kid": "another"}), "not signed with a key"),
        (json!({"crit": ["exp"]}), "(crit)"),
    ];
    let mut wrong: Vec<(AnswerChanges, &str)> = Vec::new();
    for (bend, words) in claims {
        wrong.push((AnswerChanges { claims: bend.clone(), ..AnswerChanges::default() }, words));
    }
    for (bend, words) in headers {
        wrong.push((AnswerChanges { header: bend.clone(), ..AnswerChanges::default() }, words));
    }
    // A foreign key under a published name.
    wrong.push((
        AnswerChanges { signer: "other", header: json!({"kid": "es256"}), ..AnswerChanges::default() },
        "not signed with a key",
    ));
    for (at, (bend, words)) in wrong.into_iter().enumerate() {
        // Wrong answers are limited like wrong keys, to ten a minute.
        if at % 10 == 9 {
            gateway = TestGateway::start(&config).await;
        }
        *issuer.bend.lock().unwrap() = bend.clone();
        let (status, said) = sign_in(&gateway).await.expect_err(words);
        assert!(status == 401 && said.contains(words), "{} {}: {status} {said}", bend.claims, bend.header);
    }
    for good in [
        json!({"exp": now_s() - 30}),
        json!({"iat": now_s() + 30}),
        json!({"nbf": now_s() + 30}),
        json!({"azp": "gate way"}),
        json!({"aud": ["gate way", "another"], "azp": "gate way"}),
    ] {
        issuer.change_answers(|bend| bend.claims = good.clone());
        assert_eq!(sign_in(&gateway).await.map(|_| ()), Ok(()), "{good}");
    }
}

#[tokio::test]
async fn an_unrequested_answer_is_refused_without_a_request_to_the_provider() {
    let issuer = Issuer::start().await;
    let gateway = TestGateway::start(&issuer.config("")).await;
    let (way, other) = (start(&gateway).await, start(&gateway).await);
    let path = |state: &str| format!("/ui/oidc/callback?code={}&state={state}", way.code());
    let state = &way.asked["state"];
    for (path, cookie) in [
        (path(state), ""),
        (path(state), other.cookie.as_str()),
        (path(""), way.cookie.as_str()),
        (path(&other.asked["state"]), way.cookie.as_str()),
        (format!("/ui/oidc/callback?state={state}"), way.cookie.as_str()),
        (format!("/ui/oidc/callback?state={state}&error=access_denied&code=x"), way.cookie.as_str()),
    ] {
        let reply = get(&gateway, &path, cookie).await;
        assert_eq!(reply.status, 401, "{path}");
        assert!(!cookies(&reply).iter().any(|cookie| cookie.starts_with("llmgateway_session")), "{path}");
    }
    let denied = get(&gateway, &format!("/ui/oidc/callback?state={state}&error=%3Cb%3E"), &way.cookie).await;
    assert!(denied.text().contains("The identity provider refused the sign-in."), "{}", denied.text());
    assert_eq!(issuer.requests("/token").len(), 0);
    // An answer of another provider, if the provider names itself.
    let reply = come_back(&gateway, &way, "&iss=https%3A%2F%2Fevil.example").await;
    assert_eq!((reply.status, issuer.requests("/token").len()), (401, 0));
    // A stolen code is useless with another verifier.
    let stolen = format!("/ui/oidc/callback?code={}&state={}", way.code(), other.asked["state"]);
    let reply = get(&gateway, &stolen, &other.cookie).await;
    assert_eq!(reply.status, 401);
    assert!(reply.text().contains("invalid_grant: PKCE"), "{}", reply.text());
    // Ten wrong answers in a minute, as with keys.
    for _ in 0..2 {
        get(&gateway, &path(""), &way.cookie).await;
    }
    let reply = come_back(&gateway, &way, "").await;
    assert_eq!(reply.status, 429, "{}", reply.text());
}

#[tokio::test]
async fn a_provider_that_names_itself_must_do_so_in_its_answer() {
    let issuer = Issuer::start().await;
    issuer.change_answers(|bend| bend.document = json!({"authorization_response_iss_parameter_supported": true, "token_endpoint_auth_methods_supported": ["client_secret_post"]}));
    let gateway = TestGateway::start(&issuer.config("")).await;
    let way = start(&gateway).await;
    assert_eq!(come_back(&gateway, &way, "").await.status, 401);
    let escaped = issuer.server.url.replace(':', "%3A").replace('/', "%2F");
    assert_eq!(come_back(&gateway, &way, &format!("&iss={escaped}")).await.status, 200);
    let form = issuer.requests("/token")[0].form();
    assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), ("gate way", SECRET));
}

#[tokio::test]
async fn new_keys_of_the_provider_are_found_and_old_ones_forgotten() {
    with_held_clock(async {
        let issuer = Issuer::start().await;
        let gateway = TestGateway::start(&issuer.config("")).await;
        sign_in(&gateway).await.unwrap();
        sign_in(&gateway).await.unwrap();
        assert_eq!(issuer.requests("/keys").len(), 1, "they are kept");
        issuer.change_answers(|bend| (bend.signer, bend.published) = ("other", vec!["other"]));
        assert_eq!(sign_in(&gateway).await.unwrap_err().0, 401, "the keys are not fetched again at once");
        advance_seconds(6).await;
        sign_in(&gateway).await.unwrap();
        assert_eq!(issuer.requests("/keys").len(), 2);
        issuer.change_answers(|_| ());
        assert_eq!(sign_in(&gateway).await.unwrap_err().0, 401, "the old key is gone");
        advance_seconds(3601).await;
        sign_in(&gateway).await.unwrap();
        assert_eq!(issuer.requests("/keys").len(), 3, "after an hour the keys are fetched again");
    })
    .await;
}

#[tokio::test]
async fn keys_sign_in_while_the_provider_is_away() {
    with_held_clock(async {
        let issuer = Issuer::start().await;
        issuer.change_answers(|bend| bend.status = 500);
        let gateway = TestGateway::start(&issuer.config("")).await;
        let away = get(&gateway, "/ui/oidc/start", "").await;
        let text = away.text();
        assert_eq!(away.status, 503);
        assert!(text.contains("cannot be reached") && text.contains("status 500"), "{text}");
        assert!(text.contains("name=\"key\"") && !text.contains("canary"), "{text}");
        for _ in 0..5 {
            assert_eq!(get(&gateway, "/ui/oidc/start", "").await.status, 503);
        }
        assert_eq!(issuer.server.requests().len(), 1, "not every attempt sends a request");
        issuer.change_answers(|_| ());
        advance_seconds(6).await;
        let way = start(&gateway).await;
        issuer.change_answers(|bend| bend.status = 502);
        let back = come_back(&gateway, &way, "").await;
        assert_eq!(back.status, 503);
        assert!(back.text().contains("server_error") && !back.text().contains("canary"), "{}", back.text());
    })
    .await;
}

#[tokio::test]
async fn a_discovery_document_with_wrong_addresses_is_refused() {
    for (document, words) in [
        (json!({"issuer": "https://other.example"}), "calls itself &quot;https://other.example&quot;"),
        (json!({"token_endpoint": "http://10.0.0.1/token"}), "token_endpoint is not an https://"),
        (
            json!({"authorization_endpoint": "javascript:alert(1)"}),
            "authorization_endpoint is not an https://",
        ),
        (json!({"jwks_uri": null}), "no jwks_uri"),
        (json!({"userinfo_endpoint": "http://a.example/"}), "userinfo_endpoint is not an https://"),
    ] {
        let issuer = Issuer::start().await;
        issuer.change_answers(|bend| bend.document = document.clone());
        let gateway = TestGateway::start(&issuer.config("")).await;
        let reply = get(&gateway, "/ui/oidc/start", "").await;
        assert_eq!(reply.status, 503, "{document}");
        assert!(reply.text().contains(words), "{document}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_user_who_loses_a_role_in_the_configuration_loses_its_access() {
    let issuer = Issuer::start().await;
    let gateway = TestGateway::start_from_file(&issuer.config("")).await;
    let session = sign_in(&gateway).await.unwrap();
    let reload = || async {
        let head = "POST /admin/v1/reload HTTP/1.1\r\nhost: g\r\nauthorization: Bearer root\r\ncontent-length: 0\r\n\r\n";
        let reply = send(gateway.address, head.as_bytes()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    let page = || get(&gateway, "/ui/settings", &session);
    let bosses = |admins: &str, viewers: &str| {
        let config = issuer.config("").replace("[\"boss\"]", admins);
        gateway.rewrite(&config.replace("[\"staff\"]", viewers));
    };
    bosses("[\"chief\"]", "[\"boss\"]");
    reload().await;
    let seen = page().await;
    assert_eq!(
        (seen.status, seen.text().contains("/ui/settings/reload")),
        (200, false),
        "a viewer from now on"
    );
    bosses("[\"chief\"]", "[\"staff\"]");
    reload().await;
    assert_eq!(page().await.status, 303);
    bosses("[\"boss\"]", "[]");
    reload().await;
    assert!(page().await.text().contains("/ui/settings/reload"));
    gateway.rewrite("[auth]\nadmin_keys = [\"root\"]\n");
    reload().await;
    assert_eq!(page().await.status, 303);
    let none = get(&gateway, "/ui/oidc/start", "").await;
    assert_eq!(none.status, 404);
    assert!(!get(&gateway, "/ui/login", "").await.text().contains("/ui/oidc/start"));
}
