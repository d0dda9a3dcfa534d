//! The director in small scenes of two copies, event by event.

mod holes;
mod repeats;
mod scene;
mod starts;
mod switches;
