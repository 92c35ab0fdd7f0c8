//! Chores: `cargo xtask <command>`.

mod simulate;

use anyhow::bail;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["simulate", rest @ ..] => simulate::run(rest),
        _ => bail!("usage: cargo xtask simulate [--write-docs] [--seed=N] [SCENARIO…]"),
    }
}
