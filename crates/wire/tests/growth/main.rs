//! Work and memory are bounded by a small multiple of the input: every dimension of requests and answers is made large. The
//! allocator counts the most memory that anything does with it, and callgrind the instructions. The counts repeat exactly,
//! whatever else the machine does.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a test program")]

mod answers;
mod instructions;
mod limits;
mod requests;

use std::collections::HashMap;

use bytes::Bytes;
use limits::Kind;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Something whose size grows.
pub struct Dimension {
    /// What grows.
    pub name: String,
    /// The input with so many things of the kind.
    pub input: Box<dyn Fn(usize) -> Vec<u8>>,
}

/// Tells how many bytes it wrote.
type Run = Box<dyn Fn(&Bytes) -> usize>;

/// What is done with an input.
pub struct Work {
    /// For the report.
    pub name: String,
    /// What it is, which decides how much memory it may take.
    pub kind: Kind,
    /// Its instructions are counted too: that takes fifty times as long.
    pub is_counted: bool,
    /// Does it.
    pub run: Run,
}

/// A dimension and everything that is done with it.
pub struct Case {
    /// What grows.
    pub dimension: Dimension,
    /// What is done.
    pub works: Vec<Work>,
}

impl Dimension {
    /// Named, with its input as text.
    pub fn new(name: impl Into<String>, input: impl Fn(usize) -> String + 'static) -> Self {
        Self { name: name.into(), input: Box::new(move |count| input(count).into_bytes()) }
    }

    /// An input of about so many bytes.
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
    requests::cases().into_iter().chain(answers::cases()).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    if let [count, share] = arguments.as_slice()
        && count == instructions::COUNT
    {
        return instructions::run_share(share.parse().unwrap());
    }
    // A listing, or a run of other tests by their names.
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
/// What arguments begin with that choose some works by parts of their names: `--only=gemini --only="hosted tools"`.
const ONLY: &str = "--only=";

fn memory_faults(shows_all: bool, only: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut highest: Vec<(f64, String)> = Vec::new();
    let mut by_dimension: HashMap<(Kind, String), f64> = HashMap::new();
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
            // What an input of one thing takes is no matter of how many there are: tables, buffers of a fixed size.
            let [(least, _), (peak, written)] = [0, 1].map(|at| measured(work, &inputs[at]));
            let [small, read] = [0, 1].map(|at| inputs[at].len());
            let larger = read.max(written);
            let times = (read - small + peak.saturating_sub(least)) as f64 / larger as f64;
            let what = format!(
                "{}: {} takes {times:.1} times its {larger} bytes ({read} read, {written} written)",
                case.dimension.name, work.name
            );
            let most = limits::most(work.kind, &case.dimension.name);
            if times > most {
                faults.push(format!("{what}, more than {most:.1}"));
            }
            highest.push((times / most, what));
            let known = by_dimension.entry((work.kind, case.dimension.name.clone())).or_insert(times);
            *known = known.max(times);
        }
    }
    if only.is_empty() {
        faults.extend(limits::faults(|kind, name| by_dimension.get(&(kind, name.to_owned())).copied()));
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
