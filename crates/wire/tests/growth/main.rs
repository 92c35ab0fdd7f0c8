//! Work and memory are bounded by a small multiple of the input: every dimension of requests and answers is made large. The
//! allocator counts the most memory that anything does with it, and callgrind the instructions. The counts repeat exactly,
//! whatever else the machine does.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a test program")]

mod answers;
mod instructions;
mod requests;

use bytes::Bytes;
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

type Run = Box<dyn Fn(&Bytes)>;

/// What is done with an input.
pub struct Work {
    /// For the report.
    pub name: String,
    /// Most memory, as a multiple of the input, which counts.
    pub most_memory: f64,
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
    let mut faults = memory_faults();
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

/// What every work may take beside what its input accounts for: buffers of a fixed size, and the table of the names of one
/// object (8 bytes for each of 32,768, and half as much again while it grows).
const FIXED: f64 = 448.0 * 1024.0;

/// How many of the largest figures are shown.
const SHOWN: usize = 5;

fn memory_faults() -> Vec<String> {
    let mut faults = Vec::new();
    let mut highest: Vec<(f64, String)> = Vec::new();
    for case in cases() {
        let input = Bytes::from(case.dimension.sized(512 << 10));
        for work in &case.works {
            let before = ALLOCATOR.current_usage();
            ALLOCATOR.reset_peak_usage();
            (work.run)(&input);
            let peak = ALLOCATOR.peak_usage() - before;
            let times = 1.0 + (peak as f64 - FIXED).max(0.0) / input.len() as f64;
            let what = format!(
                "{}: {} takes {times:.1} times its {} bytes",
                case.dimension.name,
                work.name,
                input.len()
            );
            if times > work.most_memory {
                faults.push(format!("{what}, more than {}", work.most_memory));
            }
            highest.push((times, what));
        }
    }
    highest.sort_by(|left, right| right.0.total_cmp(&left.0));
    println!("memory of {} works; the most:", highest.len());
    highest.iter().take(SHOWN).for_each(|(_, what)| println!("  {what}"));
    faults
}
