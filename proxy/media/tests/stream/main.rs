//! The crate from end to end: packets of scripted recorders in, the client's stream out.

#[cfg(test)]
mod assemble;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod recorder;
#[cfg(test)]
mod round_trip;
mod samples;
#[cfg(test)]
mod splice;
mod tracks;
