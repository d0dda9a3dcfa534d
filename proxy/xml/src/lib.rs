//! XML in and out, bounded: the only room that knows the XML library.
//!
//! Names are local ones: prefixes are arbitrary on the wire, and some recorders bind them to the wrong namespace. What
//! recorders send is read whole into a small tree, without document types, entities of their own, or depth.

mod outline;

use std::{borrow::Cow, fmt::Write};

use quick_xml::{
    Reader, XmlVersion,
    escape::{escape, resolve_predefined_entity},
    events::{BytesStart, Event},
};

pub use outline::{Node, outline, plain, written};

/// Why bytes are no XML that is read here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Longer than [`Limits::bytes`].
    #[error("XML longer than is read of such documents")]
    TooLong,
    /// More elements than [`Limits::elements`], or more attributes on one than any has.
    #[error("XML with too many elements or attributes")]
    TooMany,
    /// Deeper than any is.
    #[error("XML deeper than {DEPTH_MAX} elements")]
    TooDeep,
    /// A text longer than any is.
    #[error("XML with a text longer than is read")]
    TextTooLong,
    /// A document type: it could define entities without end, or name files and hosts.
    #[error("XML with a document type, which is refused")]
    DocumentType,
    /// An entity that XML does not define.
    #[error("XML with an unknown entity")]
    Entity,
    /// UTF-16, or another encoding in which markup is not ASCII.
    #[error("XML in an encoding that is not read")]
    Encoding,
    /// Not well formed.
    #[error("not XML: {0}")]
    Malformed(String),
    /// No element, or something behind it.
    #[error("not one XML document")]
    NotOne,
}

/// How much of a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Its length.
    pub bytes: usize,
    /// Its elements.
    pub elements: usize,
    /// The text of one of them, and each attribute.
    pub text: usize,
}

impl Limits {
    /// One answer: a page of a search, or all recordings of a large recorder.
    pub const ANSWER: Self = Self {
        bytes: DOCUMENT_BYTES_MAX,
        elements: ELEMENTS_MAX,
        text: TEXT_BYTES_MAX,
    };
}

/// An element with all that is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// Reads a document within [`Limits::ANSWER`].
    pub fn parse(bytes: &[u8]) -> Result<Self, XmlError> {
        Self::parse_within(bytes, Limits::ANSWER)
    }

    /// Reads a document of a kind that has its own limits.
    pub fn parse_within(bytes: &[u8], limits: Limits) -> Result<Self, XmlError> {
        if bytes.len() > limits.bytes {
            return Err(XmlError::TooLong);
        }
        if bytes.contains(&0)
            || bytes.starts_with(&[0xFF, 0xFE])
            || bytes.starts_with(&[0xFE, 0xFF])
        {
            return Err(XmlError::Encoding);
        }
        // Names of cameras come in Latin-1 under a header that says UTF-8: the markup is what matters.
        let text = String::from_utf8_lossy(bytes);
        let tree = Tree {
            elements_left: limits.elements,
            text_max: limits.text,
            ..Tree::default()
        };
        tree.read(text.trim_start_matches('\u{feff}').trim())
    }

    /// Its name without prefix.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its own text without blanks around it; `None` when nothing is left.
    pub fn value(&self) -> Option<&str> {
        Some(self.text.trim()).filter(|text| !text.is_empty())
    }

    /// An attribute, by its name without prefix.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        attributes
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.trim())
    }

    /// An attribute, by its name without prefix, in whatever case it is written.
    pub fn attribute_in_any_case(&self, name: &str) -> Option<&str> {
        let mut attributes = self.attributes.iter();
        let found = attributes.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    /// The elements in it.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        self.children.iter()
    }

    /// The elements in it of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first element in it of this name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The first element by a way of names.
    pub fn at(&self, way: &[&str]) -> Option<&Self> {
        way.iter()
            .try_fold(self, |element, name| element.child(name))
    }

    /// The text of the first element in it of this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.child(name)?.value()
    }
}

/// A tree on its way.
#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    root: Option<Element>,
    elements_left: usize,
    text_max: usize,
}

impl Tree {
    fn read(mut self, text: &str) -> Result<Element, XmlError> {
        let mut reader = Reader::from_str(text);
        loop {
            match reader.read_event().map_err(|error| malformed(&error))? {
                Event::Start(start) => self.start(&start)?,
                Event::Empty(start) => {
                    self.start(&start)?;
                    self.end()?;
                }
                Event::End(_) => self.end()?,
                Event::Text(text) => self.text(&text)?,
                Event::CData(text) => self.text(&text)?,
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().map_err(|_| XmlError::Entity)?;
                    match character {
                        Some(character) => self.text(character.encode_utf8(&mut [0; 4]))?,
                        None => {
                            self.text(
                                resolve_predefined_entity(&reference).ok_or(XmlError::Entity)?,
                            )?;
                        }
                    }
                }
                Event::DocType(_) => return Err(XmlError::DocumentType),
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        match self.root {
            Some(root) if self.open.is_empty() => Ok(root),
            _ => Err(XmlError::NotOne),
        }
    }

    fn start(&mut self, start: &BytesStart<'_>) -> Result<(), XmlError> {
        self.elements_left = self.elements_left.checked_sub(1).ok_or(XmlError::TooMany)?;
        if self.open.len() >= DEPTH_MAX {
            return Err(XmlError::TooDeep);
        }
        if self.root.is_some() {
            return Err(XmlError::NotOne);
        }
        let mut element = Element {
            name: local(start.name().as_ref()).to_owned(),
            ..Element::default()
        };
        // Twice the same attribute harms nobody here, and looking for it takes quadratic time.
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| XmlError::Malformed(error.to_string()))?;
            if element.attributes.len() >= ATTRIBUTES_MAX {
                return Err(XmlError::TooMany);
            }
            let key = attribute.key.as_ref();
            if key.starts_with("xmlns") {
                continue;
            }
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|_| XmlError::Entity)?;
            if value.len() > self.text_max {
                return Err(XmlError::TextTooLong);
            }
            element
                .attributes
                .push((local(key).to_owned(), value.into_owned()));
        }
        self.open.push(element);
        Ok(())
    }

    fn end(&mut self) -> Result<(), XmlError> {
        let element = self.open.pop().ok_or(XmlError::NotOne)?;
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), XmlError> {
        let Some(element) = self.open.last_mut() else {
            // Around the root stand blanks at most.
            return if text.trim().is_empty() {
                Ok(())
            } else {
                Err(XmlError::NotOne)
            };
        };
        if element.text.len() + text.len() > self.text_max {
            return Err(XmlError::TextTooLong);
        }
        element.text.push_str(text);
        Ok(())
    }
}

/// Markup to be sent: text becomes part of it only escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Markup(String);

impl Markup {
    /// `<name>text</name>`
    pub fn text(name: &'static str, text: &str) -> Self {
        Self::text_with(name, &[], text)
    }

    /// An element with attributes and a text.
    pub fn text_with(name: &'static str, attributes: &[(&'static str, &str)], text: &str) -> Self {
        Self::element(name, attributes, &sendable(text))
    }

    /// An element with others in it.
    pub fn node(name: &'static str, children: impl IntoIterator<Item = Self>) -> Self {
        Self::node_with(name, &[], children)
    }

    /// An element with attributes and others in it.
    pub fn node_with(
        name: &'static str,
        attributes: &[(&'static str, &str)],
        children: impl IntoIterator<Item = Self>,
    ) -> Self {
        let inner: String = children.into_iter().map(|child| child.0).collect();
        Self::element(name, attributes, &inner)
    }

    /// As a document.
    pub fn document(&self) -> Vec<u8> {
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{}", self.0).into_bytes()
    }

    fn element(name: &'static str, attributes: &[(&'static str, &str)], inner: &str) -> Self {
        let mut markup = format!("<{name}");
        for (key, value) in attributes {
            let _ = write!(markup, " {key}=\"{}\"", sendable(value));
        }
        if inner.is_empty() {
            markup.push_str("/>");
        } else {
            let _ = write!(markup, ">{inner}</{name}>");
        }
        Self(markup)
    }
}

/// Escaped, without the characters that XML cannot say.
fn sendable(text: &str) -> String {
    let kept: Cow<'_, str> = if text.contains(char::is_control) {
        text.chars()
            .filter(|character| !character.is_control())
            .collect::<String>()
            .into()
    } else {
        text.into()
    };
    escape(kept).into_owned()
}

/// A document in which elements have other texts: those of these names that are `depth` elements below the root's children (0 for
/// the root's own). Everything else stays as it is, byte for byte, where it is UTF-8.
pub fn with_texts(
    document: &[u8],
    depth: usize,
    texts: &[(&str, &str)],
) -> Result<Vec<u8>, XmlError> {
    with_texts_within(document, Limits::ANSWER, depth, texts)
}

/// The same of a document of a kind that has its own limits.
pub fn with_texts_within(
    document: &[u8],
    limits: Limits,
    depth: usize,
    texts: &[(&str, &str)],
) -> Result<Vec<u8>, XmlError> {
    Element::parse_within(document, limits)?;
    let document = String::from_utf8_lossy(document);
    let mut reader = Reader::from_str(&document);
    let (mut written, mut copied, mut open) = (String::with_capacity(document.len()), 0, 0_usize);
    let mut replaces: Option<&str> = None;
    loop {
        let before = reader.buffer_position() as usize;
        let event = reader.read_event().map_err(|error| malformed(&error))?;
        let after = reader.buffer_position() as usize;
        let wanted = |start: &BytesStart<'_>| {
            let name = start.name();
            let name = local(name.as_ref()).to_owned();
            let wanted = texts.iter().find(|(wanted, _)| *wanted == name);
            wanted.map(|(_, text)| *text)
        };
        match event {
            Event::Start(start) => {
                if open == depth + 1
                    && let Some(text) = wanted(&start)
                {
                    written.push_str(document.get(copied..after).unwrap_or_default());
                    written.push_str(&sendable(text));
                    copied = after;
                    replaces = Some(text);
                }
                open += 1;
            }
            Event::Empty(start) => {
                if open == depth + 1
                    && let Some(text) = wanted(&start)
                {
                    let tag = document.get(before..after).unwrap_or_default();
                    let name =
                        String::from_utf8_lossy(start.name().into_inner().as_ref()).into_owned();
                    written.push_str(document.get(copied..before).unwrap_or_default());
                    written.push_str(tag.trim_end_matches("/>").trim_end());
                    let _ = write!(written, ">{}</{name}>", sendable(text));
                    copied = after;
                }
            }
            Event::End(_) => {
                open = open.saturating_sub(1);
                if open == depth + 1 && replaces.take().is_some() {
                    copied = before;
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    written.push_str(document.get(copied..).unwrap_or_default());
    Ok(written.into_bytes())
}

/// A qualified name without its prefix.
pub fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

fn malformed(error: &quick_xml::Error) -> XmlError {
    XmlError::Malformed(error.to_string())
}

/// One answer: a page of a search, or all recordings of a large recorder.
pub const DOCUMENT_BYTES_MAX: usize = 8 << 20;
const ELEMENTS_MAX: usize = 200_000;
const ATTRIBUTES_MAX: usize = 64;
const DEPTH_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_local_and_texts_are_whole() {
        let document = "\u{feff}<?xml version='1.0'?>\n<!-- hello --><SOAP-ENV:Envelope xmlns:SOAP-ENV='x' xmlns:t='y'>\
            <t:Name t:kind=\"a&amp;b\"> Gate &lt;1&gt; &#x41;&#66;<![CDATA[ <raw> ]]></t:Name><t:Empty/></SOAP-ENV:Envelope>\n";
        let root = Element::parse(document.as_bytes()).unwrap();
        assert_eq!(root.name(), "Envelope");
        let name = root.child("Name").unwrap();
        assert_eq!(name.value(), Some("Gate <1> AB <raw>"));
        assert_eq!(name.attribute("kind"), Some("a&b"));
        assert_eq!(root.text("Empty"), None);
        assert_eq!(root.children().count(), 2);
        assert!(root.at(&["Name", "None"]).is_none());
    }

    #[test]
    fn what_could_hurt_is_refused() {
        let bomb = "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;&b;\">]><a>&c;</a>";
        let external = "<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>";
        let deep = "<a>".repeat(DEPTH_MAX + 1) + &"</a>".repeat(DEPTH_MAX + 1);
        let many = format!("<a>{}</a>", "<b/>".repeat(ELEMENTS_MAX));
        let attributes = " a=''".repeat(ATTRIBUTES_MAX + 1);
        let long = format!("<a>{}</a>", "x".repeat(TEXT_BYTES_MAX + 1));
        let split = format!("<a>{}</a>", "x&amp;".repeat(TEXT_BYTES_MAX / 2 + 1));
        let endless = " ".repeat(DOCUMENT_BYTES_MAX + 1);
        for (document, error) in [
            (bomb, XmlError::DocumentType),
            (external, XmlError::DocumentType),
            ("<a>&b;</a>", XmlError::Entity),
            ("<a b='&c;'/>", XmlError::Entity),
            (&deep, XmlError::TooDeep),
            (&many, XmlError::TooMany),
            (&format!("<a{attributes}/>"), XmlError::TooMany),
            (&long, XmlError::TextTooLong),
            (&split, XmlError::TextTooLong),
            (&endless, XmlError::TooLong),
            ("<\0a\0>\0", XmlError::Encoding),
            ("", XmlError::NotOne),
            ("<a><b></b>", XmlError::NotOne),
            ("<a/><b/>", XmlError::NotOne),
            ("junk <a/>", XmlError::NotOne),
        ] {
            let read = Element::parse(document.as_bytes());
            assert_eq!(read, Err(error), "{}", &document[..document.len().min(60)]);
        }
        for document in ["<a></b>", "<a", "</a>", "<a b=c d></a><"] {
            assert!(Element::parse(document.as_bytes()).is_err(), "{document}");
        }
    }

    #[test]
    fn other_encodings_lose_only_their_own_characters() {
        let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><a><b>T\xFCr</b><c>7</c></a>";
        let root = Element::parse(latin).unwrap();
        assert_eq!(root.text("b"), Some("T\u{fffd}r"));
        assert_eq!(root.text("c"), Some("7"));
    }

    #[test]
    fn texts_are_replaced_and_all_else_stays() {
        let document = "<?xml version='1.0'?>\n<m  a = 'b'><!-- id --><id>7</id><t><id>8</id></t><x:id/><e a='&amp;'>1 &lt; 2</e><id><![CDATA[<id>]]></id></m>";
        let read = |depth, texts: &[(&str, &str)]| {
            String::from_utf8(with_texts(document.as_bytes(), depth, texts).unwrap()).unwrap()
        };
        assert_eq!(read(0, &[]), document);
        assert_eq!(
            read(0, &[("id", "<&>"), ("none", "x")]),
            "<?xml version='1.0'?>\n<m  a = 'b'><!-- id --><id>&lt;&amp;&gt;</id><t><id>8</id></t><x:id>&lt;&amp;&gt;</x:id><e a='&amp;'>1 &lt; 2</e><id>&lt;&amp;&gt;</id></m>"
        );
        assert_eq!(read(1, &[("id", "9")]), document.replace('8', "9"));
        assert_eq!(read(0, &[("t", "")]), document.replace("<id>8</id>", ""));
        assert_eq!(
            with_texts(b"<!DOCTYPE a><a/>", 0, &[]),
            Err(XmlError::DocumentType)
        );
    }

    #[test]
    fn what_is_sent_is_escaped() {
        let markup = Markup::node_with(
            "a",
            &[("k", "\"<'&")],
            [Markup::text("b", "x</b>\u{1}&"), Markup::text("c", "")],
        );
        let sent = String::from_utf8(markup.document()).unwrap();
        assert_eq!(
            sent,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><a k=\"&quot;&lt;&apos;&amp;\"><b>x&lt;/b&gt;&amp;</b><c/></a>"
        );
        let read = Element::parse(sent.as_bytes()).unwrap();
        assert_eq!(read.attribute("k"), Some("\"<'&"));
    }
}
