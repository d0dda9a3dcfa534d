//! A world of recorders, clients and troubles with its own time, in which a director plays.

mod checks;
mod facts;
mod footage;
mod ledger;
mod leg;
mod owner;
mod recorder;
mod rng;
mod scenarios;
mod script;
mod world;

pub(crate) use script::random_world;

/// Simulated time, µs since the simulation began.
pub(crate) type Micros = i64;

/// In [`Micros`].
pub(crate) const SECOND: Micros = 1_000_000;
/// In [`Micros`].
pub(crate) const MILLI: Micros = 1_000;
