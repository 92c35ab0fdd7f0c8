//! A gateway or a mock that runs during a step. It is stopped when its value is dropped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::place::Workspace;

const PATIENCE: Duration = Duration::from_secs(30);

/// A process that listens.
pub struct Running {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Running {
    /// `llmgateway mock`
    pub fn mock(place: &Workspace, scratch: &Path) -> Result<Self> {
        let address = free_address()?;
        let arguments = ["mock", "--listen", &address.to_string()];
        Self::start(place, scratch, address, ("mock", &arguments, &[]))
    }

    /// `llmgateway serve` with the configuration of the SDK tests.
    pub fn gateway(place: &Workspace, scratch: &Path, mock_url: &str, key: &str) -> Result<Self> {
        let address = free_address()?;
        let template = std::fs::read_to_string(place.root.join("tests/sdk/llmgateway.toml.in"))?;
        let filled = template.replace("@LISTEN@", &address.to_string()).replace("@MOCK@", mock_url);
        std::fs::write(scratch.join("llmgateway.toml"), filled)?;
        let arguments = ["serve", "--config", "llmgateway.toml"];
        Self::start(place, scratch, address, ("gateway", &arguments, &[("LLMGATEWAY_KEY", key)]))
    }

    /// `program` is the name of its log, its arguments and its environment.
    fn start(
        place: &Workspace,
        scratch: &Path,
        address: SocketAddr,
        (name, arguments, environment): (&str, &[&str], &[(&str, &str)]),
    ) -> Result<Self> {
        let log = scratch.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = place
            .command(place.gateway())
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(scratch)
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let mut running = Self { child, address, log };
        running.wait_until_healthy()?;
        Ok(running)
    }

    /// Without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The last lines of its output.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn wait_until_healthy(&mut self) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                bail!("it stopped at once ({status}):\n{}", self.last_words());
            }
            if self.answers().unwrap_or(false) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("it does not answer on {}:\n{}", self.address, self.last_words())
    }

    /// Any HTTP answer is enough: the mock has other paths than the gateway.
    fn answers(&self) -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut head = [0; 5];
        stream.read_exact(&mut head)?;
        Ok(&head == b"HTTP/")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A free port of loopback.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
