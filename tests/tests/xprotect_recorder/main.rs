//! The port of a recorder of XProtect as its clients meet it: two sites that know nothing of each other, and one timeline.

mod failures;
mod hostile;
mod passes;
mod positions;
mod soap;

use std::time::Duration;

use seamline_tests::{clock::noon, imageserver::Client};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

/// What the position table says of a primary with [0, 10) and [40, 50), and a secondary with [5, 45).
const GOLDEN: [(&str, f64, (i64, i64, i64)); 16] = [
    ("goto", 3.5, (3, 2, 4)),
    ("goto", 9.9, (9, 8, 10)),
    ("next", 0.0, (10, 9, 11)),
    ("previous", 0.0, (9, 8, 10)),
    ("goto", 39.5, (39, 38, 40)),
    ("next", 0.0, (40, 39, 41)),
    ("previous", 0.0, (39, 38, 40)),
    ("goto", 60.0, (49, 48, 49)),
    ("next", 0.0, (49, 48, 49)),
    ("goto", -8.0, (0, 0, 1)),
    ("previous", 0.0, (0, 0, 1)),
    ("end", 0.0, (49, 48, 49)),
    ("begin", 0.0, (0, 0, 1)),
    ("nextsequence", 0.0, (49, 48, 49)),
    ("goto", 25.0, (25, 24, 26)),
    ("previoussequence", 0.0, (0, 0, 1)),
];

fn asked(client: &mut Client, method: &str, at: f64) -> Value {
    match method {
        "goto" => client.goto(noon(at)),
        method => client.ask(method),
    }
}
