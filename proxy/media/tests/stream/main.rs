//! The crate from end to end: packets of scripted recorders in, the client's stream out.

mod assemble;
mod hostile;
mod recorder;
mod round_trip;
mod splice;
