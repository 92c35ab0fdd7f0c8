//! Credentials of clouds against token servers on loopback.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use canon::{Error, ErrorKind, Retry};
use catalog::Catalog;
use gateway::config::{ConfigFile, ProviderSettings, Settings};
use gateway::env::Environment;
use gateway::upstream::Client;
use gateway::upstream::credentials::Credentials;
use gateway::upstream::outbound::Route;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tempfile::TempDir;
use wire::providers::Credential;

use crate::support::{logged, start_log};
use crate::token_server::{TokenRequest, TokenServer};

type Variables<'a> = Vec<(&'a str, &'a str)>;

/// A secret that must never appear in output.
const CANARY: &str = "canary-4f1d";

/// A key made for these tests that opens nothing. It is a file because ring cannot generate RSA keys.
const PEM: &str = include_str!("../data/service_account.pem");
static KEY: LazyLock<RsaKeyPair> = LazyLock::new(|| {
    let der = PrivatePkcs8KeyDer::from_pem_slice(PEM.as_bytes()).unwrap();
    RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap()
});

fn build(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let file = ConfigFile::parse(text).expect("a valid file");
    Settings::build(&file, &Environment::of(variables), Catalog::embedded().expect("a catalog"))
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

fn provider(id: &str, text: &str, variables: &[(&str, &str)]) -> ProviderSettings {
    let settings = build(text, variables).unwrap();
    settings.providers.iter().find(|provider| provider.row.id == id).unwrap().clone()
}

fn credentials(provider: &ProviderSettings) -> Arc<Credentials> {
    assert_eq!(provider.disabled, None);
    Arc::new(Credentials::new(&provider.credential_settings(), &Client::new(Route::default())))
}

fn service_account(token_uri: &str) -> String {
    json!({
        "type": "service_account",
        "client_email": "robot@project.example",
        "private_key_id": "key-7",
        "private_key": PEM,
        "project_id": "project-of-the-file",
        "token_uri": token_uri,
    })
    .to_string()
}

fn write(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn token(credential: &Credential) -> &str {
    match credential {
        Credential::Token(token) => token.expose(),
        other => panic!("{other:?}"),
    }
}

fn aws(credential: &Credential) -> (&str, &str, Option<&str>) {
    match credential {
        Credential::Aws { access_key_id, secret_access_key, session_token } => {
            (access_key_id, secret_access_key.expose(), session_token.as_ref().map(|token| token.expose()))
        }
        other => panic!("{other:?}"),
    }
}

/// Each answer has another token: `token-1`, `token-2` …
async fn numbered(seconds: u64) -> (TokenServer, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let (count, told) = (AtomicUsize::new(0), status.clone());
    let server = TokenServer::start(move |_| match told.load(Ordering::SeqCst) {
        200 => {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let answer = json!({"access_token": format!("token-{number}"), "expires_in": seconds});
            (200, answer.to_string())
        }
        status => (
            status,
            json!({"error": "invalid_grant", "error_description": format!("no {CANARY}")}).to_string(),
        ),
    })
    .await;
    (server, status)
}

/// An application of Entra ID, whose tokens the server gives out.
fn application(server: &TokenServer) -> ProviderSettings {
    let text = format!(
        "[providers.azure]\nresource = \"r\"\ntenant_id = \"t-1\"\nclient_id = \"c-1\"\nclient_secret = \"{CANARY}\"\n\
         authority_host = \"{}/\"\n",
        server.url
    );
    provider("azure", &text, &[])
}

fn after(now: SystemTime, seconds: u64) -> SystemTime {
    now + Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_service_account_signs_a_claim() {
    let server = TokenServer::start(|asked: &TokenRequest| {
        let form = asked.form();
        assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        check_claim(&form["assertion"], asked.header("host"));
        (200, json!({"access_token": "ya29", "expires_in": 3599, "token_type": "Bearer"}).to_string())
    })
    .await;
    let folder = TempDir::new().unwrap();
    let file = write(&folder, "account.json", &service_account(&format!("{}/token", server.url)));
    let vertex = provider("google-vertex", "", &[("GOOGLE_APPLICATION_CREDENTIALS", &file)]);
    assert_eq!(vertex.credential_source, "service account robot@project.example");
    assert_eq!(vertex.settings["project"], "project-of-the-file");
    let credentials = credentials(&vertex);
    assert_eq!(token(&credentials.credential(0, None).await.unwrap()), "ya29");
    assert_eq!(token(&credentials.credential(0, None).await.unwrap()), "ya29");
    assert_eq!(server.requests().len(), 1);
}

fn check_claim(assertion: &str, host: &str) {
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, KEY.public().as_ref());
    key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).expect("a good signature");
    let part =
        |text: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap() };
    let (header, claims) = signed.split_once('.').unwrap();
    assert_eq!(part(header), json!({"alg": "RS256", "typ": "JWT", "kid": "key-7"}));
    let claims = part(claims);
    assert_eq!(claims["iss"], "robot@project.example");
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/cloud-platform");
    assert_eq!(claims["aud"], format!("http://{host}/token"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let issued = claims["iat"].as_u64().unwrap();
    assert!(issued <= now && now - issued < 60);
    assert_eq!(claims["exp"].as_u64().unwrap(), issued + 3600);
}

#[tokio::test]
async fn many_requests_wait_for_one_token() {
    let (server, _) = numbered(3600).await;
    let credentials = credentials(&application(&server));
    server.hold();
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let credentials = credentials.clone();
        requests.spawn(async move { credentials.credential(0, None).await.unwrap() });
    }
    server.called(1).await;
    server.release();
    while let Some(credential) = requests.join_next().await {
        assert_eq!(token(&credential.unwrap()), "token-1");
    }
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_while_requests_go_on_with_it() {
    let (server, _) = numbered(3600).await;
    let credentials = credentials(&application(&server));
    let now = SystemTime::now();
    let ask = async |seconds: u64| {
        let credential = credentials.credential_at(0, after(now, seconds)).await.unwrap();
        token(&credential).to_owned()
    };
    assert_eq!(ask(0).await, "token-1");
    assert_eq!(ask(3600 - 241).await, "token-1");
    assert_eq!(server.requests().len(), 1, "the token does not expire soon");
    server.hold();
    for _ in 0..100 {
        assert_eq!(ask(3600 - 230).await, "token-1");
    }
    server.called(2).await;
    server.release();
    let landed = async {
        while ask(3600 - 230).await == "token-1" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), landed).await.unwrap();
    assert_eq!(ask(3600 - 230).await, "token-2");
    assert_eq!(server.requests().len(), 2);
    assert_eq!(ask(20_000).await, "token-3", "an expired token is not used");
}

#[tokio::test]
async fn a_failed_refresh_fails_no_request_while_the_token_is_valid() {
    let (server, status) = numbered(3600).await;
    let credentials = credentials(&application(&server));
    let now = SystemTime::now();
    let ask = async |seconds: u64| credentials.credential_at(0, after(now, seconds)).await;
    assert_eq!(token(&ask(0).await.unwrap()), "token-1");
    status.store(503, Ordering::SeqCst);
    assert_eq!(token(&ask(3500).await.unwrap()), "token-1");
    server.called(2).await;
    // Requests within the pause after that refresh start no other one, whether it has finished or not.
    for _ in 0..50 {
        assert_eq!(token(&ask(3501).await.unwrap()), "token-1");
        tokio::task::yield_now().await;
    }
    assert_eq!(server.requests().len(), 2);
    let error = ask(3601).await.unwrap_err();
    assert_eq!((error.kind, error.retry), (ErrorKind::UpstreamCredential, Retry::Elsewhere));
    status.store(200, Ordering::SeqCst);
    assert_eq!(token(&ask(3700).await.unwrap()), "token-2", "it recovers");
}

#[tokio::test]
async fn a_failure_without_a_token_is_one_clear_sentence_without_secrets() {
    let (server, status) = numbered(3600).await;
    status.store(401, Ordering::SeqCst);
    let credentials = credentials(&application(&server));
    start_log();
    let now = SystemTime::now();
    let first = credentials.credential_at(0, now).await.unwrap_err();
    let second = credentials.credential_at(0, now).await.unwrap_err();
    assert_eq!(first, second);
    assert_eq!(server.requests().len(), 1, "the token server is not asked by every request");
    assert_eq!(
        first.message,
        "The provider's credentials (application c-1) could not be fetched: 127.0.0.1 answered with status 401: \
         invalid_grant: no ***."
    );
    assert_clean(&first);
    let log = logged();
    assert!(log.contains("could not be fetched") && !log.contains(CANARY), "{log}");
    assert_eq!((first.kind, first.retry), (ErrorKind::UpstreamCredential, Retry::Elsewhere));
}

fn assert_clean(error: &Error) {
    for text in [format!("{error}"), format!("{error:?}")] {
        assert!(!text.contains(CANARY), "{text}");
    }
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let (server, _) = numbered(3600).await;
    let credentials = credentials(&application(&server));
    let first = credentials.credential(0, None).await.unwrap();
    assert!(credentials.refused(0, &first));
    let second = credentials.credential(0, None).await.unwrap();
    assert_eq!(token(&second), "token-2");
    assert!(credentials.refused(0, &first), "another request has replaced it");
    assert!(!credentials.refused(0, &second), "the new token was refused too, so the token is not at fault");
    assert_eq!(token(&credentials.credential(0, None).await.unwrap()), "token-2");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn each_other_credential_of_google_gives_a_token() {
    let server = TokenServer::start(|asked: &TokenRequest| match asked.path.as_str() {
        "/refresh" => {
            assert_eq!(asked.form()["refresh_token"], "refresh");
            (200, json!({"access_token": "user", "expires_in": 3599}).to_string())
        }
        "/exchange" => {
            assert_eq!(asked.form()["subject_token"], "subject");
            (200, json!({"access_token": "federated", "expires_in": 3599}).to_string())
        }
        "/v1/serviceAccounts/a@b:generateAccessToken" => {
            let source = asked.header("authorization").strip_prefix("Bearer ").unwrap();
            let answer =
                json!({"accessToken": format!("{source} as a@b"), "expireTime": "2999-01-01T00:00:00Z"});
            (200, answer.to_string())
        }
        path => {
            assert_eq!(path, "/computeMetadata/v1/instance/service-accounts/default/token");
            assert_eq!(asked.header("metadata-flavor"), "Google");
            (200, json!({"access_token": "machine", "expires_in": 3599}).to_string())
        }
    })
    .await;
    let folder = TempDir::new().unwrap();
    let subject = write(&folder, "subject", r#"{"id":"subject"}"#);
    let impersonation = format!("{}/v1/serviceAccounts/a@b:generateAccessToken", server.url);
    let user = json!({"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "refresh",
        "token_uri": format!("{}/refresh", server.url), "quota_project_id": "q"});
    let external = json!({"type": "external_account", "audience": "a", "subject_token_type": "t",
        "token_url": format!("{}/exchange", server.url), "service_account_impersonation_url": impersonation,
        "credential_source": {"file": subject, "format": {"type": "json", "subject_token_field_name": "id"}}});
    let impersonated = json!({"type": "impersonated_service_account",
        "service_account_impersonation_url": impersonation, "source_credentials": user});
    write(&folder, "application_default_credentials.json", &user.to_string());
    let project = ("GOOGLE_CLOUD_PROJECT", "p");
    let inline = |value: &Value| value.to_string();
    let cases = [
        (("CLOUDSDK_CONFIG", folder.path().to_str().unwrap().to_owned()), "gcloud user", "user"),
        (
            ("GOOGLE_APPLICATION_CREDENTIALS", inline(&external)),
            "workload identity as a@b",
            "federated as a@b",
        ),
        (("GOOGLE_APPLICATION_CREDENTIALS", inline(&impersonated)), "impersonated a@b", "user as a@b"),
        (("GCE_METADATA_HOST", server.host().to_owned()), "metadata server", "machine"),
        (("GOOGLE_VERTEX_ACCESS_TOKEN", "ready".to_owned()), "access token of the environment", "ready"),
    ];
    for ((name, value), label, expected) in cases {
        let vertex = provider("google-vertex", "", &[project, (name, &value)]);
        assert_eq!(vertex.credential_source, label);
        assert_eq!(token(&credentials(&vertex).credential(0, None).await.unwrap()), expected);
    }
}

#[tokio::test]
async fn each_other_credential_of_azure_gives_a_token() {
    let server = TokenServer::start(|asked: &TokenRequest| {
        let token = match asked.path.split('?').next().unwrap() {
            "/t-1/oauth2/v2.0/token" => {
                let form = asked.form();
                assert_eq!(form["grant_type"], "client_credentials");
                assert_eq!(form["scope"], "https://cognitiveservices.azure.com/.default");
                form.get("client_secret").or(form.get("client_assertion")).unwrap().clone()
            }
            _ => {
                assert!(
                    asked.path.contains("resource=https%3A%2F%2Fcognitiveservices.azure.com&client_id=c-1")
                );
                asked.header("x-identity-header").to_owned()
            }
        };
        (200, json!({"access_token": token, "expires_in": "3599"}).to_string())
    })
    .await;
    let folder = TempDir::new().unwrap();
    let file = write(&folder, "federated", "assertion\n");
    let common = [("AZURE_RESOURCE_NAME", "r"), ("AZURE_TENANT_ID", "t-1"), ("AZURE_CLIENT_ID", "c-1")];
    let cases = [
        (vec![("AZURE_CLIENT_SECRET", "secret")], "application c-1", "secret"),
        (vec![("AZURE_FEDERATED_TOKEN_FILE", file.as_str())], "workload identity c-1", "assertion"),
        (
            vec![("IDENTITY_ENDPOINT", server.url.as_str()), ("IDENTITY_HEADER", "header")],
            "managed identity",
            "header",
        ),
    ];
    for (mut variables, label, expected) in cases {
        variables.extend(common);
        variables.push(("AZURE_AUTHORITY_HOST", &server.url));
        let azure = provider("azure", "", &variables);
        assert_eq!(azure.credential_source, label);
        assert_eq!(token(&credentials(&azure).credential(0, None).await.unwrap()), expected);
    }
}

fn sts_answer(id: &str) -> String {
    format!(
        "<R><Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
         <SessionToken>session</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></R>"
    )
}

#[tokio::test]
async fn each_link_of_the_aws_chain_gives_credentials() {
    let server = TokenServer::start(|asked: &TokenRequest| {
        let keys = |id: &str| {
            json!({"Code": "Success", "AccessKeyId": id, "SecretAccessKey": "secret", "Token": "session",
                "Expiration": "2999-01-01T00:00:00Z"})
            .to_string()
        };
        match (asked.method.as_str(), asked.path.as_str()) {
            ("POST", "/") if asked.form()["Action"] == "AssumeRoleWithWebIdentity" => {
                assert_eq!(asked.form()["WebIdentityToken"], "jwt");
                (200, sts_answer("WEB"))
            }
            ("POST", "/") => {
                assert_eq!(asked.form()["RoleArn"], "arn:aws:iam::1:role/dev");
                let signature = asked.header("authorization");
                assert!(
                    signature.contains("Credential=BASE/") && signature.contains("/eu-west-1/sts/"),
                    "{signature}"
                );
                (200, sts_answer("ROLE"))
            }
            ("GET", "/container") => {
                assert_eq!(asked.header("authorization"), "container-token");
                (200, keys("CONTAINER"))
            }
            ("PUT", "/latest/api/token") => (200, "imds".to_owned()),
            (_, path) => {
                assert_eq!(asked.header("x-aws-ec2-metadata-token"), "imds");
                let roles = "/latest/meta-data/iam/security-credentials/";
                let role = path.strip_prefix(roles).unwrap();
                (200, if role.is_empty() { "my-role".to_owned() } else { keys("MACHINE") })
            }
        }
    })
    .await;
    let folder = TempDir::new().unwrap();
    let home = folder.path().to_str().unwrap();
    write(
        &folder,
        ".aws/config",
        "[profile dev]\nrole_arn=arn:aws:iam::1:role/dev\nsource_profile=base\nregion=eu-west-1\n",
    );
    write(&folder, ".aws/credentials", "[base]\naws_access_key_id=BASE\naws_secret_access_key=secret\n");
    let (jwt, bearer) = (write(&folder, "jwt", "jwt\n"), write(&folder, "bearer", "container-token\n"));
    let url = format!("{}/container", server.url);
    let section = "[providers.aws-bedrock]\n";
    let role = "[providers.aws-bedrock]\nrole_arn = \"arn:aws:iam::1:role/dev\"\nregion = \"eu-west-1\"\n";
    let keys = [("AWS_ACCESS_KEY_ID", "BASE"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let cases: [(&str, Variables<'_>, &str, &str); 7] = [
        ("", keys.to_vec(), "keys of the environment", "BASE"),
        (role, keys.to_vec(), "role dev by keys of the environment", "ROLE"),
        ("", vec![("HOME", home), ("AWS_PROFILE", "base")], "profile base", "BASE"),
        ("", vec![("HOME", home), ("AWS_PROFILE", "dev")], "profile dev", "ROLE"),
        (
            "",
            vec![("AWS_ROLE_ARN", "arn:aws:iam::1:role/web"), ("AWS_WEB_IDENTITY_TOKEN_FILE", &jwt)],
            "web identity as web",
            "WEB",
        ),
        (
            "",
            vec![
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &bearer),
            ],
            "container credentials",
            "CONTAINER",
        ),
        (section, vec![], "instance metadata", "MACHINE"),
    ];
    for (text, mut variables, label, id) in cases {
        variables.extend([
            ("AWS_ENDPOINT_URL_STS", &*server.url),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server.url),
        ]);
        let bedrock = provider("aws-bedrock", text, &variables);
        assert_eq!(bedrock.credential_source, label);
        let credential = credentials(&bedrock).credential(0, None).await.unwrap();
        let session = (id != "BASE").then_some("session");
        assert_eq!(aws(&credential), (id, "secret", session), "{label}");
    }
    let dev = provider("aws-bedrock", "", &[("HOME", home), ("AWS_PROFILE", "dev")]);
    assert_eq!(dev.base_url, "https://bedrock-runtime.eu-west-1.amazonaws.com");
}

#[test]
fn providers_report_their_missing_settings() {
    let cases: [(&str, Variables<'_>, &str); 6] = [
        ("google-vertex", vec![], "GOOGLE_APPLICATION_CREDENTIALS is not set"),
        (
            "google-vertex",
            vec![("GOOGLE_VERTEX_ACCESS_TOKEN", "t")],
            "set project in [providers.google-vertex]",
        ),
        ("aws-bedrock", vec![("AWS_REGION", "us-east-1")], "AWS_BEARER_TOKEN_BEDROCK is not set"),
        ("aws-bedrock", vec![("AWS_ACCESS_KEY_ID", "x")], "AWS_SECRET_ACCESS_KEY is not set"),
        ("azure", vec![], "AZURE_OPENAI_API_KEY or AZURE_API_KEY is not set"),
        ("azure", vec![("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c")], "AZURE_CLIENT_SECRET is not set"),
    ];
    for (id, variables, reason) in cases {
        let disabled = provider(id, "", &variables).disabled.unwrap();
        assert!(disabled.starts_with(reason), "{disabled}");
    }
    let wrong = "[providers.google-vertex]\nproject = \"p\"\ncredentials = \"/not/there.json\"\n\
        [providers.azure]\nmanaged_identity = \"maybe\"\n";
    let mistakes = build(wrong, &[]).unwrap_err();
    for start in
        ["providers.google-vertex.credentials: the file /not/there.json", "providers.azure.managed_identity"]
    {
        assert!(mistakes.iter().any(|mistake| mistake.starts_with(start)), "{mistakes:#?}");
    }
}

#[test]
fn the_configuration_overrides_the_environment() {
    let key = ("AZURE_OPENAI_API_KEY", "k");
    let text = "[providers.azure]\nresource = \"r\"\nmanaged_identity = true\n";
    assert_eq!(provider("azure", text, &[key]).credential_source, "managed identity");
    let text = "[providers.azure]\nresource = \"r\"\n";
    assert_eq!(provider("azure", text, &[key]).credential_source, "AZURE_OPENAI_API_KEY");
    let bearer = ("AWS_BEARER_TOKEN_BEDROCK", "b");
    let keys = [bearer, ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y")];
    assert_eq!(provider("aws-bedrock", "", &keys).credential_source, "AWS_BEARER_TOKEN_BEDROCK");
}

#[test]
fn secrets_are_not_printed() {
    let text = format!(
        "[providers.aws-bedrock]\naccess_key_id = \"A\"\nsecret_access_key = \"{CANARY}\"\nsession_token = \"{CANARY}\"\n\
         [providers.azure]\nresource = \"r\"\ntenant_id = \"t\"\nclient_id = \"c\"\nclient_secret = \"{CANARY}\"\n\
         [providers.google-vertex]\nproject = \"p\"\naccess_token = \"{CANARY}\"\n[providers.openai]\napi_key = \"{CANARY}\"\n"
    );
    let settings = build(&text, &[]).unwrap();
    for provider in &settings.providers {
        let shown = format!(
            "{provider:?} {:?} {:?} {:?}",
            provider.recipe, provider.settings, provider.credential_source
        );
        assert!(!shown.contains(CANARY), "{shown}");
    }
    assert!(!format!("{settings:?}").contains(CANARY));
    let broken = json!({"type": "service_account", "client_email": "a@b", "private_key": CANARY}).to_string();
    let wrong = provider(
        "google-vertex",
        "",
        &[("GOOGLE_CLOUD_PROJECT", "p"), ("GOOGLE_APPLICATION_CREDENTIALS", &broken)],
    );
    assert_eq!(wrong.disabled.as_deref(), Some("the private_key is not an RSA key in PEM"));
}

#[tokio::test]
async fn a_request_whose_token_is_refused_gets_its_answer_with_a_new_one() {
    let count = AtomicUsize::new(0);
    let server = TokenServer::start(move |asked: &TokenRequest| match asked.path.as_str() {
        "/openai/v1/chat/completions" if asked.header("authorization") == "Bearer token-1" => {
            (401, json!({"error": {"code": "401", "message": "The token has been revoked."}}).to_string())
        }
        "/openai/v1/chat/completions" => {
            assert_eq!(asked.header("authorization"), "Bearer token-2");
            let message = json!({"role": "assistant", "content": "Paris"});
            let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
            let usage = json!({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2});
            let answer = json!({"id": "a", "object": "chat.completion", "created": 1, "model": "m",
                "choices": [choice], "usage": usage});
            (200, answer.to_string())
        }
        _ => {
            let token = format!("token-{}", count.fetch_add(1, Ordering::SeqCst) + 1);
            (200, json!({"access_token": token, "expires_in": 3600}).to_string())
        }
    })
    .await;
    let folder = TempDir::new().unwrap();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[auth]\napi_keys = [\"key\"]\n[database]\nurl = \"sqlite:{}/test.db\"\n\
         [providers.azure]\nbase_url = \"{url}\"\nauthority_host = \"{url}\"\ntenant_id = \"t\"\nclient_id = \"c\"\n\
         client_secret = \"s\"\n",
        folder.path().display(),
        url = server.url
    );
    let app = gateway::app::App::start(build(&text, &[]).unwrap()).await.unwrap();
    let url = format!("http://{}/v1/chat/completions", app.address());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(app.run(async move { drop(stopped.await) }, std::future::pending()));
    let body =
        json!({"model": "azure/my-model", "messages": [{"role": "user", "content": "Capital of France?"}]});
    let request = http::Request::post(url)
        .header("authorization", "Bearer key")
        .header("content-type", "application/json");
    let request = request.body(bytes::Bytes::from(body.to_string())).unwrap();
    let response = Client::new(Route::default()).exchange(request, 1 << 20).await.unwrap();
    let answer: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(response.status(), 200, "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"], "Paris");
    assert_eq!(server.requests().len(), 4, "token, refusal, token, answer");
    let routing = answer["metadata"]["routing"].as_array().unwrap();
    let statuses: Vec<&Value> = routing.iter().map(|attempt| &attempt["status_code"]).collect();
    assert_eq!(statuses, [401, 200], "each request is an attempt");
    stop.send(()).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn the_log_names_the_request_that_needed_a_token() {
    let (server, status) = numbered(3600).await;
    status.store(401, Ordering::SeqCst);
    start_log();
    let credentials = credentials(&application(&server));
    credentials.credential(0, Some("wanted-a-token")).await.unwrap_err();
    let log = logged();
    let named = |line: &&str| line.contains("wanted-a-token") && line.contains("could not be fetched");
    assert!(log.lines().any(|line| named(&line)), "{log}");
}
