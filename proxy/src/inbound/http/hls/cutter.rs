//! Which of a camera's samples a segment holds: every picture is in exactly one segment, whoever fills it.
//!
//! Segments are cut in decoding order. A border inside a leg is shifted to the first random access point behind it, or, where none
//! follows within [`GRID`], to the first picture. Where two legs meet, it is the [`joint`], which depends on the second one alone:
//! whoever fills either segment comes to the same. The cutter that filled a segment tells the border it came to ([`Border`]),
//! so that the next segment begins there even when another copy must fill it.

use seamline_routing::segments::{Closing, GRID, JOINT_MAX, Opening};
use seamline_routing::{CopyIx, Timestamp};

use super::name::Piece;

/// A sample, as far as cutting goes.
pub(super) trait Footage {
    /// Of a picture when it is shown, of sound when it is heard.
    fn capture(&self) -> Timestamp;
    /// A picture; where a camera has none, sound that takes its place.
    fn leads(&self) -> bool;
    /// Decoding can start here.
    fn sync(&self) -> bool;
    /// Only there so that what follows can be decoded.
    fn preroll(&self) -> bool;
    /// Whose it is.
    fn copy(&self) -> CopyIx;
}

/// Where one segment ended and the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Border {
    /// The capture time of the first picture that was not sent.
    pub(super) at: Timestamp,
    /// The copy whose picture was the last one before it; none where legs meet.
    pub(super) copy: Option<CopyIx>,
}

/// Where a leg takes over that is to begin at `border`, by its footage from then on and what is decoded for it: at its last random
/// access point up to there, so that nothing is shown twice, unless that is too early.
pub(super) fn joint<T: Footage>(footage: &[T], border: Timestamp) -> Timestamp {
    footage
        .iter()
        .filter(|footage| footage.leads() && footage.sync() && footage.capture() <= border)
        .map(Footage::capture)
        .next_back()
        .filter(|at| border.micros_since(*at) < JOINT_MAX.as_micros() as i64)
        .unwrap_or(border)
}

/// A sample of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut<T> {
    pub(super) footage: T,
    /// Not to be shown: only there so that what follows can be decoded.
    pub(super) preroll: bool,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome<T> {
    /// The segment, in decoding order.
    pub(super) content: Vec<Cut<T>>,
    /// What belongs to the segments behind it.
    pub(super) rest: Vec<T>,
    /// Where it ends.
    pub(super) border: Border,
    /// It begins with a picture that needs earlier ones.
    pub(super) mid_group: bool,
}

/// Longest wait for sound behind the last picture, µs.
const SOUND_LATE_US: i64 = 500_000;

/// Collects one segment.
#[derive(Debug)]
pub(super) struct Cutter<T> {
    piece: Piece,
    /// Where the segment before ended, if it is known.
    border: Option<Border>,
    /// Where it is to end, as far as is known beforehand.
    until: Timestamp,
    /// Of the latest picture of the segment, or of the one before it.
    copy: CopyIx,
    content: Vec<Cut<T>>,
    begun: bool,
    mid_group: bool,
    /// Pictures that may belong to it: since the last random access point before the start, or behind the end.
    held: Vec<T>,
    /// Sound since before the start.
    sound: Vec<T>,
    /// Where it ends, once that is known, and the pictures behind it.
    end: Option<Timestamp>,
    rest: Vec<T>,
    whole: bool,
}

impl<T: Footage> Cutter<T> {
    /// A cutter for samples that begin at or before the segment. `border` is where the segment before ended, if it is known; behind
    /// a seam it is the joint. `joint` is where the next leg takes over, if one does.
    pub(super) fn new(piece: Piece, border: Option<Border>, joint: Option<Timestamp>) -> Self {
        Cutter {
            piece,
            border,
            until: joint.unwrap_or(piece.range.end()),
            copy: border.and_then(|border| border.copy).unwrap_or(piece.copy),
            content: Vec::new(),
            begun: false,
            mid_group: false,
            held: Vec::new(),
            sound: Vec::new(),
            end: None,
            rest: Vec::new(),
            whole: false,
        }
    }

    /// Whether the segment is whole.
    pub(super) fn whole(&self) -> bool {
        self.whole
    }

    /// The next sample.
    pub(super) fn push(&mut self, footage: T) {
        if !footage.leads() {
            let behind = self.end.is_some_and(|end| footage.capture() >= end);
            self.whole |= behind;
            self.sound.push(footage);
        } else if let Some(end) = self.end {
            let late = footage.capture().micros_since(end);
            self.whole |= self.sound.is_empty() || late >= SOUND_LATE_US;
            self.rest.push(footage);
        } else if self.begun {
            self.go_on(footage);
        } else {
            self.begin(footage);
        }
    }

    /// Nothing follows.
    pub(super) fn finish(mut self) -> Outcome<T> {
        let held = std::mem::take(&mut self.held);
        if self.end.is_none() && self.begun {
            // Behind the end without a random access point in sight: as if none came.
            match self.piece.closing {
                Closing::Continues => self.close(held),
                Closing::Ends | Closing::Hands { .. } => self.take_all(held, false),
            }
        } else if self.end.is_none() && self.seeks() {
            self.mid_group = !held.is_empty();
            self.take_all(held, false);
        }
        let end = self.end.unwrap_or(self.until);
        let from = self.border.map(|border| border.at);
        let shown = self.content.iter().find(|cut| !cut.preroll);
        let from = from.or_else(|| shown.map(|cut| cut.footage.capture()));
        let mut rest = Vec::new();
        let mut sounds = Vec::new();
        for sound in std::mem::take(&mut self.sound) {
            if sound.capture() >= end {
                rest.push(sound);
            } else if from.is_some_and(|from| sound.capture() >= from) {
                sounds.push(sound);
            }
        }
        let content = merge(self.content, sounds);
        rest.append(&mut self.rest);
        Outcome {
            content,
            rest,
            border: Border {
                at: end,
                copy: Some(self.copy),
            },
            mid_group: self.mid_group,
        }
    }

    /// Whether the start is where the first random access point is.
    fn seeks(&self) -> bool {
        self.border.is_none() && self.piece.opening == Opening::Continues
    }

    fn begin(&mut self, footage: T) {
        let start = self
            .border
            .map_or(self.piece.range.start(), |border| border.at);
        let early = footage.preroll() || footage.capture() < start;
        if self.seeks() {
            if footage.capture() < start {
                return;
            }
            if footage.sync() {
                // What comes before is at the end of the segment before.
                self.held.clear();
                return self.take_first(footage);
            }
            let hopeless = footage.capture().micros_since(start) >= GRID_US;
            self.held.push(footage);
            if hopeless {
                self.mid_group = true;
                self.begun = true;
                for held in std::mem::take(&mut self.held) {
                    self.go_on(held);
                }
            }
            return;
        }
        if footage.sync() {
            self.held.clear();
        }
        if early {
            self.held.push(footage);
            return;
        }
        let group = std::mem::take(&mut self.held);
        let before = self.border.and_then(|border| border.copy);
        if !footage.sync() && before == Some(footage.copy()) {
            // The segment before ended in the middle of this very group.
            self.mid_group = true;
        } else if !footage.sync() {
            self.take_all(group, true);
        }
        self.take_first(footage);
    }

    fn take_first(&mut self, footage: T) {
        self.begun = true;
        self.copy = footage.copy();
        self.go_on(footage);
    }

    fn go_on(&mut self, footage: T) {
        if self.end.is_some() {
            return self.rest.push(footage);
        }
        if footage.preroll() {
            return self.held.push(footage);
        }
        let behind = footage.capture().micros_since(self.until);
        // Pictures that are only decoded come with the one that they are for.
        let decodable = footage.sync() || self.held.last().is_some_and(Footage::preroll);
        match self.piece.closing {
            Closing::Ends | Closing::Hands { .. } if behind >= 0 => {
                let mut rest = std::mem::take(&mut self.held);
                rest.push(footage);
                self.close(rest);
            }
            Closing::Continues if behind >= 0 && decodable => {
                let held = std::mem::take(&mut self.held);
                let (rest, mut content): (Vec<T>, Vec<T>) =
                    held.into_iter().partition(Footage::preroll);
                self.take_all(std::mem::take(&mut content), false);
                self.close(rest.into_iter().chain([footage]).collect());
            }
            Closing::Continues if behind >= 0 => {
                self.held.push(footage);
                if behind >= GRID_US {
                    let rest = std::mem::take(&mut self.held);
                    self.close(rest);
                }
            }
            Closing::Continues | Closing::Ends | Closing::Hands { .. } => {
                let held = std::mem::take(&mut self.held);
                self.take_all(held, false);
                self.copy = footage.copy();
                self.content.push(Cut {
                    footage,
                    preroll: false,
                });
            }
        }
    }

    /// Ends the segment before these pictures.
    fn close(&mut self, rest: Vec<T>) {
        let shown = rest.iter().find(|footage| !footage.preroll());
        let end = match self.piece.closing {
            Closing::Continues => shown.map_or(self.until, Footage::capture),
            Closing::Ends | Closing::Hands { .. } => self.until,
        };
        self.end = Some(end);
        self.whole = self.sound.is_empty()
            || self
                .sound
                .last()
                .is_some_and(|sound| sound.capture() >= end);
        self.rest = rest;
    }

    fn take_all(&mut self, footage: Vec<T>, preroll: bool) {
        self.content.extend(footage.into_iter().map(|footage| Cut {
            preroll: preroll || footage.preroll() && self.begun,
            footage,
        }));
    }
}

/// Pictures in their order, each piece of sound before the first picture that is shown later.
fn merge<T: Footage>(pictures: Vec<Cut<T>>, sounds: Vec<T>) -> Vec<Cut<T>> {
    let mut merged = Vec::with_capacity(pictures.len() + sounds.len());
    let mut sounds = sounds.into_iter().peekable();
    let heard = |footage| Cut {
        footage,
        preroll: false,
    };
    for picture in pictures {
        let shown = picture.footage.capture();
        while let Some(sound) = sounds.next_if(|sound| sound.capture() < shown && !picture.preroll)
        {
            merged.push(heard(sound));
        }
        merged.push(picture);
    }
    merged.extend(sounds.map(heard));
    merged
}

const GRID_US: i64 = GRID.as_micros() as i64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use seamline_routing::TimeRange;

    use super::*;

    const BASE_MS: i64 = 1_767_268_800_000;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Frame {
        ms: i64,
        sync: bool,
        sound: bool,
        copy: u8,
    }

    impl Footage for Frame {
        fn capture(&self) -> Timestamp {
            Timestamp::from_unix_ms(BASE_MS + self.ms)
        }
        fn leads(&self) -> bool {
            !self.sound
        }
        fn sync(&self) -> bool {
            self.sync
        }
        fn preroll(&self) -> bool {
            false
        }
        fn copy(&self) -> CopyIx {
            CopyIx(self.copy)
        }
    }

    /// Pictures every 100 ms from `first`, groups of these lengths; with sound, a piece of it 30 ms behind each, a little late.
    fn stream(copy: u8, first: i64, groups: &[usize], sound: bool) -> Vec<Frame> {
        let syncs = groups
            .iter()
            .flat_map(|length| (0..*length).map(|at| at == 0));
        let pictures = syncs.enumerate().map(|(at, sync)| Frame {
            ms: first + 100 * at as i64,
            sync,
            sound: false,
            copy,
        });
        let pictures: Vec<Frame> = pictures.collect();
        let mut all = Vec::new();
        for (at, picture) in pictures.iter().enumerate() {
            all.push(*picture);
            if sound && let Some(before) = at.checked_sub(2).and_then(|at| pictures.get(at)) {
                all.push(Frame {
                    ms: before.ms + 30,
                    sync: true,
                    sound: true,
                    copy,
                });
            }
        }
        all
    }

    fn piece(from_ms: i64, until_ms: i64, opening: Opening, closing: Closing) -> Piece {
        let at = |ms: i64| Timestamp::from_unix_ms(BASE_MS + ms);
        Piece {
            range: TimeRange::new(at(from_ms), at(until_ms)).expect("it lasts"),
            copy: CopyIx(0),
            opening,
            closing,
            sound: true,
        }
    }

    /// Whole segments of the grid from `from` on, the first exact, the last one up to `until`.
    fn pieces(from: i64, until: i64) -> Vec<Piece> {
        let mut starts = vec![from];
        starts.extend(
            (0..)
                .map(|at| at * 4_000)
                .skip_while(|at| *at < from + 2_000)
                .take_while(|at| at + 4_000 <= until),
        );
        let ends = starts.iter().skip(1).copied().chain([until]);
        let last = starts.len() - 1;
        let kinds = starts.iter().zip(ends).enumerate();
        kinds
            .map(|(ix, (from, until))| {
                let opening = if ix == 0 {
                    Opening::Exact
                } else {
                    Opening::Continues
                };
                let closing = if ix == last {
                    Closing::Ends
                } else {
                    Closing::Continues
                };
                piece(*from, until, opening, closing)
            })
            .collect()
    }

    /// As a recorder delivers that was asked for this instant.
    fn from_before(stream: &[Frame], at: Timestamp) -> Vec<Frame> {
        let start = stream
            .iter()
            .rposition(|frame| frame.leads() && frame.sync && frame.capture() <= at);
        stream[start.unwrap_or(0)..].to_vec()
    }

    fn fill(
        piece: Piece,
        border: Option<Border>,
        joint: Option<Timestamp>,
        footage: &[Frame],
    ) -> Outcome<Frame> {
        let mut cutter = Cutter::new(piece, border, joint);
        let mut footage = footage.iter();
        for frame in footage.by_ref() {
            cutter.push(*frame);
            if cutter.whole() {
                break;
            }
        }
        let mut outcome = cutter.finish();
        outcome.rest.extend(footage.copied());
        outcome
    }

    fn cold(piece: Piece, border: Option<Border>, stream: &[Frame]) -> Outcome<Frame> {
        let start = border.map_or(piece.range.start(), |border| border.at);
        let asked = if piece.opening == Opening::Continues && border.is_none() {
            start.shift(-1)
        } else {
            start
        };
        fill(piece, border, None, &from_before(stream, asked))
    }

    fn shown(outcomes: &[Outcome<Frame>], sound: bool) -> Vec<i64> {
        let cuts = outcomes.iter().flat_map(|outcome| outcome.content.iter());
        cuts.filter(|cut| !cut.preroll && cut.footage.sound == sound)
            .map(|cut| cut.footage.ms)
            .collect()
    }

    fn groups() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(1..70_usize, 1..40)
    }

    proptest! {
        /// Filled one by one, as replicas do, or in one go: each picture and each piece of sound once, and the same ones.
        #[test]
        fn every_sample_is_in_exactly_one_segment(groups in groups(), first in -8_000..0_i64, from in 0..4_000_i64, sound in any::<bool>()) {
            let stream = stream(0, first, &groups, sound);
            let last = stream.iter().filter(|frame| frame.leads()).map(|frame| frame.ms).max().unwrap_or(0);
            let until = last - 1_000;
            prop_assume!(until > from + 100);
            let pieces = pieces(from, until);
            let alone: Vec<_> = pieces.iter().map(|piece| cold(*piece, None, &stream)).collect();
            let wanted = |sound: bool| -> Vec<i64> {
                let all = stream.iter().filter(|frame| frame.sound == sound).map(|frame| frame.ms);
                let first_picture = stream.iter().filter(|frame| frame.leads() && frame.ms >= from).map(|frame| frame.ms).next();
                let from = if sound { first_picture.unwrap_or(from) } else { from };
                all.filter(|ms| *ms >= from && *ms < until).collect()
            };
            prop_assert_eq!(shown(&alone, false), wanted(false));
            prop_assert_eq!(shown(&alone, true), wanted(true));

            let mut rest = from_before(&stream, pieces[0].range.start());
            let mut border = None;
            for (piece, alone) in pieces.iter().zip(&alone) {
                let outcome = fill(*piece, border, None, &rest);
                prop_assert_eq!(&outcome.content, &alone.content);
                prop_assert_eq!(outcome.mid_group, alone.mid_group);
                border = Some(outcome.border);
                rest = outcome.rest;
            }
        }

        /// The other copy goes on at the very picture at which the first one was cut.
        #[test]
        fn another_copy_takes_over_without_a_gap(first in groups(), second in groups(), phase in -3_000..0_i64, at in 0..10_usize) {
            let (mine, other) = (stream(0, -5_000, &first, false), stream(1, -5_000 + phase, &second, false));
            let last = |stream: &[Frame]| stream.iter().map(|frame| frame.ms).max().unwrap_or(0);
            let until = last(&mine).min(last(&other)) - 5_000;
            prop_assume!(until > 8_000);
            let pieces = pieces(0, until);
            let at = at % pieces.len();
            prop_assume!(at > 0);
            let mut outcomes = Vec::new();
            let mut border = None;
            for (ix, piece) in pieces.iter().enumerate() {
                let stream = if ix < at { &mine } else { &other };
                let outcome = cold(*piece, border, stream);
                border = Some(outcome.border);
                outcomes.push(outcome);
            }
            let (before, behind) = outcomes.split_at(at);
            let cut = before[at - 1].border.at.as_micros() / 1_000 - BASE_MS;
            let part = |stream: &[Frame], from: i64, until: i64| -> Vec<i64> {
                stream.iter().map(|frame| frame.ms).filter(|ms| *ms >= from && *ms < until).collect()
            };
            prop_assert_eq!(shown(before, false), part(&mine, 0, cut));
            prop_assert_eq!(shown(behind, false), part(&other, cut, until));
            // What is shown first can be decoded.
            prop_assert!(behind[0].content.is_empty() || behind[0].content[0].footage.sync);
        }
    }

    const HANDS: Closing = Closing::Hands { to: CopyIx(1) };

    /// A seam whose joint is at that place: the segments before and behind it, filled each by itself.
    fn seam(mine: &[Frame], other: &[Frame], border: i64) -> (i64, [Outcome<Frame>; 2]) {
        let at = Timestamp::from_unix_ms(BASE_MS + border);
        let joint = joint(&from_before(other, at), at);
        let before = piece(border - 6_000, border, Opening::Exact, HANDS);
        let behind = piece(border, border + 6_000, Opening::Joins, Closing::Ends);
        let known = Border {
            at: joint,
            copy: None,
        };
        let outcomes = [
            fill(
                before,
                None,
                Some(joint),
                &from_before(mine, before.range.start()),
            ),
            fill(behind, Some(known), None, &from_before(other, joint)),
        ];
        (joint.as_micros() / 1_000 - BASE_MS, outcomes)
    }

    proptest! {
        /// Whatever copy's pictures end the first leg, and wherever they change: each instant is shown once, up to the joint by one
        /// segment and from there on by the other.
        #[test]
        fn at_a_seam_nothing_is_missing_or_twice(first in groups(), second in groups(), phase in -3_000..0_i64, border in 0..20_i64, early in 0..3_000_i64) {
            let (mine, other) = (stream(0, -9_000, &first, true), stream(1, -9_000 + phase, &second, true));
            let last = |stream: &[Frame]| stream.iter().map(|frame| frame.ms).max().unwrap_or(0);
            let border = 37 + 250 * border;
            prop_assume!(last(&mine) > border + 1_000 && last(&other) > border + 8_000);
            let (joint, outcomes) = seam(&mine, &other, border);
            prop_assert!((0..2_000).contains(&(border - joint)));
            let part = |stream: &[Frame], sound: bool, from: i64, until: i64| -> Vec<i64> {
                let all = stream.iter().filter(|frame| frame.sound == sound).map(|frame| frame.ms);
                all.filter(|ms| *ms >= from && *ms < until).collect()
            };
            let from = border - 6_000;
            prop_assert_eq!(shown(&outcomes[..1], false), part(&mine, false, from, joint));
            prop_assert_eq!(shown(&outcomes[1..], false), part(&other, false, joint, border + 6_000));
            prop_assert_eq!(shown(&outcomes[1..], true), part(&other, true, joint, border + 6_000));
            let leads = outcomes[1].content.iter().find(|cut| !cut.footage.sound);
            prop_assert!(leads.is_some_and(|cut| cut.footage.sync), "it cannot be decoded");
            let preroll = outcomes[1].content.iter().filter(|cut| cut.preroll).count();
            prop_assert!(preroll == 0 || joint == border);

            // The first copy fails on the way: the other one shows what is missing of its segment, and no more.
            let mixed: Vec<Frame> = mine.iter().filter(|frame| frame.ms < border - early)
                .chain(other.iter().filter(|frame| frame.ms >= border - early)).copied().collect();
            let piece = piece(from, border, Opening::Exact, HANDS);
            let at = Timestamp::from_unix_ms(BASE_MS + joint);
            let outcome = fill(piece, None, Some(at), &from_before(&mixed, piece.range.start()));
            prop_assert_eq!(outcome.border.at, at);
            prop_assert_eq!(shown(&[outcome], false), part(&mixed, false, from, joint));
        }
    }

    #[test]
    fn the_joint_is_the_last_random_access_point_up_to_the_border() {
        let mine = stream(0, -2_000, &[20; 12], false);
        let begins = |groups: &[usize], border| {
            let (joint, outcomes) = seam(&mine, &stream(1, -1_300, groups, false), border);
            let preroll = outcomes[1].content.iter().filter(|cut| cut.preroll);
            (joint, preroll.count())
        };
        assert_eq!(begins(&[25; 12], 9_500), (8_700, 0));
        // At the border itself, of two of which one would do.
        assert_eq!(begins(&[10; 30], 8_700), (8_700, 0));
        // Too long ago: hidden, where it is asked for.
        assert_eq!(begins(&[100; 3], 12_000), (12_000, 33));
        // A copy that begins behind the border.
        let late = stream(1, 9_520, &[10; 30], false);
        let (joint, outcomes) = seam(&mine, &late, 9_500);
        assert_eq!(
            (joint, shown(&outcomes[1..], false).first()),
            (9_500, Some(&9_520))
        );
    }

    #[test]
    fn pictures_before_an_exact_start_are_only_decoded() {
        let footage = stream(0, 0, &[30, 30, 30], false);
        let outcome = cold(
            piece(1_000, 4_000, Opening::Exact, Closing::Ends),
            None,
            &footage,
        );
        let preroll = outcome.content.iter().filter(|cut| cut.preroll).count();
        assert_eq!(preroll, 10);
        assert_eq!(shown(&[outcome], false).len(), 30);
    }
}
