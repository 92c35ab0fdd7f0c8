//! A gateway in this process, on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use catalog::Catalog;
use gateway::app::App;
use gateway::config::source::ConfigSource;
use gateway::config::{ConfigFile, Settings};
use gateway::env::Environment;
use gateway::http::Api;
use gateway::snapshot::Snapshot;
use serde_json::Value;
use store::{Store, UsageFilter, UsageRecord};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::client::{OpenAnswer, Reply, chat, get, open, send};
use super::upstream::Upstream;

pub const KEY: &str = "test-key";

pub(super) const CONFIG_FILE: &str = "llmgateway.toml";

pub struct TestGateway {
    pub address: SocketAddr,
    pub internal: Option<SocketAddr>,
    pub api: Arc<Api>,
    pub database: String,
    folder: TempDir,
    stop: oneshot::Sender<()>,
    stop_at_once: oneshot::Sender<()>,
    running: JoinHandle<usize>,
}

impl TestGateway {
    /// A gateway of this configuration. The test support sets address, key, database, and waits between attempts.
    pub async fn start(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config).await
    }

    /// The same, read from a file, so that it can be reloaded.
    pub async fn start_from_file(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", folder.path().join("gateway.db").display());
        let file = folder.path().join(CONFIG_FILE);
        std::fs::write(&file, complete(config, &database).to_string()).unwrap();
        let mut checked = ConfigSource::new(Some(file), Environment::default()).read().unwrap();
        let settings = checked.settings.take().unwrap_or_else(|| panic!("{}", checked.report()));
        Self::run(folder, database, settings).await
    }

    /// Writes another configuration into its file.
    pub fn rewrite(&self, config: &str) {
        let text = complete(config, &self.database).to_string();
        std::fs::write(self.folder.path().join(CONFIG_FILE), text).unwrap();
    }

    /// A file beside the configuration.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Starts in the folder of a gateway that was killed.
    pub async fn start_in(folder: TempDir, config: &str) -> Self {
        let database = format!("sqlite:{}", folder.path().join("gateway.db").display());
        let mut settings = settings(config, &database);
        // With an SQLite file the spool is in its folder anyway.
        if !settings.database_url.starts_with("sqlite:") {
            settings.spool = folder.path().join("spool");
        }
        Self::run(folder, database, settings).await
    }

    async fn run(folder: TempDir, database: String, settings: Settings) -> Self {
        let app = App::start(settings).await.unwrap();
        let (address, internal, api) = (app.address(), app.internal_address(), app.api().clone());
        let (stop, stopped) = oneshot::channel();
        let (stop_at_once, stopped_at_once) = oneshot::channel();
        let stopped = async move {
            let _ = stopped.await;
        };
        let stopped_at_once = async move {
            if stopped_at_once.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let running = tokio::spawn(app.run(stopped, stopped_at_once));
        Self { address, internal, api, database, folder, stop, stop_at_once, running }
    }

    /// A gateway whose provider `one` is the scripted one; it speaks OpenAI's format.
    pub async fn of(upstream: &Upstream) -> Self {
        Self::start(&upstream.provider("one", "openai-chat")).await
    }

    /// Sends a chat request and waits for the whole answer.
    pub async fn chat(&self, body: &Value) -> Reply {
        chat(self.address, &[], body.to_string().as_bytes()).await
    }

    /// The same with further headers.
    pub async fn chat_with(&self, headers: &[(&str, &str)], body: &Value) -> Reply {
        chat(self.address, headers, body.to_string().as_bytes()).await
    }

    /// The same with any bytes as body.
    pub async fn chat_bytes(&self, body: &[u8]) -> Reply {
        chat(self.address, &[], body).await
    }

    /// Sends a chat request and returns once the head of the answer has arrived.
    pub async fn open(&self, body: &Value) -> OpenAnswer {
        open(self.address, &[], body.to_string().as_bytes()).await
    }

    /// `GET` with the test's key.
    pub async fn get(&self, path: &str) -> Reply {
        get(self.address, path).await
    }

    /// `POST` with the test's key.
    pub async fn post(&self, path: &str, body: &[u8]) -> Reply {
        self.post_with(path, "", body).await
    }

    /// The same with further lines in the head.
    pub async fn post_with(&self, path: &str, headers: &str, body: &[u8]) -> Reply {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat()).await
    }

    /// Sends these bytes and returns the answer.
    pub async fn send(&self, bytes: &[u8]) -> Reply {
        send(self.address, bytes).await
    }

    /// The value of a metric: its name with all its labels, as Prometheus shows it.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.parse().ok()
    }

    /// No bodies of requests wait for the database.
    pub fn bodies_are_written(&self) -> bool {
        self.api.pipeline.metering.bodies().bytes() == 0
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.api.current.get()
    }

    /// Stops it and waits for the end.
    pub async fn stop(self) -> Stopped {
        let _ = self.stop.send(());
        let cut = self.running.await.unwrap();
        Stopped { cut, database: self.database, folder: self.folder }
    }

    /// Stops it like a second signal.
    pub async fn stop_at_once(self) -> Stopped {
        let _ = self.stop.send(());
        let _ = self.stop_at_once.send(());
        let cut = self.running.await.unwrap();
        Stopped { cut, database: self.database, folder: self.folder }
    }

    /// Stops it and returns the usage records, oldest first.
    pub async fn records(self) -> Vec<UsageRecord> {
        self.stop().await.records().await
    }

    /// Stops it and returns its only usage record.
    pub async fn record(self) -> UsageRecord {
        let mut records = self.records().await;
        assert_eq!(records.len(), 1, "{records:#?}");
        records.remove(0)
    }
}

/// What a stopped gateway leaves.
pub struct Stopped {
    pub cut: usize,
    database: String,
    folder: TempDir,
}

impl Stopped {
    /// Starts it again, with its database.
    pub async fn start(self, config: &str) -> TestGateway {
        let settings = settings(config, &self.database);
        TestGateway::run(self.folder, self.database, settings).await
    }

    /// The usage records, oldest first.
    pub async fn records(&self) -> Vec<UsageRecord> {
        let store = Store::open(&self.database).await.unwrap();
        let mut records = store.usage(UsageFilter::default()).await.unwrap();
        store.close().await;
        records.sort_by_key(|record| record.started_at_ms);
        records
    }
}

/// The configuration with the settings of the tests.
fn complete(config: &str, database: &str) -> toml::Table {
    let mut table: toml::Table = config.parse().unwrap();
    let own = [
        ("server", "listen = \"127.0.0.1:0\"".to_owned()),
        ("auth", format!("api_keys = [\"{KEY}\"]")),
        ("database", format!("url = {database:?}")),
        // The order of providers must not be random, and no test waits.
        ("routing", "exploration = 0.0\nretry = { backoff_ms = 0 }".to_owned()),
    ];
    for (section, defaults) in own {
        let defaults: toml::Table = defaults.parse().unwrap();
        let section = table.entry(section).or_insert_with(|| toml::Table::new().into());
        let section = section.as_table_mut().unwrap();
        for (name, value) in defaults {
            section.entry(name).or_insert(value);
        }
    }
    table
}

fn settings(config: &str, database: &str) -> Settings {
    let table = complete(config, database);
    let file = ConfigFile::parse(&table.to_string()).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let catalog = Catalog::embedded().unwrap();
    Settings::build(&file, &Environment::default(), catalog)
        .unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}
