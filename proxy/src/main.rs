//! The `seamline` program.

fn main() {}
