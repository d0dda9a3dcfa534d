//! Decides which copy plays which second. Pure: no I/O, no clock, no async.
