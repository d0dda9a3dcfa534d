//! The file as tables: each is read for itself, so that an error in one does not hide those in others.

use std::ops::Range;

use seamline_probes::RecorderConfig;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::auth::{AuthTable, UserTable};
use super::http::HttpTable;
use super::model::{
    CameraTable, DialectsTable, EvidenceTable, LimitsTable, LogTable, RecorderHead, SiteTable,
    TlsTable, TopTable,
};
use super::passthrough::PassthroughTable;
use super::policy::PolicyTable;
use super::problems::Problems;
use super::xprotect::XProtectTable;

/// What a table of an array is, where it is, and its name even when the rest of it is wrong.
pub(super) struct Entry<T> {
    /// Its header.
    pub(super) span: Range<usize>,
    /// The value of `name` or `id`, when it is text.
    pub(super) name: Option<Spanned<String>>,
    /// `None` when it has errors, which are reported.
    pub(super) table: Option<T>,
}

/// A `[[recorder]]`.
pub(super) struct RecorderTable {
    pub(super) head: RecorderHead,
    pub(super) config: RecorderConfig,
    /// Where its keys are, for errors that are found when it is made.
    pub(super) keys: Vec<(String, Range<usize>)>,
}

/// The tables of a file; those with errors are absent.
pub(super) struct Document {
    pub(super) top: TopTable,
    pub(super) auth: AuthTable,
    pub(super) http: HttpTable,
    pub(super) limits: LimitsTable,
    pub(super) log: LogTable,
    pub(super) tls: TlsTable,
    pub(super) evidence: EvidenceTable,
    pub(super) policy: PolicyTable,
    pub(super) dialects: DialectsTable,
    pub(super) passthrough: Vec<Entry<PassthroughTable>>,
    pub(super) xprotect: Vec<Entry<XProtectTable>>,
    pub(super) users: Vec<Entry<UserTable>>,
    pub(super) sites: Vec<Entry<SiteTable>>,
    pub(super) recorders: Vec<Entry<RecorderTable>>,
    pub(super) cameras: Vec<Entry<CameraTable>>,
}

/// Reads all tables. What cannot be read is reported and left out; `None` for text that is no TOML.
pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Document> {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        problems.add(&error.span().unwrap_or(0..0), error.message());
    }
    if !errors.is_empty() {
        return None;
    }
    let mut root = root.into_inner();
    let mut reader = Reader { problems };
    let document = Document {
        auth: reader.section(&mut root, "auth"),
        http: reader.section(&mut root, "http"),
        limits: reader.section(&mut root, "limits"),
        log: reader.section(&mut root, "log"),
        tls: reader.section(&mut root, "tls"),
        evidence: reader.section(&mut root, "evidence"),
        policy: reader.section(&mut root, "policy"),
        dialects: reader.section(&mut root, "dialects"),
        passthrough: reader.array(&mut root, "passthrough", "name", Reader::table),
        xprotect: reader.array(&mut root, "xprotect", "primary", Reader::table),
        users: reader.array(&mut root, "user", "name", Reader::table),
        sites: reader.array(&mut root, "site", "name", Reader::table),
        recorders: reader.array(&mut root, "recorder", "name", Reader::recorder),
        cameras: reader.array(&mut root, "camera", "id", Reader::table),
        top: reader.top(root),
    };
    Some(document)
}

/// Begins a camera, alone on its line.
const CAMERA: &str = "[[camera]]";

/// As [`read`], of a document without errors that is all cameras from its first one on: they are read one by one, which takes a
/// fraction of the memory, and time, of holding a document of thousands as a tree. `None` for any other document, and wherever
/// anything is wrong: [`read`] knows what. Places in it mean nothing.
pub(super) fn read_by_cameras(text: &str) -> Option<Document> {
    // Text of several lines may hold anything.
    if text.contains("\"\"\"") || text.contains("'''") {
        return None;
    }
    let mut starts = text
        .match_indices(CAMERA)
        .map(|(at, _)| at)
        .filter(|at| *at == 0 || text[..*at].ends_with('\n'));
    let first = starts.next()?;
    let mut nothing_wrong = Problems::new("", "");
    let mut document = read(&text[..first], &mut nothing_wrong)?;
    if !nothing_wrong.is_empty() || !document.cameras.is_empty() {
        return None;
    }
    let mut camera = |text: &str| {
        let mut root = DeTable::parse(text).ok()?.into_inner();
        let DeValue::Array(cameras) = root.remove("camera")?.into_inner() else {
            return None;
        };
        let mut cameras = cameras.into_iter();
        let (Some(camera), None, true) = (cameras.next(), cameras.next(), root.is_empty()) else {
            return None;
        };
        let table: CameraTable = CameraTable::deserialize(ValueDeserializer::from(camera)).ok()?;
        let name = Some(Spanned::new(0..0, table.id.get_ref().clone()));
        document.cameras.push(Entry {
            span: 0..0,
            name,
            table: Some(table),
        });
        Some(())
    };
    let mut from = first;
    for start in starts {
        camera(&text[from..start])?;
        from = start;
    }
    camera(&text[from..])?;
    Some(document)
}

struct Reader<'p> {
    problems: &'p mut Problems,
}

impl Reader<'_> {
    /// Reads what is left when the tables are taken out.
    fn top(&mut self, mut root: DeTable<'_>) -> TopTable {
        let ours = ["listen", "udp", "udp_ports"].map(|key| root.remove_entry(key));
        for key in root.keys() {
            let known = "listen, udp, udp_ports, [auth], [evidence], [http], [limits], [log], [tls], [policy], [dialects], [[passthrough]], [[xprotect]], [[user]], [[site]], [[recorder]], [[camera]]";
            self.problems.add(
                &key.span(),
                format!("unknown key `{}`; there are {known}", key.get_ref()),
            );
        }
        self.table(ours.into_iter().flatten().collect(), 0..0)
            .unwrap_or_default()
    }

    fn section<T: DeserializeOwned + Default>(&mut self, root: &mut DeTable<'_>, key: &str) -> T {
        let Some(value) = root.remove(key) else {
            return T::default();
        };
        let span = value.span();
        if let DeValue::Table(table) = value.into_inner() {
            return self.table(table, span).unwrap_or_default();
        }
        self.problems
            .add(&span, format!("a table [{key}] is needed"));
        T::default()
    }

    fn array<T>(
        &mut self,
        root: &mut DeTable<'_>,
        key: &str,
        name: &str,
        mut read: impl FnMut(&mut Self, DeTable<'_>, Range<usize>) -> Option<T>,
    ) -> Vec<Entry<T>> {
        let Some(value) = root.remove(key) else {
            return Vec::new();
        };
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            self.problems
                .add(&span, format!("tables [[{key}]] are needed"));
            return Vec::new();
        };
        let mut entries = Vec::with_capacity(items.len());
        for item in items {
            let span = item.span();
            match item.into_inner() {
                DeValue::Table(table) => {
                    let name = table.get(name).and_then(|value| {
                        let text = value.as_ref().as_str()?.to_owned();
                        Some(Spanned::new(value.span(), text))
                    });
                    let table = read(self, table, span.clone());
                    entries.push(Entry { span, name, table });
                }
                _ => self
                    .problems
                    .add(&span, format!("a table [[{key}]] is needed")),
            }
        }
        entries
    }

    /// Reads one table. After an error its key is left out and the rest is read on, to find more of them.
    fn table<T: DeserializeOwned>(
        &mut self,
        mut table: DeTable<'_>,
        span: Range<usize>,
    ) -> Option<T> {
        let mut wrong: Vec<String> = Vec::new();
        loop {
            let value = Spanned::new(span.clone(), DeValue::Table(table.clone()));
            let error = match T::deserialize(ValueDeserializer::from(value)) {
                Ok(read) => return wrong.is_empty().then_some(read),
                Err(error) => error,
            };
            // What was left out for its error is not missing.
            if wrong
                .iter()
                .any(|key| error.message() == format!("missing field `{key}`"))
            {
                return None;
            }
            let culprit = culprit(&table, &error).map(|(key, at)| (key.to_owned(), at));
            let at = culprit
                .as_ref()
                .map_or_else(|| span.clone(), |(_, at)| at.clone());
            self.problems.add(&at, error.message());
            let (key, _) = culprit?;
            table.remove(key.as_str())?;
            wrong.push(key);
        }
    }

    fn recorder(&mut self, mut table: DeTable<'_>, span: Range<usize>) -> Option<RecorderTable> {
        let keys = table
            .keys()
            .map(|key| (key.get_ref().to_string(), key.span()))
            .collect();
        let mut head = DeTable::new();
        for key in ["name", "site"] {
            if let Some((key, value)) = table.remove_entry(key) {
                head.insert(key, value);
            }
        }
        let head = self.table(head, span.clone());
        let config = self.table(table, span);
        Some(RecorderTable {
            head: head?,
            config: config?,
            keys,
        })
    }
}

/// The key of `table` that an error is about, and where.
fn culprit<'t>(table: &'t DeTable<'_>, error: &toml::de::Error) -> Option<(&'t str, Range<usize>)> {
    let spanned = error.span().and_then(|at| {
        let holds = |span: Range<usize>| span.contains(&at.start);
        let (key, _) = table
            .iter()
            .find(|(key, value)| holds(key.span()) || holds(value.span()))?;
        Some((key.get_ref().as_ref(), at))
    });
    // Values that pass through a tagged enum lose their place; the message still names the key.
    spanned.or_else(|| {
        let mut named = error.message().split('`').skip(1).step_by(2);
        named
            .find_map(|name| table.get_key_value(name))
            .map(|(key, _)| (key.get_ref().as_ref(), key.span()))
    })
}
