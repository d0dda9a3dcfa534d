//! The one byte sequence of a JSON value that is digested and signed: RFC 8785 (JSON Canonicalization Scheme).
//!
//! Manifests hold no fractions and no integers beyond 2^53, so that numbers are plain decimal integers, which is all of the
//! scheme's rules on numbers that is needed.

use serde_json::Value;

/// RFC 8785: members sorted by the UTF-16 units of their names, no white space, the shortest escapes.
pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    let mut out = String::new();
    write(value, &mut out);
    out.into_bytes()
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (ix, item) in items.iter().enumerate() {
                if ix > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        // Sorted here, whatever order the library's map has: a feature of some other crate may change that.
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (ix, (name, member)) in sorted.into_iter().enumerate() {
                if ix > 0 {
                    out.push(',');
                }
                write(&Value::String(name.clone()), out);
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
        // The library's own escapes are those of the scheme: two characters where JSON has such, else \u and four lower-case digits.
        leaf => out.push_str(&leaf.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_sorted_and_texts_escaped_as_rfc_8785_says() {
        // The text of RFC 8785, 3.2.2, without its numbers.
        let value = json!({
            "string": "\u{20ac}$\u{000F}\u{000a}A'\u{0042}\u{0022}\u{005c}\\\"\u{002f}",
            "literals": [null, true, false],
            "n": 9_007_199_254_740_991_u64,
        });
        let expected = "{\"literals\":[null,true,false],\"n\":9007199254740991,\
             \"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(String::from_utf8(canonical(&value)).unwrap(), expected);
    }

    #[test]
    fn names_are_sorted_by_utf_16_units() {
        // RFC 8785, 3.2.3: a character beyond U+FFFF sorts by its surrogates, before U+FB33.
        let value = json!({ "\u{fb33}": 1, "\u{1f600}": 2, "\u{20ac}": 3, "1": 4, "\r": 5 });
        let expected = "{\"\\r\":5,\"1\":4,\"\u{20ac}\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}";
        assert_eq!(String::from_utf8(canonical(&value)).unwrap(), expected);
    }
}
