//! `cargo xtask test`: everything that has to pass, in the order that fails fastest.
