//! The command line.

pub mod banner;
mod check;
mod explain;
mod keys;
mod mock;
mod models;
mod serve;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use catalog::Catalog;
use clap::{Parser, Subcommand};

use crate::config::env::Environment;
use crate::config::{ConfigFile, Settings};

/// One OpenAI-compatible endpoint in front of every LLM provider.
#[derive(Debug, Parser)]
#[command(name = "llmgateway", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (the default).
    Serve(serve::ServeArguments),
    /// Check configuration and catalog, and tell which providers are enabled.
    Check(ConfigArgument),
    /// List models, providers, prices and capabilities.
    Models(models::ModelsArguments),
    /// Create, list and revoke API keys.
    Keys(keys::KeysArguments),
    /// Show how a request would be routed and what would be sent. Sends nothing.
    Explain(explain::ExplainArguments),
    /// Emulate every provider's API on loopback.
    Mock(mock::MockArguments),
}

/// Where the configuration is.
#[derive(Clone, Debug, Default, clap::Args)]
struct ConfigArgument {
    /// The configuration file. Default: llmgateway.toml in this folder, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command and turns its error into one sentence and exit code 1.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let command = arguments.command.unwrap_or(Command::Serve(arguments.serve));
    let result = match command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(config) => check::run(&config),
        Command::Models(arguments) => models::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Mock(arguments) => mock::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Tells the person. A reader that has seen enough (`| head`) is no error.
fn say(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let told = writeln!(out, "{text}").and_then(|()| out.flush());
    drop(told);
}

fn say_error(text: &str) {
    use std::io::Write;
    // `eprintln` panics when standard error is closed.
    let told = writeln!(std::io::stderr(), "llmgateway: {text}");
    drop(told);
}

impl ConfigArgument {
    /// The settings, or all mistakes in one message.
    fn load(&self) -> anyhow::Result<Settings> {
        let file = self.read()?;
        let catalog = Catalog::embedded()?;
        let settings = Settings::build(&file, &Environment::of_process(), catalog);
        settings.map_err(|mistakes| self.mistakes(&mistakes))
    }

    fn read(&self) -> anyhow::Result<ConfigFile> {
        let path = match &self.config {
            Some(path) => path.clone(),
            None if Path::new("llmgateway.toml").exists() => PathBuf::from("llmgateway.toml"),
            None => return Ok(ConfigFile::default()),
        };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            anyhow::anyhow!("The configuration {} cannot be read: {error}.", path.display())
        })?;
        ConfigFile::parse(&text).map_err(|mistakes| self.mistakes(&mistakes))
    }

    fn mistakes(&self, mistakes: &[crate::config::file::Mistake]) -> anyhow::Error {
        let name = self.config.as_deref().unwrap_or(Path::new("llmgateway.toml")).display().to_string();
        let lines: Vec<String> = mistakes.iter().map(|mistake| format!("  {mistake}")).collect();
        anyhow::anyhow!(
            "The configuration {name} has {} to mend:\n{}",
            count(mistakes.len(), "mistake"),
            lines.join("\n")
        )
    }
}

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // On one processor, handing work between threads is all cost.
    let single = std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1);
    let mut builder = match single {
        true => tokio::runtime::Builder::new_current_thread(),
        false => tokio::runtime::Builder::new_multi_thread(),
    };
    Ok(builder.enable_all().build()?)
}
