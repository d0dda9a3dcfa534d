//! The table of vendors' URLs: where each names its camera, its window of time, and in which zone.

use seamline_rtsp::RtspUrl;

use super::times::Base;

/// One form of one vendor's URLs.
pub(super) struct Form {
    /// The vendor, as aliases name it.
    pub(super) dialect: &'static str,
    /// The path's segments: literal without regard to case, `*` for any, `*.sdp` for any with this ending.
    path: &'static [&'static str],
    keys: Keys,
    /// Parameters that hold the start, the end, and the length in seconds.
    pub(super) start: &'static [&'static str],
    pub(super) end: &'static [&'static str],
    pub(super) length: &'static str,
    pub(super) base: Base,
    /// A parameter that says whether times are local.
    pub(super) is_local: &'static str,
    pub(super) plays: Plays,
}

/// What a form plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plays {
    /// Recordings.
    Recorded,
    /// What the camera sees now, unless the URL names a time.
    Live,
}

/// Where a form names its camera.
enum Keys {
    /// The path's `*`.
    Path,
    /// A parameter; where a second one is given, the two joined by a slash come first.
    Parameters(&'static str, &'static str),
    /// Axis: the recording, the serial number at its end, the camera's number, the host.
    Axis,
    /// The host that the client asked: one camera an address.
    Host,
}

const BARE: Form = Form {
    dialect: "",
    path: &[],
    keys: Keys::Path,
    start: &[],
    end: &[],
    length: "",
    base: Base::Utc,
    is_local: "",
    plays: Plays::Recorded,
};

const HIKVISION: Form = Form {
    dialect: "hikvision",
    start: &["starttime"],
    end: &["endtime"],
    base: Base::HikvisionZ,
    ..BARE
};

const DAHUA: Form = Form {
    dialect: "dahua",
    keys: Keys::Parameters("channel", "subtype"),
    start: &["starttime"],
    end: &["endtime"],
    base: Base::Local,
    ..BARE
};

const GENETEC: Form = Form {
    dialect: "genetec",
    ..BARE
};

const MILESTONE: Form = Form {
    dialect: "milestone",
    ..BARE
};

/// Every form that is known. The first that fits is taken.
pub(super) const FORMS: &[Form] = &[
    Form {
        path: &["streaming", "tracks", "*"],
        ..HIKVISION
    },
    Form {
        path: &["streaming", "channels", "*"],
        plays: Plays::Live,
        ..HIKVISION
    },
    Form {
        path: &["cam", "playback"],
        ..DAHUA
    },
    Form {
        path: &["cam", "realmonitor"],
        plays: Plays::Live,
        ..DAHUA
    },
    Form {
        dialect: "axis",
        path: &["axis-media", "media.amp"],
        keys: Keys::Axis,
        // A recording's id makes it a recording, see `Form::plays`.
        plays: Plays::Live,
        ..BARE
    },
    Form {
        dialect: "vivotek",
        path: &["*.sdp"],
        keys: Keys::Host,
        start: &["stime"],
        end: &["etime"],
        length: "length",
        is_local: "loctime",
        plays: Plays::Live,
        ..BARE
    },
    Form {
        dialect: "tvt",
        path: &["rtsp", "playback"],
        keys: Keys::Parameters("channel", "subtype"),
        start: &["starttime"],
        end: &["endtime"],
        is_local: "localtime",
        ..BARE
    },
    Form {
        path: &["*", "playback"],
        ..GENETEC
    },
    Form {
        path: &["*", "live"],
        plays: Plays::Live,
        ..GENETEC
    },
    Form {
        path: &["vod", "*"],
        ..MILESTONE
    },
    Form {
        path: &["live", "*"],
        plays: Plays::Live,
        ..MILESTONE
    },
    Form {
        dialect: "hanwha",
        path: &["profileg", "*", "recording", "play.smp"],
        ..BARE
    },
    Form {
        dialect: "nx",
        path: &["*"],
        start: &["pos"],
        end: &["endpos"],
        base: Base::AsWritten,
        plays: Plays::Live,
        ..BARE
    },
];

impl Form {
    /// Whether a path has this form; the camera's names in it, the most exact first.
    pub(super) fn keys(&self, segments: &[String], url: &RtspUrl) -> Option<Vec<String>> {
        if !self.fits(segments) {
            return None;
        }
        let star = self.path.iter().position(|part| *part == "*");
        let star = star.and_then(|at| segments.get(at));
        let parameter = |name: &str| parameter(url, name);
        let keys = match self.keys {
            Keys::Path => star.map(|star| bare(star)).into_iter().collect(),
            Keys::Parameters(first, second) => {
                let first = parameter(first)?;
                let both = parameter(second).map(|second| format!("{first}/{second}"));
                both.into_iter().chain([first]).collect()
            }
            Keys::Axis => {
                let recording = parameter("recordingid");
                let serial = recording.as_deref().and_then(|id| id.rsplit_once('_'));
                let serial = serial.map(|(_, serial)| serial.to_owned());
                let camera = parameter("camera").unwrap_or_else(|| "1".to_owned());
                let named = recording.into_iter().chain(serial);
                named.chain([camera, url.host().to_owned()]).collect()
            }
            Keys::Host => vec![url.host().to_owned()],
        };
        Some(keys)
    }

    fn fits(&self, segments: &[String]) -> bool {
        let fits = |(segment, pattern): (&String, &&str)| match pattern.strip_prefix('*') {
            Some(ending) => segment.to_ascii_lowercase().ends_with(ending),
            None => segment.eq_ignore_ascii_case(pattern),
        };
        segments.len() == self.path.len() && segments.iter().zip(self.path).all(fits)
    }

    /// The base of its times in this URL.
    pub(super) fn base_in(&self, url: &RtspUrl) -> Base {
        match parameter(url, self.is_local).as_deref() {
            Some("1" | "true" | "TRUE" | "True" | "yes") => Base::Local,
            _ => self.base,
        }
    }

    /// Whether this URL asks for what is live.
    pub(super) fn is_live(&self, url: &RtspUrl) -> bool {
        let recorded = self.start.iter().chain(&["recordingid", "range"]);
        self.plays == Plays::Live
            && !recorded
                .into_iter()
                .any(|name| parameter(url, name).is_some())
    }
}

/// The first value of a parameter, without what clients append to a query that they take for a path.
pub(super) fn parameter(url: &RtspUrl, name: &str) -> Option<String> {
    if name.is_empty() {
        return None;
    }
    let value = url.parameter(name)?;
    let kept = value
        .split_once('/')
        .map_or(value.as_str(), |(kept, _)| kept);
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// An id without the braces that some put around it.
fn bare(id: &str) -> String {
    id.trim_start_matches('{').trim_end_matches('}').to_owned()
}
