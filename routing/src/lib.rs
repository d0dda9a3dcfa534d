//! Decides which copy plays which second. Pure: no I/O, no clock, no async.

pub mod camera;
pub mod coverage;
pub mod director;
pub mod health;
pub mod plan;
pub mod policy;
pub mod segments;
pub mod skew;
pub mod time;

pub use camera::{Camera, CameraId, CopyIx, CopyRef, RecorderId, SiteId};
pub use coverage::{Coverage, Held, HeldBefore};
pub use health::{FailureKind, Health, HealthState};
pub use plan::{CopyFacts, Direction, Plan, Reason, Request, Step, Trouble, next_step, plan};
pub use policy::{ClockSkew, Failback, Holes, Mismatch, Policy};
pub use skew::{Estimate, Skew};
pub use time::{TimeError, TimeRange, Timestamp};
