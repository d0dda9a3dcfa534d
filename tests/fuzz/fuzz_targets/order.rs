//! The order in which pictures are shown: of whatever pictures, each goes on once, in the order in which it came, at a time of its own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seamline_media::{Codec, OutputOrder, Showing};

fuzz_target!(|data: &[u8]| {
    let &[choice, ref pictures @ ..] = data else {
        return;
    };
    let codec = [Codec::H264, Codec::H265, Codec::Jpeg][usize::from(choice & 3) % 3];
    let (mut order, mut showing) = (OutputOrder::new(codec), Showing::default());
    let (mut shown, mut came) = (Vec::new(), 0);
    for (at, picture) in (0_i64..).zip(cut(pictures)) {
        let count = order.count(picture);
        assert!(count.is_none() || codec != Codec::Jpeg, "pictures of JPEG are shown as they come");
        let known = showing.push((at, count), at, count);
        shown.extend(told(known));
        came = at + 1;
        if !order.may_differ() && choice & 4 != 0 {
            shown.extend(told(showing.finish()));
        }
    }
    if choice & 8 == 0 {
        shown.extend(told(showing.finish()));
        assert_eq!(shown.len() as i64, came, "a picture is lost");
    } else {
        shown.extend(told(showing.break_off()));
    }
    assert!(showing.finish().is_empty(), "something is left");
    assert!(shown.iter().zip(0..).all(|((picture, _), at)| *picture == at), "another order of decoding");
    let mut times: Vec<i64> = shown.into_iter().map(|(_, at)| at).collect();
    times.sort_unstable();
    assert!(times.into_iter().zip(0..).all(|(time, at)| time == at), "a time is dealt twice");
});

/// Pictures that go on at once, of which those with a lower count are shown before the others.
fn told(known: Vec<((i64, Option<i64>), i64)>) -> Vec<(i64, i64)> {
    let mut ranked: Vec<(i64, i64)> = known.iter().filter_map(|((_, count), shown)| Some(((*count)?, *shown))).collect();
    ranked.sort_unstable();
    assert!(ranked.is_sorted_by_key(|(_, shown)| *shown), "shown in another order than counted: {ranked:?}");
    known.into_iter().map(|((at, _), shown)| (at, shown)).collect()
}

/// Each a length, and so many bytes.
fn cut(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (&length, after) = rest.split_first()?;
        let (picture, next) = after.split_at(usize::from(length).min(after.len()));
        rest = next;
        Some(picture)
    })
}
