//! The `[policy]` table: every knob optional, over the defaults or over the common policy.

use std::fmt;
use std::num::NonZeroU32;

use seamline_routing::policy::{ClockSkew, Failback, Holes, Mismatch, Policy};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::duration::{Humane, Positive};

/// What an operator sets; what is absent stays as it was.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PolicyTable {
    failback: Option<FailbackValue>,
    min_gap: Option<Humane>,
    min_stay: Option<Humane>,
    max_skew: Option<Humane>,
    clock_skew: Option<ClockSkewValue>,
    holes: Option<HolesValue>,
    mismatch: Option<MismatchValue>,
    reaction: ReactionTable,
    prefetch: Option<Humane>,
    outage_wait: Option<Humane>,
    flap: FlapTable,
    share_legs: Option<bool>,
    ttl: Option<Positive>,
    tail_ttl: Option<Positive>,
    probe_deadline: Option<Positive>,
    sweep: Option<Humane>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ReactionTable {
    stall_after: Option<Positive>,
    connect: Option<Positive>,
    response: Option<Positive>,
    first_unit: Option<Positive>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FlapTable {
    switches_max: Option<NonZeroU32>,
    window: Option<Positive>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClockSkewValue {
    Configured,
    Measured,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum HolesValue {
    Skip,
    Wait,
    End,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MismatchValue {
    End,
    Skip,
}

impl PolicyTable {
    /// `base` with what is set here.
    pub(super) fn over(&self, base: Policy) -> Policy {
        let mut policy = base;
        set(&mut policy.failback, self.failback.map(|value| value.0));
        set(&mut policy.min_gap, self.min_gap.map(|value| value.0));
        set(&mut policy.min_stay, self.min_stay.map(|value| value.0));
        set(&mut policy.max_skew, self.max_skew.map(|value| value.0));
        set(&mut policy.clock_skew, self.clock_skew.map(ClockSkew::from));
        set(&mut policy.holes, self.holes.map(Holes::from));
        set(&mut policy.mismatch, self.mismatch.map(Mismatch::from));
        set(
            &mut policy.reaction.stall_after,
            self.reaction.stall_after.map(|value| value.0),
        );
        set(
            &mut policy.reaction.connect,
            self.reaction.connect.map(|value| value.0),
        );
        set(
            &mut policy.reaction.response,
            self.reaction.response.map(|value| value.0),
        );
        set(
            &mut policy.reaction.first_unit,
            self.reaction.first_unit.map(|value| value.0),
        );
        set(&mut policy.prefetch, self.prefetch.map(|value| value.0));
        set(
            &mut policy.outage_wait,
            self.outage_wait.map(|value| value.0),
        );
        set(
            &mut policy.flap.switches_max,
            self.flap.switches_max.map(NonZeroU32::get),
        );
        set(
            &mut policy.flap.window,
            self.flap.window.map(|value| value.0),
        );
        set(&mut policy.share_legs, self.share_legs);
        set(&mut policy.ttl, self.ttl.map(|value| value.0));
        set(&mut policy.tail_ttl, self.tail_ttl.map(|value| value.0));
        set(
            &mut policy.probe_deadline,
            self.probe_deadline.map(|value| value.0),
        );
        policy.sweep = self.sweep.map(|value| value.0).or(policy.sweep);
        policy
    }
}

fn set<T>(knob: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *knob = value;
    }
}

impl From<ClockSkewValue> for ClockSkew {
    fn from(value: ClockSkewValue) -> Self {
        match value {
            ClockSkewValue::Configured => ClockSkew::Configured,
            ClockSkewValue::Measured => ClockSkew::Measured,
        }
    }
}

impl From<HolesValue> for Holes {
    fn from(value: HolesValue) -> Self {
        match value {
            HolesValue::Skip => Holes::Skip,
            HolesValue::Wait => Holes::Wait,
            HolesValue::End => Holes::End,
        }
    }
}

impl From<MismatchValue> for Mismatch {
    fn from(value: MismatchValue) -> Self {
        match value {
            MismatchValue::End => Mismatch::End,
            MismatchValue::Skip => Mismatch::Skip,
        }
    }
}

/// `"never"`, `"at-seam"`, `"after 30s"` or `{ after = "30s" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FailbackValue(Failback);

impl<'de> Deserialize<'de> for FailbackValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FailbackVisitor)
    }
}

struct FailbackVisitor;

impl<'de> Visitor<'de> for FailbackVisitor {
    type Value = FailbackValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"never\", \"at-seam\" or \"after 30s\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<FailbackValue, E> {
        let failback = match text.trim() {
            "never" => Failback::Never,
            "at-seam" => Failback::AtSeam,
            other => match other.strip_prefix("after ") {
                Some(duration) => Failback::After(Humane::parse(duration).map_err(E::custom)?.0),
                None => {
                    return Err(E::custom(format!(
                        "{text:?} is not \"never\", \"at-seam\" or \"after 30s\""
                    )));
                }
            },
        };
        Ok(FailbackValue(failback))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FailbackValue, A::Error> {
        let mut after = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "after" {
                return Err(A::Error::unknown_field(&key, &["after"]));
            }
            after = Some(map.next_value::<Humane>()?.0);
        }
        after
            .map(|after| FailbackValue(Failback::After(after)))
            .ok_or_else(|| A::Error::missing_field("after"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn policy(text: &str) -> Policy {
        toml::from_str::<PolicyTable>(text)
            .unwrap()
            .over(Policy::default())
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(policy(""), Policy::default());
    }

    #[test]
    fn failback_in_each_form() {
        let after = Failback::After(Duration::from_secs(5));
        for (text, failback) in [
            ("failback = 'never'", Failback::Never),
            ("failback = 'at-seam'", Failback::AtSeam),
            ("failback = 'after 5s'", after),
            ("failback = { after = '5s' }", after),
        ] {
            assert_eq!(policy(text).failback, failback, "{text}");
        }
        for text in [
            "failback = 'soon'",
            "failback = 5",
            "failback = { after = 5 }",
            "failback = { before = '5s' }",
            "failback = {}",
        ] {
            assert!(toml::from_str::<PolicyTable>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_knob_can_be_turned() {
        let text = "
            min_gap = '1s'
            min_stay = '2s'
            max_skew = '3s'
            clock_skew = 'measured'
            holes = 'wait'
            mismatch = 'skip'
            prefetch = '4s'
            outage_wait = '5s'
            ttl = '6s'
            tail_ttl = '7s'
            probe_deadline = '8s'
            sweep = '15s'
            share_legs = true
            reaction = { stall_after = '9s', connect = '10s', response = '11s', first_unit = '12s' }
            flap = { switches_max = 13, window = '14s' }
        ";
        let s = Duration::from_secs;
        let turned = policy(text);
        let durations = [
            turned.min_gap,
            turned.min_stay,
            turned.max_skew,
            turned.prefetch,
            turned.outage_wait,
            turned.ttl,
        ];
        assert_eq!(durations, [s(1), s(2), s(3), s(4), s(5), s(6)]);
        assert_eq!(
            [turned.tail_ttl, turned.probe_deadline, turned.flap.window],
            [s(7), s(8), s(14)]
        );
        let reaction = turned.reaction;
        assert_eq!(
            [
                reaction.stall_after,
                reaction.connect,
                reaction.response,
                reaction.first_unit
            ],
            [s(9), s(10), s(11), s(12)]
        );
        assert_eq!(
            (turned.holes, turned.mismatch, turned.flap.switches_max),
            (Holes::Wait, Mismatch::Skip, 13)
        );
        assert_eq!(turned.clock_skew, ClockSkew::Measured);
        assert_eq!(turned.sweep, Some(s(15)));
        assert!(turned.share_legs);
    }

    #[test]
    fn waits_of_zero_are_refused_where_they_would_spin() {
        for text in [
            "ttl = '0s'",
            "reaction = { connect = '0ms' }",
            "flap = { switches_max = 0 }",
        ] {
            assert!(toml::from_str::<PolicyTable>(text).is_err(), "{text}");
        }
    }
}
