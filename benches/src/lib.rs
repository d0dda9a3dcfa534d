//! Measures: load generator, micro-benchmarks.
