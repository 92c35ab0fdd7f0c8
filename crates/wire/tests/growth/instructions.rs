//! Counts the instructions of each work for an input, and for one of eight times its size.
//!
//! The program starts itself under callgrind, which executes it on a simulated processor. Callgrind writes a
//! file after each call of [`counted`], with the instructions of that call alone.

use bytes::Bytes;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use super::{Run, cases};

/// The argument before the program's share of the works.
pub const COUNT: &str = "--count-share";
/// The environment variable that asks for the count.
pub const VARIABLE: &str = "LLMGATEWAY_TEST_INSTRUCTIONS";

/// Works are divided among this many processes. Machines that run tests have at least two processors.
const SHARES: usize = 2;
/// The smaller input: large enough that a quadratic part shows, and small enough to be quick.
const BYTES: usize = 2 << 10;
const TIMES: usize = 8;
/// The highest growth of the instructions, as a multiple of the growth of the input: 12 times for 8 times the
/// input.
const MOST: f64 = 1.5;

/// Runs every second work, from the first or the second on, with both sizes.
pub fn run_share(share: usize) {
    let mut number = 0;
    for case in cases() {
        let inputs = [BYTES, TIMES * BYTES].map(|bytes| Bytes::from(case.dimension.sized(bytes)));
        for work in case.works.into_iter().filter(|work| work.is_counted) {
            if number % SHARES == share {
                // A first run makes what is made only once, such as tables.
                (work.run)(&case.dimension.sized(1).into());
                inputs.iter().for_each(|input| counted(&work.run, input));
            }
            number += 1;
        }
    }
}

/// Callgrind finds the function by its name.
#[inline(never)]
fn counted(run: &Run, input: &Bytes) {
    std::hint::black_box(run(input));
}

/// The works whose instructions grow faster than their input.
pub fn faults() -> Vec<String> {
    let folder = std::env::temp_dir().join(format!("growth-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let running: Vec<Child> = (0..SHARES).map(|share| start(&folder, share)).collect();
    for mut child in running {
        assert!(child.wait().unwrap().success(), "callgrind failed; its output is above");
    }
    let faults = compare(&folder);
    fs::remove_dir_all(&folder).unwrap();
    faults
}

fn start(folder: &Path, share: usize) -> Child {
    let function = concat!(module_path!(), "::counted");
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind", "--collect-atstart=no"]);
    command.arg(format!("--toggle-collect={function}")).arg(format!("--dump-after={function}"));
    command.arg(format!("--callgrind-out-file={}", folder.join(share.to_string()).display()));
    command.arg(std::env::current_exe().unwrap()).args([COUNT, &share.to_string()]);
    command.spawn().expect("valgrind, which counts instructions, is not installed")
}

fn compare(folder: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    let mut highest: Vec<(f64, String)> = Vec::new();
    let mut next = [1; SHARES];
    for case in cases() {
        let length = |times: usize| case.dimension.sized(times * BYTES).len() as f64;
        let (small, large) = (length(1), length(TIMES));
        for work in case.works.iter().filter(|work| work.is_counted) {
            let share = highest.len() % SHARES;
            let [few, many] = [0, 1].map(|at| total(folder, share, next[share] + at));
            next[share] += 2;
            let growth = many / few;
            let what = format!(
                "{}: {} takes {few} instructions for {small} bytes, and {growth:.1} times as many for {large}",
                case.dimension.name, work.name
            );
            if growth > MOST * large / small {
                faults.push(what.clone());
            }
            highest.push((growth * small / large, what));
        }
    }
    highest.sort_by(|left, right| right.0.total_cmp(&left.0));
    println!("instructions of {} works; the most:", highest.len());
    highest.iter().take(super::SHOWN).for_each(|(_, what)| println!("  {what}"));
    faults
}

/// The instructions of one call.
fn total(folder: &Path, share: usize, number: usize) -> f64 {
    let text = fs::read_to_string(folder.join(format!("{share}.{number}"))).unwrap();
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: f64 = total.expect("callgrind writes a total").trim().parse().unwrap();
    assert!(total > 0.0, "callgrind did not see the call");
    total
}
