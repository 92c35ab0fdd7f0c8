//! A PostgreSQL for the tests of the store: empty, on a free port, removed afterwards.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};

use super::place::Workspace;
use super::running::free_address;
use super::say;
use super::tools::apt_get;

/// A running server.
pub struct Postgres {
    server: Child,
    folder: PathBuf,
    url: String,
}

impl Postgres {
    /// Starts a server, installed if necessary. None, with a message, where it cannot be installed.
    pub fn start(place: &Workspace) -> Result<Option<Self>> {
        if programs().is_none() && place.has("apt-get", &["--version"]) {
            apt_get(place, &["postgresql"])?;
        }
        let Some(programs) = programs() else {
            say("skipped: the tests on PostgreSQL, because there is no initdb here");
            return Ok(None);
        };
        let port = free_address()?.port();
        // Not in the target folder: the server runs as its own user, who cannot read that folder.
        let folder = std::env::temp_dir().join(format!("llmgateway-postgres-{port}"));
        std::fs::create_dir_all(&folder)?;
        let data = folder.join("data");
        if is_root() && !place.has("chown", &["postgres", &folder.display().to_string()]) {
            bail!("{} cannot be given to the user postgres", folder.display());
        }
        let made = as_server(&programs.join("initdb"), &folder)
            .args(["--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status()?;
        if !made.success() {
            bail!("initdb failed");
        }
        let log = std::fs::File::create(folder.join("log"))?;
        let server = as_server(&programs.join("postgres"), &folder)
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-p", &port.to_string(), "-k"])
            .arg(&folder)
            .arg("-D")
            .arg(&data)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let running = Self { server, folder, url: format!("postgres://postgres@127.0.0.1:{port}/postgres") };
        running.wait_until_ready(&programs, port)?;
        Ok(Some(running))
    }

    /// With the superuser.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn wait_until_ready(&self, programs: &Path, port: u16) -> Result<()> {
        for _ in 0..200 {
            let asked = Command::new(programs.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                .status()?;
            if asked.success() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("PostgreSQL does not start:\n{}", std::fs::read_to_string(self.folder.join("log"))?)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A killed server leaves its children; an interrupted one ends them. A failure leaves a folder among
        // the temporary files.
        let interrupted = Command::new("kill").args(["-INT", &self.server.id().to_string()]).status();
        if !interrupted.is_ok_and(|status| status.success()) {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The folder of the server's programs: Debian keeps them in a separate place.
fn programs() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = debian.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.extend(["/usr/local/bin", "/usr/bin", "/opt/homebrew/bin"].map(PathBuf::from));
    folders.into_iter().find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

/// The server refuses to run as root.
fn as_server(program: &Path, folder: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn is_root() -> bool {
    let asked = Command::new("id").arg("-u").output();
    asked.is_ok_and(|output| output.stdout == b"0\n")
}
