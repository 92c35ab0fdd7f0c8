//! Compiles the crate again when a catalog file comes, changes or goes.

fn main() {
    println!("cargo:rerun-if-changed=../../catalog");
}
