//! Where the members of JSON objects lie: for who changes a value of one and leaves every other byte alone.

use std::ops::Range;

/// A member of an object that is a text or a number, or one of the texts and numbers of a member that is a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The object: the place in [`Scan::objects`].
    pub object: usize,
    /// Its name, as it is written between the quotation marks.
    pub key: Range<usize>,
    /// Its value, with the quotation marks of a text.
    pub value: Range<usize>,
}

/// A document by places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Where objects lie, with their braces, in the order in which they begin.
    pub objects: Vec<Range<usize>>,
    /// Those members that are wanted, in the order in which they come.
    pub members: Vec<Member>,
}

/// Why bytes are no JSON that is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not well formed.
    #[error("not JSON at byte {0}")]
    Malformed(usize),
    /// Deeper than any is.
    #[error("JSON deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// More of it than any has.
    #[error("JSON with too many objects")]
    TooMany,
}

/// Reads a document. `wanted` is asked about each text and number, by its name and as it is written.
pub fn scan(text: &str, wanted: impl Fn(&str, &str) -> bool) -> Result<Scan, JsonError> {
    let mut reader = Reader {
        text,
        at: 0,
        scan: Scan::default(),
        open: Vec::new(),
    };
    reader.document(&wanted)?;
    Ok(reader.scan)
}

/// A text, as it is meant.
pub fn meant(written: &str) -> Option<String> {
    serde_json::from_str(written).ok()
}

/// A text, as it is written, with its quotation marks.
pub fn written(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    scan: Scan,
    open: Vec<Open>,
}

/// An object or a list that has not ended.
struct Open {
    /// Of an object, its place; of a list, that of the object that it is a member of.
    object: Option<usize>,
    is_list: bool,
    /// The name of the member that is read: of a list, its own.
    key: Range<usize>,
}

impl Reader<'_> {
    fn document(&mut self, wanted: &impl Fn(&str, &str) -> bool) -> Result<(), JsonError> {
        self.value(wanted)?;
        while let Some(open) = self.open.last() {
            let (is_list, first) = (open.is_list, self.begins());
            let end = if is_list { b']' } else { b'}' };
            if self.peek() == Some(end) {
                self.close();
                continue;
            }
            if !first {
                self.expect(b',')?;
            }
            if !is_list {
                let key = self.string()?;
                self.expect(b':')?;
                if let Some(open) = self.open.last_mut() {
                    open.key = key.start + 1..key.end - 1;
                }
            }
            self.value(wanted)?;
        }
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(JsonError::Malformed(self.at)),
        }
    }

    /// Whether nothing of the innermost object or list was read yet.
    fn begins(&self) -> bool {
        let before = self.text.get(..self.at).unwrap_or_default().trim_end();
        before.ends_with(['{', '['])
    }

    fn value(&mut self, wanted: &impl Fn(&str, &str) -> bool) -> Result<(), JsonError> {
        let start = match self.peek().ok_or(JsonError::Malformed(self.at))? {
            bracket @ (b'{' | b'[') => return self.open(bracket == b'['),
            b'"' => self.string()?,
            _ => self.scalar()?,
        };
        let Some(Open {
            object: Some(object),
            key,
            ..
        }) = self.open.last()
        else {
            return Ok(());
        };
        let member = Member {
            object: *object,
            key: key.clone(),
            value: start,
        };
        let name = self.text.get(member.key.clone()).unwrap_or_default();
        let value = self.text.get(member.value.clone()).unwrap_or_default();
        if wanted(name, value) {
            self.scan.members.push(member);
        }
        Ok(())
    }

    fn open(&mut self, is_list: bool) -> Result<(), JsonError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(JsonError::TooDeep);
        }
        let around = self.open.last();
        let open = if is_list {
            Open {
                object: around.and_then(|open| open.object),
                is_list,
                key: around.map_or(0..0, |open| open.key.clone()),
            }
        } else {
            if self.scan.objects.len() >= OBJECTS_MAX {
                return Err(JsonError::TooMany);
            }
            self.scan.objects.push(self.at..self.at);
            Open {
                object: Some(self.scan.objects.len() - 1),
                is_list,
                key: 0..0,
            }
        };
        self.open.push(open);
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) {
        self.at += 1;
        if let Some(Open {
            object: Some(object),
            is_list: false,
            ..
        }) = self.open.pop()
            && let Some(place) = self.scan.objects.get_mut(object)
        {
            place.end = self.at;
        }
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(JsonError::Malformed(self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<Range<usize>, JsonError> {
        self.expect(b'"')?;
        let start = self.at - 1;
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.at += 2,
                Some(b' '..) => self.at += 1,
                _ => return Err(JsonError::Malformed(self.at)),
            }
        }
        self.at += 1;
        // An escape may have led into the middle of a letter.
        if !self.text.is_char_boundary(self.at) {
            return Err(JsonError::Malformed(self.at));
        }
        Ok(start..self.at)
    }

    fn scalar(&mut self) -> Result<Range<usize>, JsonError> {
        let start = self.at;
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        let is_scalar =
            |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let length = rest.iter().take_while(is_scalar).count();
        if length == 0 {
            return Err(JsonError::Malformed(start));
        }
        self.at += length;
        Ok(start..self.at)
    }
}

const DEPTH_MAX: usize = 64;
const OBJECTS_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn members_are_found_where_they_lie() {
        let text = r#" {"a": "x", "b":[ {"id" : "1","a":2.5e3,"l":["p","q"]},{}, [] ], "n":null} "#;
        let found = scan(text, |_, _| true).unwrap();
        let members: Vec<_> = found
            .members
            .iter()
            .map(|member| {
                (
                    member.object,
                    &text[member.key.clone()],
                    &text[member.value.clone()],
                )
            })
            .collect();
        let expected = [
            (0, "a", "\"x\""),
            (1, "id", "\"1\""),
            (1, "a", "2.5e3"),
            (1, "l", "\"p\""),
            (1, "l", "\"q\""),
            (0, "n", "null"),
        ];
        assert_eq!(members, expected);
        assert_eq!(&text[found.objects[2].clone()], "{}");
        assert!(text[found.objects[1].clone()].ends_with("\"q\"]}"));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            "{",
            "[1,]x",
            "{\"a\" 1}",
            "\"a",
            "{\"a\":\"\\",
            "{} {}",
            "[1 2]",
            "\"\\ü\"x",
        ] {
            assert!(scan(text, |_, _| true).is_err(), "{text}");
        }
        let deep = "[".repeat(DEPTH_MAX + 1);
        assert_eq!(scan(&deep, |_, _| true), Err(JsonError::TooDeep));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            "[a-z\"\\\\/ü\\n]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[a-z\"]{0,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn leaves(value: &Value, in_object: bool) -> usize {
        match value {
            Value::Object(map) => map.values().map(|value| leaves(value, true)).sum(),
            Value::Array(list) => list.iter().map(|value| leaves(value, in_object)).sum(),
            _ => usize::from(in_object),
        }
    }

    proptest! {
        #[test]
        fn every_document_is_read_whole(value in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let found = scan(&text, |_, _| true).unwrap();
            prop_assert_eq!(found.members.len(), leaves(&value, false));
            for member in &found.members {
                prop_assert!(serde_json::from_str::<Value>(&text[member.value.clone()]).is_ok());
            }
            for object in &found.objects {
                prop_assert!(serde_json::from_str::<Value>(&text[object.clone()]).is_ok());
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in "[\\[\\]{}\",:\\\\a1 ü]{0,40}") {
            let _ = scan(&text, |_, _| true);
        }
    }
}
