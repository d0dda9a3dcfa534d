//! Where elements lie in a document: for who changes one text of it and leaves every other byte alone.

use std::ops::Range;

use quick_xml::{Reader, escape, events::Event};

use crate::{DEPTH_MAX, Limits, XmlError, local, malformed, sendable};

/// An element by its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node<'w> {
    /// Its name without prefix.
    pub name: &'w str,
    /// The element that it is in: the same number for all that are in the same one.
    pub parent: usize,
    /// What is between its tags, as it is written.
    pub inner: Range<usize>,
}

/// The elements of these names, in the order in which they begin. Those without anything in them are left out.
pub fn outline<'w>(
    text: &str,
    limits: Limits,
    wanted: &[&'w str],
) -> Result<Vec<Node<'w>>, XmlError> {
    if text.len() > limits.bytes {
        return Err(XmlError::TooLong);
    }
    let read = text.trim_start_matches('\u{feff}');
    let skipped = text.len() - read.len();
    let mut reader = Reader::from_str(read);
    let mut nodes: Vec<Node<'w>> = Vec::new();
    // The number of each open element, and its place among those that are wanted.
    let mut open: Vec<(usize, Option<usize>)> = Vec::new();
    let mut count = 0;
    loop {
        let before = skipped + reader.buffer_position() as usize;
        match reader.read_event().map_err(|error| malformed(&error))? {
            Event::Start(start) => {
                count += 1;
                if count > limits.elements {
                    return Err(XmlError::TooMany);
                }
                if open.len() >= DEPTH_MAX {
                    return Err(XmlError::TooDeep);
                }
                let name = start.name();
                let name = local(name.as_ref());
                let after = skipped + reader.buffer_position() as usize;
                let at = wanted.iter().find(|wanted| **wanted == name).map(|name| {
                    nodes.push(Node {
                        name,
                        parent: open.last().map_or(0, |(number, _)| *number),
                        inner: after..after,
                    });
                    nodes.len() - 1
                });
                open.push((count, at));
            }
            Event::Empty(_) => count += 1,
            Event::End(_) => {
                let (_, at) = open.pop().ok_or(XmlError::NotOne)?;
                if let Some(node) = at.and_then(|at| nodes.get_mut(at)) {
                    node.inner.end = before;
                }
            }
            Event::DocType(_) => return Err(XmlError::DocumentType),
            Event::Eof => break,
            _ => {}
        }
    }
    if !open.is_empty() {
        return Err(XmlError::NotOne);
    }
    nodes.retain(|node| !node.inner.is_empty());
    Ok(nodes)
}

/// What is written between tags, as it is meant; `None` where there is more than text.
pub fn plain(written: &str) -> Option<String> {
    if written.contains('<') {
        return None;
    }
    let meant = escape::unescape(written).ok()?;
    Some(meant.trim().to_owned())
}

/// A text as it is written between tags.
pub fn written(text: &str) -> String {
    sendable(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_where_they_lie() {
        let text = "\u{feff}<?xml version='1.0'?>\n<a:R xmlns:a='x'><I><U>one</U><N/><U></U></I><!-- <U>no</U> --><I><b:U x=\"1\"> two&amp;\n</b:U></I></a:R>\n";
        let found = outline(text, Limits::ANSWER, &["U", "I"]).unwrap();
        let texts: Vec<_> = found
            .iter()
            .map(|node| (node.name, &text[node.inner.clone()]))
            .collect();
        assert_eq!(texts[1], ("U", "one"));
        assert_eq!(texts[3], ("U", " two&amp;\n"));
        assert_eq!(texts.len(), 4);
        assert_ne!(found[1].parent, found[3].parent);
        assert_eq!(found[0].parent, found[2].parent);
        assert_eq!(plain(texts[3].1).as_deref(), Some("two&"));
        assert_eq!(plain(texts[0].1), None);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in [
            "<a><b></a>",
            "<a>",
            "</a>",
            "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        ] {
            assert!(outline(text, Limits::ANSWER, &["a"]).is_err(), "{text}");
        }
        let deep = "<a>".repeat(DEPTH_MAX + 1) + &"</a>".repeat(DEPTH_MAX + 1);
        assert_eq!(outline(&deep, Limits::ANSWER, &[]), Err(XmlError::TooDeep));
        let small = Limits {
            bytes: 100,
            elements: 2,
            text: 100,
        };
        assert_eq!(
            outline("<a><b/><c><d></d></c></a>", small, &[]),
            Err(XmlError::TooMany)
        );
    }
}
