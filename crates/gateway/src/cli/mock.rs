//! `llmgateway mock`

use std::net::SocketAddr;

use super::{runtime, say};

/// Arguments of `mock`.
#[derive(Clone, Debug, clap::Args)]
pub struct MockArguments {
    /// Address and port.
    #[arg(long, default_value = "127.0.0.1:4010")]
    listen: SocketAddr,
    /// Play the model behind a coding agent: read, edit and run the files and commands of the prompt. See
    /// docs/mock.md
    #[arg(long)]
    agent: bool,
}

/// Runs until Ctrl-C or SIGTERM.
pub fn run(arguments: &MockArguments) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let options = if arguments.agent { mock::Options::agent() } else { mock::Options::plain() };
        let mock = mock::start(arguments.listen, options)
            .await
            .map_err(|error| anyhow::anyhow!("The mock cannot listen on {}: {error}.", arguments.listen))?;
        say(&format!("every provider's API, emulated, on http://{}", mock.address()));
        super::serve::stop_signal().await;
        mock.stop().await;
        anyhow::Ok(())
    })
}
