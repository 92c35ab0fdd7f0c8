//! Certificates and proxies from the configuration to the connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use catalog::Catalog;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::config::{ConfigFile, Settings};
use crate::env::Environment;
use crate::snapshot::{ProviderHandle, Snapshot, Tools};
use crate::upstream::Client;
use crate::upstream::testing::{Authority, TlsServer, pem, proxy};

/// The name of a remote host; only proxies lead to it.
const REMOTE: &str = "provider.test";

async fn hello(_: Request<Incoming>) -> Response<Full<Bytes>> {
    Response::new("hello".into())
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A server whose authority, client certificate and key are files.
struct TlsFixture {
    server: TlsServer,
    folder: tempfile::TempDir,
}

impl TlsFixture {
    async fn new(wants_certificate: bool) -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), "ca.pem", &pem("CERTIFICATE", &authority.certificate));
        let (chain, key) = authority.issue();
        written(folder.path(), "cert.pem", &pem("CERTIFICATE", &chain[0]));
        written(folder.path(), "key.pem", &pem("PRIVATE KEY", key.secret_der()));
        let server = TlsServer::start(authority.acceptor("h2", wants_certificate), 100, hello).await;
        Self { server, folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The URL under a name that is not local.
    fn remote_url(&self) -> String {
        format!("https://{REMOTE}:{}/v1", self.server.address.port())
    }
}

fn build(config: &str, variables: &[(&str, &str)]) -> Result<Snapshot, String> {
    let file = ConfigFile::parse(config).map_err(|mistakes| format!("{mistakes:?}"))?;
    let settings = Settings::build(&file, &Environment::of(variables), Catalog::embedded().unwrap());
    let settings = settings
        .map_err(|mistakes| mistakes.iter().map(|mistake| format!("{mistake}\n")).collect::<String>())?;
    Ok(Snapshot::first(settings, &Tools::for_commands().unwrap()))
}

/// The provider `one` of this configuration.
fn provider(url: &str, config: &str, variables: &[(&str, &str)]) -> Arc<ProviderHandle> {
    let section = format!("[providers.one]\nprotocol = \"openai-chat\"\nbase_url = \"{url}\"\n{config}");
    build(&section, variables).unwrap_or_else(|mistakes| panic!("{mistakes}")).providers["one"].clone()
}

async fn ask(client: &Client, url: &str) -> Result<Bytes, String> {
    let request = Request::post(url).body(Bytes::new()).unwrap();
    client.exchange(request, 1 << 20).await.map(Response::into_body)
}

#[tokio::test]
async fn authorities_of_the_configuration_and_of_the_environment_are_trusted() {
    let place = TlsFixture::new(false).await;
    let (url, file) = (place.server.url(), place.path("ca.pem"));
    let own = format!("[providers.one.tls]\nca_file = {file:?}\n");
    let all = format!("[tls]\nca_file = {file:?}\n");
    let by_name = "[tls]\nca_file = \"env:MY_AUTHORITY\"\n".to_owned();
    let cases = [
        (&own, vec![]),
        (&all, vec![]),
        (&by_name, vec![("MY_AUTHORITY", file.as_str())]),
        (&String::new(), vec![("SSL_CERT_FILE", file.as_str())]),
    ];
    for (config, variables) in cases {
        let one = provider(&url, config, &variables);
        assert_eq!(ask(&one.client, &url).await.unwrap(), "hello", "{config} {variables:?}");
    }
    let refused = ask(&provider(&url, "", &[]).client, &url).await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");

    // Connections to others than providers trust the general authorities only.
    let general = build(&all, &[]).unwrap();
    assert_eq!(ask(&Client::new(general.outbound.route()), &url).await.unwrap(), "hello");
    let of_one = build(
        &format!(
            "[providers.one]\nprotocol = \"openai-chat\"\nbase_url = \"{url}\"\n{own}\
                  [providers.two]\nprotocol = \"openai-chat\"\nbase_url = \"{url}\"\n"
        ),
        &[],
    );
    let of_one = of_one.unwrap();
    assert!(ask(&of_one.providers["two"].client, &url).await.is_err());
    assert!(ask(&Client::new(of_one.outbound.route()), &url).await.is_err());
}

#[tokio::test]
async fn a_provider_that_asks_for_a_certificate_gets_that_of_its_section() {
    let place = TlsFixture::new(true).await;
    let url = place.server.url();
    let authority = format!("[providers.one.tls]\nca_file = {:?}\n", place.path("ca.pem"));
    let identity = format!("cert = {:?}\nkey = {:?}\n", place.path("cert.pem"), place.path("key.pem"));
    let with = provider(&url, &(authority.clone() + &identity), &[]);
    assert_eq!(ask(&with.client, &url).await.unwrap(), "hello");
    assert!(ask(&provider(&url, &authority, &[]).client, &url).await.is_err(), "without a certificate");
}

#[tokio::test]
async fn proxies_of_the_section_and_of_the_environment_lead_to_the_provider() {
    let place = TlsFixture::new(false).await;
    let url = place.remote_url();
    let trusted = format!("[tls]\nca_file = {:?}\n", place.path("ca.pem"));
    let (address, heads) = proxy(place.server.address, None).await;
    let (wrong, unused) = proxy(place.server.address, None).await;
    let (good, wrong) = (format!("http://user:p%40ss@{address}"), format!("http://{wrong}"));
    let own = format!("proxy = \"{good}\"\n");
    let cases: [(&str, Vec<(&str, &str)>); 7] = [
        (&own, vec![]),
        ("proxy = \"env:MY_PROXY\"\n", vec![("MY_PROXY", &good)]),
        (&own, vec![("HTTPS_PROXY", &wrong), ("NO_PROXY", "*")]),
        ("", vec![("HTTPS_PROXY", &good), ("HTTP_PROXY", &wrong)]),
        ("", vec![("https_proxy", &good)]),
        ("", vec![("ALL_PROXY", &good)]),
        ("", vec![("HTTPS_PROXY", &good), ("NO_PROXY", "other.test")]),
    ];
    for (number, (config, variables)) in cases.into_iter().enumerate() {
        let one = provider(&url, &format!("{config}{trusted}"), &variables);
        assert_eq!(ask(&one.client, &url).await.unwrap(), "hello", "{config} {variables:?}");
        let heads = heads.lock().unwrap();
        assert_eq!(heads.len(), number + 1, "{config} {variables:?}");
        assert!(heads[number].starts_with(&format!("CONNECT {REMOTE}:")), "{}", heads[number]);
        assert!(heads[number].contains("Basic dXNlcjpwQHNz\r\n"), "{}", heads[number]);
    }
    assert!(unused.lock().unwrap().is_empty());
}

/// `127.1` is this machine, but by its spelling a remote host, for which proxies of the environment hold.
#[tokio::test]
async fn none_and_no_proxy_lead_to_the_provider_directly() {
    let place = TlsFixture::new(false).await;
    let (plain, served) = proxy(place.server.address, None).await;
    let (address, heads) = proxy(place.server.address, None).await;
    let (url, leads) = (format!("http://127.1:{}/v1", plain.port()), format!("http://{address}"));
    let cases: [(&str, Vec<(&str, &str)>); 4] = [
        ("proxy = \"none\"\n", vec![("HTTP_PROXY", &leads)]),
        ("", vec![("HTTP_PROXY", &leads), ("NO_PROXY", "127.1")]),
        ("", vec![("http_proxy", &leads), ("no_proxy", "other.test, 127.1")]),
        ("", vec![("ALL_PROXY", &leads), ("NO_PROXY", "*")]),
    ];
    for (number, (config, variables)) in cases.into_iter().enumerate() {
        let one = provider(&url, config, &variables);
        // The server speaks TLS only; what counts is who got the request.
        let _ = ask(&one.client, &url).await;
        assert!(heads.lock().unwrap().is_empty(), "{config} {variables:?}");
        let served = served.lock().unwrap();
        assert_eq!(served.len(), number + 1, "{config} {variables:?}");
        assert!(served[number].starts_with("POST /v1 "), "{}", served[number]);
    }
    let _ = ask(&provider(&url, "", &[("HTTP_PROXY", &leads)]).client, &url).await;
    assert!(heads.lock().unwrap()[0].starts_with("POST http://127.1:"), "otherwise through the proxy");
}

#[test]
fn mistakes_name_the_setting_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let empty = written(folder.path(), "empty.pem", "no certificate");
    let (cert, key) = {
        let authority = Authority::new();
        let ((chain, _), (_, key)) = (authority.issue(), authority.issue());
        let cert = written(folder.path(), "cert.pem", &pem("CERTIFICATE", &chain[0]));
        (cert, written(folder.path(), "other.key", &pem("PRIVATE KEY", key.secret_der())))
    };
    let tls = |lines: String| format!("[providers.openai.tls]\n{lines}");
    let cases = [
        (
            "[tls]\nca_file = \"/nowhere.pem\"\n".to_owned(),
            "tls.ca_file: the file /nowhere.pem cannot be read",
        ),
        (tls(format!("ca_file = {empty:?}\n")), "providers.openai.tls.ca_file: the file "),
        (
            tls(format!("cert = {cert:?}\n")),
            "providers.openai.tls: a client certificate needs both cert and key",
        ),
        (
            tls(format!("key = {key:?}\n")),
            "providers.openai.tls: a client certificate needs both cert and key",
        ),
        (tls(format!("cert = {cert:?}\nkey = {empty:?}\n")), "providers.openai.tls.key: the file "),
        (
            tls(format!("cert = {cert:?}\nkey = {key:?}\n")),
            "providers.openai.tls: the client certificate cannot be used",
        ),
        (
            "[providers.openai]\nproxy = \"ftp://u:secret@h\"\n".to_owned(),
            "providers.openai.proxy: must begin with",
        ),
        (
            "[providers.openai]\nproxy = \"env:NOT_SET\"\n".to_owned(),
            "providers.openai.proxy: the environment variable NOT_SET",
        ),
    ];
    for (config, expected) in cases {
        let mistakes = build(&config, &[]).err().unwrap_or_else(|| panic!("{config}"));
        assert!(mistakes.contains(expected) && !mistakes.contains("secret"), "{config}: {mistakes}");
    }
    for name in ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"] {
        let mistakes = build("", &[(name, "ftp://u:secret@h")]).err().unwrap();
        assert!(mistakes.to_uppercase().contains(&name.to_uppercase()), "{mistakes}");
        assert!(mistakes.contains("must begin with") && !mistakes.contains("secret"), "{mistakes}");
    }
}
