//! The command line.

pub mod banner;
pub mod caller_key;
mod check;
mod explain;
mod keys;
mod lists;
mod mock;
mod models;
#[cfg(test)]
mod page;
mod projects;
mod run;
mod serve;
pub mod style;
mod suspensions;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::style::Style;
use crate::config::Settings;
use crate::config::check::Checked;
use crate::config::source::ConfigSource;
use crate::env::Environment;

/// One endpoint for all LLM providers, in the format that the caller uses
#[derive(Debug, Parser)]
#[command(name = "llmgateway", version)]
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
    /// Check configuration and catalog, and show which providers are enabled
    Check(ConfigArgument),
    /// List models, providers, prices and capabilities.
    Models(models::ModelsArguments),
    /// Create, list, rotate, disable and revoke API keys.
    Keys(keys::KeysArguments),
    /// Create, list, change and delete projects.
    Projects(projects::ProjectsArguments),
    /// Show usage and cost, by project, key, model, provider, hour or day
    Usage(usage::UsageArguments),
    /// List requests, or show one, as JSON: one object per line
    Requests(lists::RequestsArguments),
    /// List changes of projects, keys and suspensions with their authors, as JSON: one object per line
    Audit(lists::AuditArguments),
    /// List the nodes of the database, as JSON: one object per line; or declare one lost
    Nodes(lists::NodesArguments),
    /// Suspend a provider or one of its keys on all nodes, end a suspension, or list the suspensions
    Suspend(suspensions::SuspendArguments),
    /// Show how a request would be routed and what would be sent. Sends nothing.
    Explain(explain::ExplainArguments),
    /// Emulate every provider's API on loopback.
    Mock(mock::MockArguments),
    /// Start a coding agent with the gateway, without changes to its own settings
    Run(run::RunArguments),
    /// Print the OpenAPI document of all routes.
    Openapi,
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
}

/// The path of the configuration.
#[derive(Clone, Debug, Default, clap::Args)]
struct ConfigArgument {
    /// The configuration file. Default: $LLMGATEWAY_CONFIG, else llmgateway.toml in this folder, if it exists
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

/// Runs the command. An error becomes one sentence and exit code 1.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let command = arguments.command.unwrap_or(Command::Serve(arguments.serve));
    let result = match command {
        Command::Serve(arguments) => return exit_code(serve::run(&arguments)),
        Command::Check(config) => check::run(&config),
        Command::Models(arguments) => models::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments),
        Command::Projects(arguments) => projects::run(&arguments),
        Command::Usage(arguments) => usage::run(&arguments),
        Command::Requests(arguments) => lists::requests(&arguments),
        Command::Audit(arguments) => lists::audit(&arguments),
        Command::Nodes(arguments) => lists::nodes(&arguments),
        Command::Suspend(arguments) => suspensions::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Mock(arguments) => mock::run(&arguments),
        Command::Openapi => {
            say(String::from_utf8_lossy(&crate::http::openapi::document()).trim_end());
            Ok(())
        }
        Command::Schema => {
            say(&crate::config::schema::document());
            Ok(())
        }
        Command::Run(arguments) => return exit_code(run::run(&arguments)),
    };
    exit_code(result.map(|()| ExitCode::SUCCESS))
}

fn exit_code(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        say_error(&error.to_string());
        ExitCode::FAILURE
    })
}

/// Prints to standard output. A closed reader (`| head`) is not an error.
fn say(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    drop(written);
}

fn say_error(text: &str) {
    use std::io::Write;
    // `eprintln` panics when standard error is closed.
    let written = writeln!(std::io::stderr(), "llmgateway: {text}");
    drop(written);
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

    /// Reads everything and collects the mistakes.
    fn check(&self) -> anyhow::Result<Checked> {
        self.check_in(Environment::of_process())
    }

    /// The same with an environment that other arguments have changed.
    fn check_in(&self, environment: Environment) -> anyhow::Result<Checked> {
        ConfigSource::new(self.config.clone(), environment).read().map_err(anyhow::Error::msg)
    }
}

/// Runs work on the database of the configuration, even while a gateway uses it.
fn with_store<T>(
    database_url: &str,
    work: impl AsyncFnOnce(&store::Store) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    runtime()?.block_on(async {
        let store = store::Store::open(database_url).await?;
        let done = work(&store).await?;
        store.close().await;
        Ok(done)
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // With one processor, passing work between threads only adds cost.
    let single = std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1);
    let mut builder = if single {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    Ok(builder.enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use http::Method;

    use super::*;
    use crate::http::routes::{ROUTES, Resource, Serve};

    /// What does the same as a route of the admin API, or why nothing does.
    enum RouteCommand {
        Command(&'static str),
        Nothing(&'static str),
    }

    fn same(resource: Resource, method: &Method) -> RouteCommand {
        use RouteCommand::{Command, Nothing};
        match (resource, method.as_str()) {
            (Resource::Projects, "POST") => Command("projects create x"),
            (Resource::Projects, _) | (Resource::Project, "GET") => Command("projects list"),
            (Resource::Project, "DELETE") => Command("projects delete x"),
            (Resource::Project, _) => Command("projects update x --name y --policy {}"),
            (Resource::Keys, "POST") => Command("keys create x"),
            (Resource::Keys, _) | (Resource::Key, "GET") => Command("keys list"),
            (Resource::Key, "DELETE") => Command("keys revoke x"),
            (Resource::Key, "POST") => Command("keys rotate x"),
            (Resource::Key, _) => {
                Command("keys update x --name y --policy {} --roles viewer --expires 2027-01-31")
            }
            (Resource::Usage, _) => Command("usage --group project"),
            (Resource::Requests, _) => Command("requests --filter x"),
            (Resource::Request, _) => Command("requests x"),
            (Resource::Models, _) => Command("models"),
            (Resource::Providers, _) => Command("check"),
            (Resource::Suspensions, "POST") => Command("suspend x --reason y"),
            (Resource::Suspensions, _) => Command("suspend"),
            (Resource::Suspension, _) => Command("suspend x --end"),
            (Resource::Cache, _) => Command("projects purge-cache x"),
            (Resource::Explain, _) => Command("explain --model x"),
            (Resource::Nodes, _) => Command("nodes"),
            (Resource::Node, _) => Command("nodes forget x"),
            (Resource::Audit, _) => Command("audit"),
            (Resource::Budgets, _) => Nothing("the counters are in the memory of a process"),
            (Resource::Routing, _) => Nothing("the measurements are in the memory of a process"),
        }
    }

    #[test]
    fn every_route_of_the_admin_api_has_a_command_or_a_reason() {
        let mut without = Vec::new();
        for route in ROUTES {
            let Serve::Admin(resource) = route.serve else { continue };
            match same(resource, &route.method) {
                RouteCommand::Command(line) => {
                    let words = std::iter::once("llmgateway").chain(line.split(' '));
                    let parsed = Arguments::try_parse_from(words);
                    let command = parsed.unwrap_or_else(|error| panic!("{line}: {error}")).command;
                    assert!(command.is_some(), "{} {}: {line}", route.method, route.path);
                }
                RouteCommand::Nothing(reason) => {
                    assert!(!reason.is_empty());
                    without.push(route.path);
                }
            }
        }
        assert_eq!(without, ["/admin/v1/budgets", "/admin/v1/routing"]);
    }

    #[test]
    fn the_configuration_can_be_named_before_and_after_every_subcommand() {
        let lines = [
            "--config x",
            "serve --config x",
            "--config x serve",
            "check --config x",
            "--config x check",
            "keys --config x list",
            "keys list --config x",
            "--config x keys list",
            "projects list --config x",
            "models --config x",
            "--config x explain --model m",
            "run claude --config x -- --config y",
        ];
        for line in lines {
            let words = std::iter::once("llmgateway").chain(line.split(' '));
            let matches = Arguments::command().try_get_matches_from(words);
            let matches = matches.unwrap_or_else(|error| panic!("{line}: {error}"));
            let mut level = &matches;
            if let Some((_, deeper)) = level.subcommand() {
                level = deeper;
            }
            assert_eq!(level.get_one::<PathBuf>("config"), Some(&PathBuf::from("x")), "{line}");
        }
    }
}
