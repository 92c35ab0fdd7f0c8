//! `docs/cli.md`, written from the definitions of the commands. `UPDATE_DOCS=1 cargo test -p gateway commands_page` rewrites it.

use clap::{Command, CommandFactory};

use super::Arguments;
use crate::env::Environment;

const PAGE: &str = "../../docs/cli.md";
const HEAD: &str = "# Commands

<!-- Written by `UPDATE_DOCS=1 cargo test -p gateway commands_page` from the definitions; a test compares it. -->

`cargo run --release -- COMMAND`, or the binary: `target/release/llmgateway COMMAND`. The default command is `serve`.
";
/// Makes the page independent of a terminal.
const WIDTH: usize = 110;

fn write(command: &mut Command, path: &str, out: &mut String) {
    let path = if path.is_empty() {
        command.get_name().to_owned()
    } else {
        format!("{path} {}", command.get_name())
    };
    let help = command.clone().term_width(WIDTH).bin_name(&path).render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    out.push_str(&format!("\n## `{path}`\n\n```text\n{}\n```\n", help.join("\n").trim_end()));
    for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
        write(inner, &path, out);
    }
}

#[test]
fn commands_page() {
    let mut text = HEAD.to_owned();
    write(&mut Arguments::command(), "", &mut text);
    if Environment::of_process().get("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &text).unwrap();
    }
    let page = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        page == text,
        "docs/cli.md is out of date; UPDATE_DOCS=1 cargo test -p gateway commands_page rewrites it"
    );
}
