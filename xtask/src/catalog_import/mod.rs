//! Compares prices and limits of `/catalog` with the lists of two public packages, and updates them.
//!
//! `litellm` and `genai-prices` (PyPI) publish what providers charge. They are used for facts only: each fact
//! is converted to our own format, and disagreements of the packages are shown. `catalog/import.toml` maps
//! their keys to our entries and lists models to add. Fields that people write by hand (features, thinking,
//! refused fields, comments) are never changed.

mod edit;
mod facts;
mod plan;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use edit::Files;
use facts::Packages;
use plan::Plan;

pub fn run(arguments: &[String]) -> Result<()> {
    let options = Options::read(arguments)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = match options.from {
        Some(folder) => folder,
        None => download(&root.join("target/catalog-import"))?,
    };
    let plan = Plan::read(&root.join("catalog/import.toml"))?;
    let mut files = Files::open(&root.join("catalog/models"))?;
    files.add_missing(&plan)?;
    let packages = Packages::read(&folder, &plan, &files.wanted(&plan))?;
    let changes = files.update(&plan, &packages);
    report(&changes, &packages.unused(&plan, &files.wanted(&plan)), options.missing);
    if options.write {
        files.save()?;
        say("written; run `cargo test -p catalog`");
    } else if !changes.is_empty() {
        say("nothing written; add --write");
    }
    Ok(())
}

struct Options {
    from: Option<PathBuf>,
    write: bool,
    missing: bool,
}

impl Options {
    fn read(arguments: &[String]) -> Result<Self> {
        let mut options = Self { from: None, write: false, missing: false };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--write" => options.write = true,
                "--missing" => options.missing = true,
                "--from" => options.from = Some(rest.next().context("--from needs a folder")?.into()),
                other => bail!("unknown argument {other:?}; known are --from DIR, --write and --missing"),
            }
        }
        Ok(options)
    }
}

/// Unpacks the newest versions of the two packages, without the dependencies of the large one.
fn download(folder: &Path) -> Result<PathBuf> {
    for arguments in [&["--no-deps", "litellm"][..], &["genai-prices"]] {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--upgrade", "--root-user-action", "ignore"]);
        let status = pip.arg("--target").arg(folder).args(arguments).status().context("cannot run pip")?;
        if !status.success() {
            bail!("pip could not fetch {arguments:?}; unpack the packages by hand and use --from DIR");
        }
    }
    Ok(folder.to_owned())
}

fn report(changes: &[String], unused: &[String], list_unused: bool) {
    let (doubts, changes): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.starts_with('?'));
    for change in changes.iter().chain(&doubts) {
        say(change);
    }
    if list_unused {
        unused.iter().for_each(|key| say(&format!("- {key}")));
    }
    let (changes, doubts, unused) = (changes.len(), doubts.len(), unused.len());
    say(&format!(
        "{changes} changes, {doubts} doubts, {unused} models that the catalog does not have (--missing)"
    ));
}

#[expect(clippy::print_stdout, reason = "a chore prints its result")]
fn say(line: &str) {
    println!("{line}");
}
