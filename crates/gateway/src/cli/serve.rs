//! `llmgateway serve`

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::caller_key::{CallerKey, Configured};
use super::{ConfigArgument, Style, banner, runtime, say, say_error};
use crate::app::App;
use crate::config::file::LoggingSection;
use crate::config::settings::{EXPOSURE, LISTEN_VARIABLE};
use crate::descriptors;
use crate::env::Environment;
use crate::reload::Reloader;
use crate::telemetry::access::{self, Format};
use crate::telemetry::log::{LastLines, LogWriter, StandardError};

/// Arguments of `serve`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Address and port, overriding $LLMGATEWAY_LISTEN and the configuration
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

/// Runs until Ctrl-C or SIGTERM; a second signal does not wait for answers under way. Fails when an answer
/// was cut.
pub fn run(arguments: &ServeArguments) -> anyhow::Result<ExitCode> {
    let mut environment = Environment::of_process();
    if let Some(listen) = &arguments.listen {
        environment = environment.with(LISTEN_VARIABLE, listen);
    }
    let mut checked = arguments.config.check_in(environment)?;
    // Without a key for callers, one is created below.
    checked.doubts.retain(|doubt| doubt.path != EXPOSURE);
    let Some(settings) = checked.settings.take() else { anyhow::bail!(checked.report()) };
    let _last_lines = start_log(settings.logging)?;
    if let Some(warning) = descriptors::shortage(descriptors::raise(), settings.max_connections) {
        tracing::warn!("{warning}");
    }
    runtime()?.block_on(async {
        let style = Style::of_stdout();
        let configured = Configured::of(&settings);
        let database_url = settings.database_url.clone();
        let tls = settings.tls.is_some();
        let providers = banner::summary(&settings.providers, style);
        let stop = stop_signal();
        let app = App::start(settings).await?;
        let key = CallerKey::find(configured, app.store(), &database_url).await?;
        if matches!(key, CallerKey::Fresh { .. }) {
            // The new key must work immediately, and the keys were read before it was created.
            app.api().auth.reload().await?;
        }
        let (api, at) = (app.api().clone(), banner::Listening { address: app.address(), tls });
        // A separate task, because a provider may list its models slowly, and callers must not wait for a
        // greeting.
        #[expect(clippy::disallowed_methods, reason = "aborted below")]
        let greeting = tokio::spawn(async move {
            let example = banner::Example::find(&api, std::io::stdout().is_terminal()).await;
            // At the first start there is no admin key; a person at the terminal may sign in with a code.
            let is_offered = matches!(key, CallerKey::Fresh { .. }) || std::io::stdout().is_terminal();
            let code = if is_offered { api.console.new_code().ok() } else { None };
            say(&format!("{}\n{providers}", banner::banner(at, &key, &example, code.as_deref(), style)));
            if !checked.doubts.is_empty() {
                say_error(&checked.report());
            }
        });
        #[expect(clippy::disallowed_methods, reason = "aborted below")]
        let reloading = tokio::spawn(reload_on_signal(app.api().reloader.clone()));
        // The second signal is awaited only after the first one.
        let at_once = async { stop_signal().await };
        let cut = app.run(stop, at_once).await;
        greeting.abort();
        reloading.abort();
        anyhow::Ok(if cut == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Log output may fail at any time; the returned value writes its last lines.
fn start_log(logging: LoggingSection) -> anyhow::Result<LastLines<StandardError>> {
    let environment = Environment::of_process();
    let filter = environment.get("LLMGATEWAY_LOG").and_then(|filter| filter.parse::<Targets>().ok());
    let ansi = Style::of_stderr().is_coloured();
    let writer = LogWriter::standard_error(ansi)?;
    let last_lines = writer.last_lines();
    let lines_of_requests = writer.clone();
    let usual =
        || Targets::new().with_default(LevelFilter::WARN).with_target(access::TARGET, LevelFilter::INFO);
    let filter = filter.unwrap_or_else(usual);
    let lines = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(ansi && logging.format == Format::Text)
        .with_writer(writer)
        // Otherwise it would report on standard error that standard error cannot be written, and panic.
        .log_internal_errors(false);
    let started = match logging.format {
        Format::Text => lines.finish().with(filter).try_init(),
        Format::Json => lines.json().flatten_event(true).finish().with(filter).try_init(),
    };
    if logging.access && tracing::enabled!(target: access::TARGET, tracing::Level::INFO) {
        access::start(logging.format, move |line| lines_of_requests.put(line));
    }
    if started.is_err() {
        tracing::debug!("the log had been started before");
    }
    Ok(last_lines)
}

/// Reloads the configuration on each SIGHUP. Like in [`stop_signal`], the signal is caught from the call on.
fn reload_on_signal(reloader: Arc<Reloader>) -> impl Future<Output = ()> {
    #[cfg(unix)]
    let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    async move {
        #[cfg(unix)]
        match signal {
            Ok(mut signal) => {
                while signal.recv().await.is_some() {
                    // The result is in the log.
                    let _ = reloader.reload().await;
                }
            }
            Err(error) => tracing::warn!(%error, "SIGHUP cannot be listened for"),
        }
        #[cfg(not(unix))]
        drop(reloader);
    }
}

/// Ends at the next Ctrl-C or SIGTERM. Signals are caught from the call on, not only once the future is
/// polled: one in between would otherwise end the process immediately.
pub(super) fn stop_signal() -> impl Future<Output = ()> {
    #[cfg(unix)]
    let signals = {
        use tokio::signal::unix::{SignalKind, signal};
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    };
    async move {
        #[cfg(unix)]
        match signals {
            (Ok(mut interrupt), Ok(mut terminate)) => tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            },
            _ => std::future::pending().await,
        }
        #[cfg(not(unix))]
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
