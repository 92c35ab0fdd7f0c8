//! Rebuilds the crate when a catalog file is added, changed or removed.

fn main() {
    println!("cargo:rerun-if-changed=../../catalog");
}
