//! Whether a recorder lives.

/// Whether a recorder lives, as far as routing is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HealthState {
    /// Nothing is known yet. It is used.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It failed lately. It is used, but not returned to.
    Suspect,
    /// It does not answer. It is not used.
    Down,
}
