//! Checks that work and memory are bounded by a small multiple of the input, with each dimension of requests
//! and answers made large in turn. The allocator counts the most memory in use, and callgrind the
//! instructions. Both counts repeat exactly, whatever else runs on the machine.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a test program")]

mod answers;
mod endpoints;
mod instructions;
mod limits;
mod requests;

use bytes::Bytes;
use limits::Kind;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// A part of a request or an answer whose size grows.
pub struct Dimension {
    /// What grows.
    pub name: String,
    /// Makes an input with this many items.
    pub input: Box<dyn Fn(usize) -> Vec<u8>>,
}

/// Returns the number of bytes written.
type Run = Box<dyn Fn(&Bytes) -> usize>;

/// A work that processes an input.
pub struct Work {
    /// For the report.
    pub name: String,
    /// Decides how much memory the work may take.
    pub kind: Kind,
    /// Whether its instructions are counted too, which takes fifty times as long.
    pub is_counted: bool,
    pub run: Run,
}

/// A dimension and all works on it.
pub struct Case {
    pub dimension: Dimension,
    pub works: Vec<Work>,
}

impl Dimension {
    /// A dimension with a name and an input of text.
    pub fn new(name: impl Into<String>, input: impl Fn(usize) -> String + 'static) -> Self {
        Self { name: name.into(), input: Box::new(move |count| input(count).into_bytes()) }
    }

    /// Makes an input of about this many bytes.
    pub fn sized(&self, bytes: usize) -> Vec<u8> {
        let (one, more) = ((self.input)(1).len(), (self.input)(101).len());
        let each = ((more - one) / 100).max(1);
        (self.input)(bytes.saturating_sub(one) / each + 1)
    }
}

/// Things of the same kind, separated by commas.
pub fn repeat(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(",")
}

/// Everything that is measured.
pub fn cases() -> Vec<Case> {
    requests::cases().into_iter().chain(answers::cases()).chain(endpoints::cases()).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    if let [count, share] = arguments.as_slice()
        && count == instructions::COUNT
    {
        return instructions::run_share(share.parse().unwrap());
    }
    // The test runner asks for a listing, or runs other tests by name.
    if given("--list") || arguments.iter().any(|word| !word.starts_with('-') && !"growth".contains(word)) {
        return;
    }
    let only: Vec<&str> = arguments.iter().filter_map(|argument| argument.strip_prefix(ONLY)).collect();
    let mut faults = memory_faults(given(ALL), &only);
    match std::env::var_os(instructions::VARIABLE) {
        Some(_) => faults.extend(instructions::faults()),
        None => println!(
            "instructions are not counted: cargo xtask test counts them, or {}=1 with valgrind",
            instructions::VARIABLE
        ),
    }
    for fault in &faults {
        println!("{fault}");
    }
    if !faults.is_empty() {
        println!("{} faults", faults.len());
        std::process::exit(1);
    }
}

/// The size of the inputs.
const BYTES: usize = 64 << 10;

/// How many of the largest figures are shown.
const SHOWN: usize = 5;
/// The argument that asks for all of them: `cargo test -p wire --test growth -- --all`.
const ALL: &str = "--all";
/// The prefix of arguments that choose works by parts of their names: `--only=gemini --only="hosted tools"`.
const ONLY: &str = "--only=";

fn memory_faults(shows_all: bool, only: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut highest: Vec<(f64, String)> = Vec::new();
    for case in cases() {
        let chosen = |work: &&Work| {
            let name = format!("{}: {}", case.dimension.name, work.name);
            only.iter().all(|text| name.contains(text))
        };
        let works: Vec<&Work> = case.works.iter().filter(chosen).collect();
        if works.is_empty() {
            continue;
        }
        let inputs = [1, BYTES].map(|bytes| Bytes::from(case.dimension.sized(bytes)));
        for work in works {
            // An input with one item shows the cost that does not depend on the number of items: tables,
            // buffers of a fixed size.
            let [(least, _), (peak, written)] = [0, 1].map(|at| measured(work, &inputs[at]));
            let [small, read] = [0, 1].map(|at| inputs[at].len());
            let larger = read.max(written);
            let times = (read - small + peak.saturating_sub(least)) as f64 / larger as f64;
            let what = format!(
                "{}: {} takes {times:.1} times its {larger} bytes ({read} read, {written} written)",
                case.dimension.name, work.name
            );
            let most = work.kind.limit();
            if times > most {
                faults.push(format!("{what}, more than {most:.1}"));
            }
            highest.push((times / most, what));
        }
    }
    highest.sort_by(|left, right| right.0.total_cmp(&left.0));
    println!("memory of {} works; the most:", highest.len());
    let shown = if shows_all { highest.len() } else { SHOWN };
    highest.iter().take(shown).for_each(|(_, what)| println!("  {what}"));
    faults
}

/// The most memory that a work takes beside its input, and how much it writes.
fn measured(work: &Work, input: &Bytes) -> (usize, usize) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let written = (work.run)(input);
    (ALLOCATOR.peak_usage() - before, written)
}
