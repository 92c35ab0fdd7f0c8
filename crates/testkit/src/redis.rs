//! A Redis or Valkey for one test: empty, on a free port, removed afterwards.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Servers with the same protocol.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// A running server, killed when it is dropped.
pub struct Redis {
    program: &'static str,
    port: u16,
    /// The first commands of a Sentinel.
    first: Vec<String>,
    arguments: Vec<String>,
    /// Its working folder: after a failover a server saves its data there, and would load them again.
    folder: tempfile::TempDir,
    server: Option<Child>,
}

impl Redis {
    /// Starts a server. None where none is installed.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same with further arguments.
    pub fn start_with(arguments: &[&str]) -> Option<Self> {
        let is_there = |program: &&str| {
            let quiet =
                Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            quiet.is_ok_and(|status| status.success())
        };
        let program = PROGRAMS.into_iter().find(is_there)?;
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let folder = tempfile::tempdir().ok()?;
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut redis = Self { program, port, first: Vec::new(), arguments, folder, server: None };
        redis.restart();
        Some(redis)
    }

    /// Starts a Sentinel, which writes into this file.
    pub fn start_sentinel(file: &std::path::Path) -> Option<Self> {
        let mut redis = Self::start()?;
        redis.first = vec![file.display().to_string(), "--sentinel".to_owned()];
        redis.restart();
        Some(redis)
    }

    /// Starts it again, empty, on the same port.
    pub fn restart(&mut self) {
        self.kill();
        let port = self.port.to_string();
        let _ = std::fs::remove_file(self.folder.path().join("dump.rdb"));
        let mut command = Command::new(self.program);
        command.current_dir(&self.folder).args(&self.first).args(["--port", &port, "--bind", "127.0.0.1"]);
        if self.first.is_empty() {
            command.args(["--save", "", "--appendonly", "no"]);
        }
        let server = command.args(&self.arguments).stdout(Stdio::null()).spawn();
        self.server = server.ok();
        for _ in 0..200 {
            if self.command("PING").is_some_and(|answer| !answer.is_empty()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Sends a signal: `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        if let Some(server) = &self.server {
            let _ = Command::new("kill").args([&format!("-{name}"), &server.id().to_string()]).status();
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The raw answer to a command; none when there is no answer.
    pub fn command(&self, line: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_millis(300))).ok()?;
        stream.write_all(format!("{line}\r\n").as_bytes()).ok()?;
        let mut answer = vec![0; 1 << 16];
        let length = stream.read(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
