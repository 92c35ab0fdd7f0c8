//! Reads the configuration again while the gateway runs: by SIGHUP, by `POST /admin/v1/reload`, and when one of its
//! files was written.
//!
//! A configuration with mistakes changes nothing. All settings of requests change at once; settings that need
//! a restart (listeners, the database) are reported and stay.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;

use crate::clock::now_ms;
use crate::config::Settings;
use crate::config::source::ConfigSource;
use crate::demo::Demo;
use crate::snapshot::{Current, Snapshot, Tools};

/// The interval of checking the files. A changed file is read once it has not changed for one interval.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Puts new configurations into force.
pub struct Reloader {
    current: Current,
    tools: Tools,
    source: Option<ConfigSource>,
    /// The settings that only a restart can change, with their values at the start.
    fixed: Vec<(&'static str, String)>,
    /// The time and the result of the last attempt.
    last: std::sync::Mutex<Option<(i64, Result<Reloaded, String>)>>,
    /// One reload at a time.
    demo: Mutex<Demo>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Settings that are changed in the file and need a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Reloader {
    /// Reloads the source of these settings.
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

    /// Reads the configuration and puts it into force. On an error nothing has changed.
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
                tracing::error!("the configuration was not reloaded and has not changed: {reason}")
            }
        }
        result
    }

    /// The time and the result of the last reload of this process.
    pub fn last(&self) -> Option<(i64, Result<Reloaded, String>)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn read_and_set(&self, demo: &mut Demo) -> Result<Reloaded, String> {
        let Some(source) = self.source.clone() else {
            return Err(
                "This gateway was started without a configuration that could be read again.".to_owned()
            );
        };
        // File access runs on a blocking thread.
        let read = tokio::task::spawn_blocking(move || source.read()).await;
        let mut checked = read.map_err(|_| "The configuration could not be read.".to_owned())??;
        let Some(mut settings) = checked.settings.take() else { return Err(checked.report()) };
        demo.serve(&mut settings).await?;
        let needs_restart = self.changed(&settings);
        let next = Snapshot::next(&self.current.get(), settings, &self.tools);
        // A budget that is new here must know its earlier spending before it is in force.
        self.tools.books.load().await.map_err(|error| error.to_string())?;
        self.current.set(next);
        Ok(Reloaded { needs_restart })
    }

    fn changed(&self, settings: &Settings) -> Vec<&'static str> {
        let now = settings.fixed();
        let changed = self.fixed.iter().zip(&now).filter(|(before, now)| before != now);
        changed.map(|(before, _)| before.0).collect()
    }

    /// Reloads when a file of the configuration was written, as long as this is polled.
    pub async fn watch(&self) -> Infallible {
        let Some(source) = &self.source else { return std::future::pending().await };
        let mut loaded = state(source).await;
        let mut last = loaded.clone();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = state(source).await;
            if now != loaded && now == last {
                // The reason is in the log; the file is read again after its next change.
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

/// The settings at the start that reloads need.
pub struct StartedWith {
    source: Option<ConfigSource>,
    fixed: Vec<(&'static str, String)>,
}

impl StartedWith {
    pub fn of(settings: &Settings) -> Self {
        Self { source: settings.source.clone(), fixed: settings.fixed() }
    }
}
