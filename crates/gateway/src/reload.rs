//! Reads the configuration again while the gateway runs: by SIGHUP, by `POST /admin/v1/reload`, and when one of its
//! files was written.
//!
//! A configuration with mistakes changes nothing. What a request sees changes all at once; what only a start can change
//! (listeners, the database) is named, and stays.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;

use crate::clock::now_ms;
use crate::config::Settings;
use crate::config::source::ConfigSource;
use crate::demo::Demo;
use crate::snapshot::{Current, Snapshot, Tools};

/// How often the files are looked at. One that is being written is read once it has not changed for as long.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Puts new configurations in force.
pub struct Reloader {
    current: Current,
    tools: Tools,
    source: Option<ConfigSource>,
    /// What only a start can change, as it was at the start: by setting.
    fixed: Vec<(&'static str, String)>,
    /// When it was last tried, and what became of it.
    last: std::sync::Mutex<Option<(i64, Result<Reloaded, String>)>>,
    /// One reload at a time.
    demo: Mutex<Demo>,
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Settings that are changed in the file and need a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Reloader {
    /// Reloads what these settings were read from.
    pub fn new(current: Current, tools: Tools, settings: &StartedWith, demo: Demo) -> Arc<Self> {
        Arc::new(Self {
            current,
            tools,
            source: settings.source.clone(),
            fixed: settings.fixed.clone(),
            last: std::sync::Mutex::default(),
            demo: Mutex::new(demo),
        })
    }

    /// Reads the configuration and puts it in force. The error says what is wrong with it; then nothing has changed.
    pub async fn reload(&self) -> Result<Reloaded, String> {
        let mut demo = self.demo.lock().await;
        let result = self.read_and_set(&mut demo).await;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((now_ms(), result.clone()));
        match &result {
            Ok(done) if done.needs_restart.is_empty() => tracing::info!("the configuration was reloaded"),
            Ok(done) => tracing::warn!(
                "the configuration was reloaded, but {} can only be changed by a restart",
                done.needs_restart.join(", ")
            ),
            Err(reason) => {
                tracing::error!("the configuration was not reloaded, nothing has changed: {reason}")
            }
        }
        result
    }

    /// The last reload of this process: when, and what became of it.
    pub fn last(&self) -> Option<(i64, Result<Reloaded, String>)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn read_and_set(&self, demo: &mut Demo) -> Result<Reloaded, String> {
        let Some(source) = self.source.clone() else {
            return Err(
                "This gateway was started without a configuration that could be read again.".to_owned()
            );
        };
        // Files are read where waiting for a disk holds up nobody.
        let read = tokio::task::spawn_blocking(move || source.read()).await;
        let mut checked = read.map_err(|_| "The configuration could not be read.".to_owned())??;
        let Some(mut settings) = checked.settings.take() else { return Err(checked.report()) };
        demo.serve(&mut settings).await?;
        let needs_restart = self.changed(&settings);
        let next = Snapshot::next(&self.current.get(), settings, &self.tools);
        // A budget that is new here counts what was spent before, or is not in force.
        self.tools.books.load().await.map_err(|error| error.to_string())?;
        self.current.set(next);
        Ok(Reloaded { needs_restart })
    }

    fn changed(&self, settings: &Settings) -> Vec<&'static str> {
        let now = settings.fixed();
        let changed = self.fixed.iter().zip(&now).filter(|(before, now)| before != now);
        changed.map(|(before, _)| before.0).collect()
    }

    /// Reloads when a file of the configuration was written, for as long as this is polled.
    pub async fn watch(&self) -> Infallible {
        let Some(source) = &self.source else { return std::future::pending().await };
        let mut loaded = state(source).await;
        let mut last = loaded.clone();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = state(source).await;
            if now != loaded && now == last {
                // The reason is in the log; the file is read again once it has changed again.
                let _ = self.reload().await;
                loaded = state(source).await;
            }
            last = now;
        }
    }
}

async fn state(source: &ConfigSource) -> Vec<Option<(std::time::SystemTime, u64)>> {
    let source = source.clone();
    tokio::task::spawn_blocking(move || source.state()).await.unwrap_or_default()
}

/// What has to be known of the settings that the gateway was started with.
pub struct StartedWith {
    source: Option<ConfigSource>,
    fixed: Vec<(&'static str, String)>,
}

impl StartedWith {
    /// Notes it.
    pub fn of(settings: &Settings) -> Self {
        Self { source: settings.source.clone(), fixed: settings.fixed() }
    }
}
