//! `llmgateway run`: a coding agent with the gateway, for one process. The user's own files stay unchanged.

mod agent;
mod listing;
mod overlay;
mod target;

use std::ffi::OsString;
use std::process::ExitCode;

use tokio::process::{Child, Command};

use self::agent::{Agent, AgentOptions, Launch};
use self::listing::Listing;
use self::overlay::Overlay;
use self::target::{Key, Target};
use super::{ConfigArgument, runtime, say};
use crate::env::Environment;
use crate::upstream::outbound::Outbound;

/// Arguments of `run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// The agent to start.
    #[arg(value_enum)]
    agent: Agent,
    /// The model: a model, PROVIDER/MODEL or an alias. Default: the agent's own choice
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The model for titles and other small requests. Default: that of --model
    #[arg(long, value_name = "MODEL")]
    small_model: Option<String>,
    /// Another gateway; $LLMGATEWAY_API_KEY is its key. Default: that of the configuration
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Print the shell commands that start the agent this way, and start nothing
    #[arg(long)]
    print: bool,
    /// Arguments of the agent, after `--`.
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
}

/// Runs the agent until it ends, and ends with its exit code.
pub fn run(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let environment = Environment::of_process();
    let settings = arguments.config.load();
    // The configuration of this folder has the settings of connections; another gateway does not need it.
    let outbound =
        settings.as_ref().map_or_else(|_| Outbound::default(), |all| Outbound::new(all.outbound.clone()));
    let target = match &arguments.url {
        Some(url) => Target::elsewhere(url, &environment)?,
        None => Target::of_settings(&settings?, &environment)?,
    };
    runtime()?.block_on(async {
        let agent = arguments.agent;
        let listing = match target.models(outbound.route()).await {
            Ok(listing) => listing,
            // The printed commands may be for later use.
            Err(_) if arguments.print && !agent.needs_list(arguments.model.as_deref()) => Listing::default(),
            Err(error) => return Err(error),
        };
        let choice = AgentOptions {
            url: target.url.clone(),
            model: arguments.model.clone(),
            small_model: arguments.small_model.clone(),
            listing,
        };
        let launch = agent.launch(&choice)?;
        if arguments.print {
            say(&script(agent, &launch, &target.key, &arguments.arguments));
            return Ok(ExitCode::SUCCESS);
        }
        let mut command = command(agent, &launch, &target.key);
        command.envs(launch.defaults.iter().filter(|(name, _)| environment.get(name).is_none()).cloned());
        // Removed when the agent has ended.
        let home = launch.overlay.as_ref().map(|overlay| overlay.make(&environment)).transpose()?;
        if let (Some(overlay), Some(home)) = (&launch.overlay, &home) {
            command.env(overlay.variable, home.path());
        }
        let child = command.args(&arguments.arguments).spawn().map_err(|error| not_started(agent, &error))?;
        ended(child).await
    })
}

fn command(agent: Agent, launch: &Launch, key: &Key) -> Command {
    let mut command = Command::new(agent.program());
    launch.unset.iter().for_each(|name| _ = command.env_remove(name));
    command.envs(launch.set.iter().map(|(name, value)| (name, value)));
    command.env(launch.key_variable, key.secret.expose());
    command.args(&launch.arguments);
    command
}

fn not_started(agent: Agent, error: &std::io::Error) -> anyhow::Error {
    let program = agent.program();
    match error.kind() {
        std::io::ErrorKind::NotFound => anyhow::anyhow!(
            "{program} is not installed, or not in PATH. It is installed by: npm install -g {}",
            agent.package()
        ),
        _ => anyhow::anyhow!("{program} cannot be started: {error}."),
    }
}

/// Waits for the agent. A terminal sends Ctrl-C to it as well, and its reaction is its own decision; a stop
/// signal for us is passed on.
#[cfg(unix)]
async fn ended(mut child: Child) -> anyhow::Result<ExitCode> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        let passed_on = tokio::select! {
            status = child.wait() => return Ok(exit_code(status?)),
            _ = interrupt.recv() => continue,
            _ = terminate.recv() => rustix::process::Signal::TERM,
            _ = hang_up.recv() => rustix::process::Signal::HUP,
        };
        let id = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id
            && rustix::process::kill_process(id, passed_on).is_err()
        {
            // It has just ended: the next wait returns the status.
        }
    }
}

#[cfg(not(unix))]
async fn ended(mut child: Child) -> anyhow::Result<ExitCode> {
    Ok(exit_code(child.wait().await?))
}

/// As shells report it: a signal is 128 plus its number.
fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    #[cfg(not(unix))]
    let signal: Option<i32> = None;
    let code = status.code().or(signal.map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// The commands of a shell.
fn script(agent: Agent, launch: &Launch, key: &Key, arguments: &[OsString]) -> String {
    let mut lines = Vec::new();
    if let Some(Overlay { folder, file, settings, .. }) = &launch.overlay {
        lines.push(format!("# {} needs in ~/{folder}/{file}: {settings}", agent.program()));
    }
    lines.extend(launch.unset.iter().map(|name| format!("unset {name}")));
    lines.extend(launch.set.iter().map(|(name, value)| format!("export {name}={}", quoted(value))));
    let own_first = |(name, value): &(&str, String)| format!("export {name}=\"${{{name}:-{value}}}\"");
    lines.extend(launch.defaults.iter().map(own_first));
    lines.push(format!("export {}=\"{}\"", launch.key_variable, key.in_shell));
    let given = arguments.iter().map(|argument| argument.to_string_lossy().into_owned());
    let words = launch.arguments.iter().cloned().chain(given).map(|word| quoted(&word));
    lines.push(std::iter::once(agent.program().to_owned()).chain(words).collect::<Vec<_>>().join(" "));
    lines.join("\n")
}

/// A quoted word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use canon::Secret;

    use super::*;

    fn key() -> Key {
        Key { secret: Secret::new("sk-secret"), in_shell: "$(cat '/w/llmgateway.key')".into() }
    }

    fn printed(agent: Agent, arguments: &[&str]) -> String {
        let choice = AgentOptions {
            url: "http://h:1".into(),
            model: Some("m".into()),
            small_model: None,
            listing: Listing::default(),
        };
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        script(agent, &agent.launch(&choice).unwrap(), &key(), &arguments)
    }

    #[test]
    fn the_printed_script_is_valid_in_a_shell_and_contains_no_key() {
        let text = printed(Agent::Claude, &["-p", "it's here"]);
        assert!(text.contains("unset ANTHROPIC_API_KEY\n"), "{text}");
        assert!(text.contains("export ANTHROPIC_BASE_URL=http://h:1\n"), "{text}");
        assert!(text.contains("export ANTHROPIC_AUTH_TOKEN=\"$(cat '/w/llmgateway.key')\"\n"), "{text}");
        assert!(text.ends_with(r"claude -p 'it'\''s here'"), "{text}");
        for agent in [Agent::Claude, Agent::Codex, Agent::Gemini, Agent::Opencode] {
            assert!(!printed(agent, &[]).contains("sk-secret"));
        }
    }
}
