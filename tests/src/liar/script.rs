//! What a recorder holds and how it lies: written down, or thrown from a seed.

use std::{ops::Range, time::Duration};

use super::{
    Rng,
    footage::{Encoder, PICTURES},
    listing::Lie,
    soap::By,
};

/// A phase of a session, by the request that begins it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before any request.
    Connect,
    /// OPTIONS.
    Options,
    /// DESCRIBE.
    Describe,
    /// SETUP.
    Setup,
    /// PLAY.
    Play,
}

/// What becomes of a connection before it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// All is well.
    Open,
    /// RST in this phase.
    Reset(Phase),
    /// Closed in this phase.
    Close(Phase),
    /// Silence from this phase on.
    Hang(Phase),
    /// This status in this phase.
    Status(Phase, u16),
}

/// What becomes of a PLAY that is answered with 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Play {
    /// What is held, to its end.
    Honest,
    /// So many pictures, then silence on an open connection.
    Silent(u32),
    /// So many bytes of media, then RST, after such a wait.
    Reset(u32, Duration),
    /// So many pictures, then the end of the connection.
    Close(u32),
    /// So many pictures, then BYE.
    Bye(u32),
    /// Another time's footage, dated so: now, or off by so many milliseconds.
    Live,
    /// Footage of this many milliseconds later, said to be what was asked for.
    Shifted(i64),
    /// Starts so many pictures late, as if what is before were not recorded.
    Late(u32),
    /// Leaves out so many pictures after so many, as if they were not recorded.
    Skips(u32, u32),
    /// After so many pictures its clock is set, and what follows is dated so many milliseconds off.
    Stepped(u32, i64),
}

/// One recorder's copy of one camera.
#[derive(Clone, Debug)]
pub struct Part {
    /// Whose pictures.
    pub encoder: Encoder,
    /// What is held; each stretch begins where decoding can start.
    pub held: Vec<Range<u32>>,
    /// Pictures a second; `None` for as fast as they are taken.
    pub rate: Option<u32>,
    /// By connection; the last goes on.
    pub doors: Vec<Door>,
    /// By PLAY; the last goes on.
    pub plays: Vec<Play>,
    /// Refuses everything, and drops what plays, in every other second.
    pub flaps: bool,
    /// It lists what it holds, to who asks in this way.
    pub lists: Option<(Asked, Lie)>,
}

/// How a recorder is asked what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// As Nx is: one answer, in JSON.
    Whole,
    /// By SOAP.
    Onvif(By),
}

/// A viewer's wish and the two recorders that can serve it.
#[derive(Clone, Debug)]
pub struct Script {
    /// That made it.
    pub seed: u64,
    /// The one that lies.
    pub liar: Part,
    /// The one that does not.
    pub honest: Part,
    /// Whether the one that lies is the better site's.
    pub liar_first: bool,
    /// The pictures asked for.
    pub wish: Range<u32>,
    /// Whether the viewer wants them at the pace of the clock.
    pub paced: bool,
}

/// A copy with groups of ten pictures, and one with groups of seven.
pub const ENCODERS: [Encoder; 2] = [
    Encoder {
        name: b'P',
        group: 10,
        phase: 0,
    },
    Encoder {
        name: b'S',
        group: 7,
        phase: 3,
    },
];

impl Part {
    /// Holds everything and never lies.
    pub fn honest(encoder: Encoder) -> Self {
        Self {
            encoder,
            held: vec![Range {
                start: 0,
                end: PICTURES,
            }],
            rate: None,
            doors: vec![Door::Open],
            plays: vec![Play::Honest],
            flaps: false,
            lists: None,
        }
    }

    /// Whether a picture is held.
    pub fn holds(&self, index: u32) -> bool {
        self.held.iter().any(|stretch| stretch.contains(&index))
    }

    fn with_holes(mut self, rng: &mut Rng) -> Self {
        let mut at = 0;
        self.held.clear();
        while at < PICTURES {
            let end = (at + rng.between(60, 500) as u32).min(PICTURES);
            self.held.push(at..end);
            let next = end + rng.between(5, 150) as u32;
            // A recording begins where decoding can start.
            at = self.encoder.key_before(next + self.encoder.group);
        }
        self
    }
}

impl Script {
    /// A script of a recorder that plays what it holds, and lists it in this way.
    pub fn listed(seed: u64, asked: Asked, lie: Lie) -> Self {
        let rng = &mut Rng::new(seed);
        let [mut one, mut other] = ENCODERS;
        if rng.once_in(2) {
            (one, other) = (other, one);
        }
        let mut honest = Part {
            rate: rate(rng),
            ..Part::honest(other)
        };
        if rng.once_in(3) {
            honest = honest.with_holes(rng);
        }
        let liar = Part {
            rate: rate(rng),
            lists: Some((asked, lie)),
            ..Part::honest(one)
        };
        let pictures = rng.between(200, 400);
        let from = rng.below(u64::from(PICTURES) - pictures) as u32;
        Self {
            seed,
            liar: liar.with_holes(rng),
            honest,
            liar_first: !rng.once_in(4),
            wish: from..from + pictures as u32,
            paced: false,
        }
    }

    /// The script of a seed.
    pub fn of(seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let liar_first = !rng.once_in(6);
        let paced = rng.once_in(25);
        let [mut one, mut other] = ENCODERS;
        if rng.once_in(2) {
            (one, other) = (other, one);
        }
        let mut honest = Part {
            rate: rate(rng),
            ..Part::honest(other)
        };
        if rng.once_in(4) {
            honest = honest.with_holes(rng);
        }
        let mut liar = Part {
            rate: rate(rng),
            ..Part::honest(one)
        };
        if rng.once_in(3) {
            liar = liar.with_holes(rng);
        }
        liar.flaps = rng.once_in(8);
        liar.doors = (0..rng.between(1, 6)).map(|_| door(rng)).collect();
        liar.plays = (0..rng.between(1, 5)).map(|_| play(rng)).collect();
        let pictures = if paced {
            rng.between(50, 120)
        } else {
            rng.between(100, 500)
        };
        let from = rng.below(u64::from(PICTURES) - pictures) as u32;
        Self {
            seed,
            liar,
            honest,
            liar_first,
            wish: from..from + pictures as u32,
            paced,
        }
    }
}

fn rate(rng: &mut Rng) -> Option<u32> {
    match rng.below(4) {
        0 => None,
        1 => Some(1000),
        2 => Some(300),
        _ => Some(100),
    }
}

fn door(rng: &mut Rng) -> Door {
    let phase = rng.pick(&[
        Phase::Connect,
        Phase::Options,
        Phase::Describe,
        Phase::Setup,
        Phase::Play,
    ]);
    match rng.below(20) {
        0 => Door::Reset(phase),
        1 => Door::Close(phase),
        2 => Door::Hang(phase),
        3 if phase != Phase::Connect => {
            Door::Status(phase, rng.pick(&[404, 453, 454, 457, 500, 503]))
        }
        _ => Door::Open,
    }
}

fn play(rng: &mut Rng) -> Play {
    let pictures = if rng.once_in(5) {
        rng.below(3)
    } else {
        rng.between(3, 250)
    } as u32;
    match rng.below(12) {
        0 => Play::Silent(pictures),
        1 | 2 => Play::Reset(
            pictures * 100 + rng.below(150) as u32,
            Duration::from_millis(rng.below(20)),
        ),
        3 => Play::Close(pictures),
        4 => Play::Bye(pictures),
        5 => Play::Live,
        6 => Play::Shifted(rng.pick(&[-3_600_000, 3_600_000, -20_000, 20_000, 86_400_000])),
        7 => Play::Late(pictures),
        8 => Play::Skips(pictures, rng.between(1, 200) as u32),
        _ => Play::Honest,
    }
}
