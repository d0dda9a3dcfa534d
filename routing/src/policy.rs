//! What operators may choose.

use std::time::Duration;

/// The rules of routing for one camera. [`Policy::default`] is what a site without settings gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// When a better copy that is back may take over from the one that plays.
    pub failback: Failback,
    /// Holes of a copy that are shorter than this are not worth a seam.
    pub min_gap: Duration,
    /// A return to a better copy that would last less than this is not made while the copy that plays has footage.
    pub min_stay: Duration,
    /// Largest disagreement of two copies' capture times, after each copy's clock offset, that passes for the same time.
    pub max_skew: Duration,
    /// Whether clock offsets that were measured count, besides those that are configured.
    pub clock_skew: ClockSkew,
    /// What happens where no copy has footage.
    pub holes: Holes,
    /// What happens where the next copy's codec is not the one that plays.
    pub mismatch: Mismatch,
    /// How long a recorder may take.
    pub reaction: Reaction,
    /// How long before a known seam its next leg is opened.
    pub prefetch: Duration,
    /// How long to wait for a recorder to come back when only unreachable copies may hold the footage.
    pub outage_wait: Duration,
    /// How many switches are too many.
    pub flap: Flap,
    /// Whether players who ask for the same footage at about the same time have one session at its recorder.
    pub share_legs: bool,
    /// How long what was learned of finished footage is believed.
    pub ttl: Duration,
    /// How long what was learned of the end that is still growing is believed.
    pub tail_ttl: Duration,
    /// How long a question to a recorder may take before the best guess is used.
    pub probe_deadline: Duration,
    /// How far ahead of a playback copies are looked over, by playing from them, whose recorders do not list what they hold.
    /// `None`: [`Policy::SWEEP`] where a recorder should list and does not, nothing where it never does.
    pub sweep: Option<Duration>,
}

impl Policy {
    /// See [`Policy::sweep`].
    pub const SWEEP: Duration = Duration::from_secs(600);
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            failback: Failback::default(),
            min_gap: Duration::from_millis(500),
            min_stay: Duration::from_secs(2),
            max_skew: Duration::from_secs(1),
            clock_skew: ClockSkew::default(),
            holes: Holes::default(),
            mismatch: Mismatch::default(),
            reaction: Reaction::default(),
            prefetch: Duration::from_secs(10),
            outage_wait: Duration::from_secs(30),
            flap: Flap::default(),
            share_legs: false,
            ttl: Duration::from_secs(300),
            tail_ttl: Duration::from_secs(5),
            probe_deadline: Duration::from_secs(2),
            sweep: None,
        }
    }
}

/// Which clock offsets of copies count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockSkew {
    /// Those that are configured. What is measured is reported only.
    #[default]
    Configured,
    /// What is measured is added to them, up to `max_skew`.
    Measured,
}

/// When a better copy that is back may take over from the one that plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failback {
    /// Only where the copy that plays ends.
    Never,
    /// Also where a gap of the better copy ends.
    AtSeam,
    /// Also in the middle of a period, once the better copy's recorder has been healthy for this long.
    After(Duration),
}

impl Default for Failback {
    fn default() -> Self {
        Self::After(Duration::from_secs(30))
    }
}

/// What happens where no copy has footage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holes {
    /// Go on at once with the next footage.
    #[default]
    Skip,
    /// Let the time of the hole pass.
    Wait,
    /// End the playback.
    End,
}

/// What happens where the next copy's codec is not the one that plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mismatch {
    /// End the playback.
    #[default]
    End,
    /// Pass over that copy, as if it did not hold the footage.
    Skip,
}

/// How long a recorder may take before another copy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// Silence of a leg beyond what its pacing makes due.
    pub stall_after: Duration,
    /// To accept a connection.
    pub connect: Duration,
    /// To answer a request.
    pub response: Duration,
    /// From its answer to PLAY to the first access unit: the only proof that it has the footage.
    pub first_unit: Duration,
}

impl Default for Reaction {
    fn default() -> Self {
        Self {
            stall_after: Duration::from_millis(500),
            connect: Duration::from_secs(2),
            response: Duration::from_secs(3),
            first_unit: Duration::from_secs(3),
        }
    }
}

/// How many switches are too many: beyond it, a playback stays where it is for as long as that copy has footage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flap {
    /// Most switches of one playback in a window.
    pub switches_max: u32,
    /// The length of the window.
    pub window: Duration,
}

impl Default for Flap {
    fn default() -> Self {
        Self {
            switches_max: 6,
            window: Duration::from_secs(60),
        }
    }
}
