//! The command line.

pub mod banner;
pub mod caller_key;
mod check;
mod explain;
mod keys;
mod mock;
mod models;
mod serve;
pub mod style;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use catalog::Catalog;
use clap::{Parser, Subcommand};

use self::style::Style;
use crate::config::env::Environment;
use crate::config::file::Mistake;
use crate::config::lines::Lines;
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
        let checked = self.check()?;
        match checked.settings {
            Some(settings) => Ok(settings),
            None => Err(anyhow::anyhow!(checked.report())),
        }
    }

    /// Reads everything there is and collects what is wrong with it.
    fn check(&self) -> anyhow::Result<Checked> {
        let source = self.source()?;
        let catalog = Catalog::embedded()?;
        let reading = ConfigFile::read(source.as_ref().map_or("", |source| &source.text));
        let built = Settings::build(&reading.file, &Environment::of_process(), catalog);
        let mut mistakes = reading.mistakes;
        let (settings, doubts) = match built {
            Ok(mut settings) => {
                let doubts = std::mem::take(&mut settings.doubts);
                (mistakes.is_empty().then_some(settings), doubts)
            }
            Err(further) => {
                let further: Vec<Mistake> =
                    further.into_iter().filter(|mistake| !follows(mistake, &mistakes)).collect();
                mistakes.extend(further);
                (None, Vec::new())
            }
        };
        Ok(Checked { source, settings, mistakes, doubts })
    }

    /// The file; none where the environment alone decides.
    fn source(&self) -> anyhow::Result<Option<Source>> {
        let path = match &self.config {
            Some(path) => path.clone(),
            None if Path::new("llmgateway.toml").exists() => PathBuf::from("llmgateway.toml"),
            None => return Ok(None),
        };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            anyhow::anyhow!("The configuration {} cannot be read: {error}.", path.display())
        })?;
        Ok(Some(Source { path, text }))
    }
}

/// The configuration file.
struct Source {
    path: PathBuf,
    text: String,
}

/// What the configuration says, and what is wrong with it.
struct Checked {
    source: Option<Source>,
    /// None when there are mistakes.
    settings: Option<Settings>,
    mistakes: Vec<Mistake>,
    /// What is probably not meant, and does not keep the gateway from running.
    doubts: Vec<Mistake>,
}

impl Checked {
    /// Everything that is wrong, in the order of the file.
    fn report(&self) -> String {
        let name = self
            .source
            .as_ref()
            .map_or("of the environment".to_owned(), |source| source.path.display().to_string());
        let found: Vec<&Mistake> = self.mistakes.iter().chain(&self.doubts).collect();
        format!("The configuration {name} has {}:\n{}", count(found.len(), "mistake"), self.lines(&found))
    }

    /// One line for each, with its place.
    fn lines(&self, found: &[&Mistake]) -> String {
        let lines = self.source.as_ref().map(|source| Lines::of(&source.text));
        let mut placed: Vec<(usize, String)> = found
            .iter()
            .map(|mistake| {
                let line = lines.as_ref().and_then(|lines| lines.of_path(&mistake.path));
                let place = line.map_or(String::new(), |line| format!("line {line}: "));
                (line.unwrap_or(usize::MAX), format!("  {place}{mistake}"))
            })
            .collect();
        placed.sort();
        placed.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n")
    }
}

/// True for a mistake that is there only because its setting, or one within it, could not be read.
fn follows(mistake: &Mistake, earlier: &[Mistake]) -> bool {
    earlier.iter().any(|cause| {
        let rest = cause.path.strip_prefix(&mistake.path);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
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
