//! Byte ranges and the conditions on them (RFC 9110 §13 and §14), without I/O.

use std::ops::Range;

/// Parts of one answer; whoever wants more gets the whole.
const PARTS_MAX: usize = 16;
/// Longest value that is read.
const VALUE_BYTES_MAX: usize = 4096;

/// What a `Range` header wishes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    /// From the first byte to the last one, or to the end.
    From(u64, Option<u64>),
    /// The last so many bytes.
    Last(u64),
}

/// What a request wishes for of a representation whose length may not be known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish(Vec<Spec>);

/// What it comes to, of a length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    /// All of it: the wish is one that may be ignored.
    Whole,
    /// One part or several, each within the length and not empty.
    Some(Vec<Range<u64>>),
    /// None of it lies within the length: 416.
    Unsatisfiable,
}

impl Wish {
    /// Reads a header; `None` for what is to be ignored: another unit, or malformed (RFC 9110 §14.2).
    pub(super) fn read(value: &str) -> Option<Self> {
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
        let (unit, list) = value.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let texts = list
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty());
        let specs: Vec<Spec> = texts.map(spec).collect::<Option<_>>()?;
        (!specs.is_empty()).then_some(Wish(specs))
    }

    /// All from the first byte on: as good as no wish while the length is not known.
    pub(super) fn is_everything(&self) -> bool {
        self.0 == [Spec::From(0, None)]
    }

    /// Whether it has the first byte, told as such.
    pub(super) fn has_first(&self) -> bool {
        self.0.iter().any(|spec| matches!(spec, Spec::From(0, _)))
    }

    /// Whether it is for what lies behind bytes that somebody may have. The last so many bytes are not: who counts from the end does
    /// not know how many come before.
    pub(super) fn goes_on(&self) -> bool {
        let behind = |spec: &Spec| matches!(spec, Spec::From(first, _) if *first > 0);
        self.0.iter().any(behind)
    }

    /// Where the one part that it wishes for begins, where that can be told without the length.
    pub(super) fn begins(&self) -> Option<u64> {
        match self.0[..] {
            [Spec::From(first, _)] => Some(first),
            _ => None,
        }
    }

    /// The one part that it wishes for, where that can be told without the length.
    pub(super) fn bounded(&self) -> Option<Range<u64>> {
        match self.0[..] {
            [Spec::From(first, Some(last))] => Some(first..last.checked_add(1)?),
            _ => None,
        }
    }

    /// What it comes to.
    pub(super) fn of(&self, len: u64) -> Parts {
        let mut parts: Vec<Range<u64>> = self.0.iter().filter_map(|spec| spec.of(len)).collect();
        if parts.is_empty() {
            return Parts::Unsatisfiable;
        }
        // Many or overlapping parts are an attack (RFC 9110 §17.15); the whole is cheaper than what they add up to.
        let wished: u64 = parts.iter().map(|part| part.end - part.start).sum();
        if self.0.len() > PARTS_MAX || wished > len {
            return Parts::Whole;
        }
        let mut sorted = parts.clone();
        sorted.sort_by_key(|part| part.start);
        let overlap = sorted
            .windows(2)
            .any(|pair| matches!(pair, [one, next] if next.start < one.end));
        if overlap {
            parts = merged(sorted);
        }
        Parts::Some(parts)
    }
}

impl Spec {
    fn of(self, len: u64) -> Option<Range<u64>> {
        let range = match self {
            Spec::From(first, last) => {
                let end = last.map_or(len, |last| last.saturating_add(1).min(len));
                first..end
            }
            Spec::Last(bytes) => len.saturating_sub(bytes)..len,
        };
        (range.start < range.end).then_some(range)
    }
}

fn spec(text: &str) -> Option<Spec> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More than fits is beyond any end.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (first, last) = text.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => number(last).map(Spec::Last),
        (first, "") => number(first).map(|first| Spec::From(first, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::From(first, Some(last)))
        }
    }
}

fn merged(sorted: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for part in sorted {
        match merged.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => merged.push(part),
        }
    }
    merged
}

/// Whether a list of entity tags names one of `ours`; weak ones count only where `weak` does (RFC 9110 §8.8.3.2).
pub(super) fn names(list: &str, ours: &[&str], weak: bool) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let mut tags = list.split(',').map(str::trim);
    tags.any(|tag| match tag.strip_prefix("W/") {
        Some(opaque) => weak && ours.contains(&opaque),
        None => ours.contains(&tag),
    })
}

#[cfg(test)]
#[allow(
    clippy::single_range_in_vec_init,
    reason = "one part is a list of one range"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(value: &str, len: u64) -> Option<Parts> {
        Wish::read(value).map(|wish| wish.of(len))
    }

    #[test]
    fn the_examples_of_the_standard() {
        // RFC 9110 §14.1.2, of 10000 bytes.
        for (value, parts) in [
            ("bytes=0-499", vec![0..500]),
            ("bytes=500-999", vec![500..1000]),
            ("bytes=-500", vec![9500..10000]),
            ("bytes=9500-", vec![9500..10000]),
            ("bytes=0-0,-1", vec![0..1, 9999..10000]),
            (
                "bytes= 0-0, 4500-5499, -1000",
                vec![0..1, 4500..5500, 9000..10000],
            ),
            ("BYTES=500-600,601-999", vec![500..601, 601..1000]),
            ("bytes=500-700,601-999", vec![500..1000]),
            ("bytes=9999-99999999999999999999999999", vec![9999..10000]),
        ] {
            assert_eq!(of(value, 10_000), Some(Parts::Some(parts)), "{value}");
        }
    }

    #[test]
    fn what_means_nothing_is_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-4",
            "bytes=a-b",
            "bytes=0x1-2",
            "bytes=1-2-3",
            "seconds=0-1",
            "bytes=--1",
            "bytes=+1-2",
            "bytes=1.5-2",
        ] {
            assert_eq!(Wish::read(value), None, "{value}");
        }
    }

    #[test]
    fn beyond_the_end_nothing_is_to_be_had() {
        assert_eq!(of("bytes=10000-", 10_000), Some(Parts::Unsatisfiable));
        assert_eq!(of("bytes=-0", 10_000), Some(Parts::Unsatisfiable));
        assert_eq!(of("bytes=0-", 0), Some(Parts::Unsatisfiable));
        assert_eq!(of("bytes=-5", 0), Some(Parts::Unsatisfiable));
        assert_eq!(
            of("bytes=20000-,0-9", 10_000),
            Some(Parts::Some(vec![0..10]))
        );
    }

    #[test]
    fn who_goes_on_names_a_byte_behind_the_first() {
        for (value, has_first, goes_on) in [
            ("bytes=0-", true, false),
            ("bytes=0-99", true, false),
            ("bytes=1-", false, true),
            ("bytes=100-199", false, true),
            ("bytes=-100", false, false),
            ("bytes=0-9,100-,-5", true, true),
        ] {
            let wish = Wish::read(value).expect("it means something");
            assert_eq!(
                (wish.has_first(), wish.goes_on()),
                (has_first, goes_on),
                "{value}"
            );
        }
    }

    #[test]
    fn greed_gets_the_whole() {
        let many = (0..40).map(|at| format!("{}-{}", at * 100, at * 100 + 1));
        let value = format!("bytes={}", many.collect::<Vec<_>>().join(","));
        assert_eq!(of(&value, 10_000), Some(Parts::Whole));
        assert_eq!(of("bytes=0-,0-,0-", 10_000), Some(Parts::Whole));
        assert_eq!(Wish::read(&format!("bytes=0-{}", "9".repeat(5000))), None);
    }

    #[test]
    fn tags() {
        assert!(names("\"a\", \"b\"", &["\"b\""], false));
        assert!(names("*", &["\"b\""], false));
        assert!(names("W/\"b\"", &["\"b\""], true));
        assert!(!names("W/\"b\"", &["\"b\""], false));
        assert!(!names("\"c\"", &["\"b\"", "\"d\""], true));
        assert!(!names("Tue, 22 Nov 2026 10:00:00 GMT", &["\"b\""], true));
    }

    proptest! {
        /// Every byte of an answer was wished for, and every byte wished for is in it.
        #[test]
        fn parts_are_what_was_wished_for(
            wishes in prop::collection::vec((0u64..120, prop::option::of(0u64..120)), 1..5),
            len in 1u64..100,
        ) {
            let texts: Vec<String> = wishes.iter().map(|(first, last)| match last {
                Some(last) => format!("{first}-{}", first.max(last)),
                None => format!("{first}-"),
            }).collect();
            let wished = |byte: u64| wishes.iter().any(|(first, last)| {
                *first <= byte && last.is_none_or(|last| byte <= last.max(*first))
            });
            match of(&format!("bytes={}", texts.join(",")), len).unwrap() {
                Parts::Whole => {}
                Parts::Unsatisfiable => prop_assert!(!(0..len).any(wished)),
                Parts::Some(parts) => for byte in 0..len {
                    let times = parts.iter().filter(|part| part.contains(&byte)).count();
                    prop_assert_eq!(times, usize::from(wished(byte)));
                },
            }
        }

        #[test]
        fn any_text_is_survived(value: String, len: u64) {
            let _ = of(&value, len);
            let _ = of(&format!("bytes={value}"), len);
            let _ = names(&value, &["\"a\""], true);
        }
    }
}
