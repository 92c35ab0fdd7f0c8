//! The repository, its target folder, and how commands run there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The repository and its target folder.
pub struct Workspace {
    pub root: PathBuf,
    pub target: PathBuf,
}

impl Workspace {
    /// From the variables that cargo sets for the programs that it runs.
    #[expect(clippy::disallowed_methods, reason = "cargo passes settings to its programs in variables")]
    pub fn find() -> Self {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR");
        let manifest = manifest.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().unwrap_or(&manifest).to_owned();
        let target = std::env::var_os("CARGO_TARGET_DIR");
        let target = root.join(target.map_or_else(|| PathBuf::from("target"), PathBuf::from));
        Self { root, target }
    }

    /// The gateway of the dev profile.
    pub fn gateway(&self) -> PathBuf {
        self.target.join("debug/llmgateway")
    }

    /// The program that prints how our decoders read answers.
    pub fn reader(&self) -> PathBuf {
        self.target.join("debug/examples/read_answers")
    }

    /// The program that fills a database with usage records.
    pub fn generator(&self) -> PathBuf {
        self.target.join("debug/examples/generate_usage")
    }

    /// An empty folder of this name.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let folder = self.target.join("xtask-test").join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// A command in the repository's root, without standard input.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// Runs a command that has to succeed.
    pub fn run(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Result<()> {
        let program = program.as_ref();
        let shown = format!("{} {}", program.display(), arguments.join(" "));
        let status = self.command(program).args(arguments).status().context(shown.clone())?;
        if status.success() { Ok(()) } else { bail!("failed ({status}): {shown}") }
    }

    /// Runs a command that has to succeed, and stops it when it takes too long.
    pub fn succeeds_within(&self, most: Duration, command: &mut Command) -> Result<()> {
        let shown = format!("{command:?}");
        let mut child = command.spawn().context(shown.clone())?;
        let started = Instant::now();
        loop {
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("failed ({status}): {shown}"),
                None if started.elapsed() > most => {
                    child.kill()?;
                    child.wait()?;
                    bail!("stopped after {} s: {shown}", most.as_secs());
                }
                None => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Whether a command exists and succeeds.
    pub fn has(&self, program: &str, arguments: &[&str]) -> bool {
        let mut command = self.command(program);
        let status = command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }
}
