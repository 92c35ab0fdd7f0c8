//! The memory of the process after a burst.
#![cfg(target_os = "linux")]

use std::process::Stdio;

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{Program, Upstream, answer, chat, eventually, question};

const MIB: u64 = 1 << 20;

/// A figure of the process in bytes: `VmRSS` is its memory now, `VmHWM` the most that it had.
fn figure(program: &Program, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

/// Waits without any traffic until the process has returned most of what it took in a burst.
async fn assert_returned(program: &Program, before: u64, least: u64) {
    let most = figure(program, "VmHWM");
    assert!(most > before + least, "the burst took {} MiB only", (most - before) / MIB);
    let limit = before + (most - before) / 2;
    eventually(async || figure(program, "VmRSS") < limit).await;
}

#[tokio::test]
async fn the_memory_of_large_requests_returns_to_the_system() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = upstream.provider("one", "openai-chat") + "[models.m]\ntargets = [\"one/m\"]\n";
    let program = Program::start(&config, "warn", Stdio::null()).await;
    assert_eq!(program.chat(&question("m")).await.status, 200);
    let before = figure(&program, "VmRSS");
    let mut body = question("m");
    body["messages"][0]["content"] = json!("word ".repeat(1 << 20));
    let body = body.to_string();
    let mut asked = JoinSet::new();
    for _ in 0..16 {
        let (address, body) = (program.address, body.clone());
        asked.spawn(async move { chat(address, &[], body.as_bytes()).await.status });
    }
    assert!(asked.join_all().await.iter().all(|status| *status == 200));
    assert_returned(&program, before, 50 * MIB).await;
}
