//! The wire of XProtect, without I/O: the ImageServer protocol of recorders, GenericByteData, and the SOAP and JSON of
//! management servers.
//!
//! Bytes in, values out, within named limits; and back, for faces that speak the same.

mod answer;
pub mod asked;
mod call;
pub mod configuration;
mod framer;
pub mod gbd;
mod image;
pub mod json;
pub mod login;
pub mod merge;
pub mod ntlm;
pub mod recorder;
pub mod relay;
pub mod rewrite;
pub mod rights;
pub mod sequences;
pub mod soap;
pub mod stretches;
pub mod timeline;
pub mod wsdl;

pub use answer::{Answer, Connected, Span};
pub use call::{Call, Capabilities, Connect, Extras, Method, Pass};
pub use framer::{CallFramer, Framer, Incoming, Kept};
pub use image::{Content, ImageHead, multipart_end, part_head};

pub use seamline_xml::XmlError;

/// What stands behind every document and image.
pub const TERMINATOR: &[u8] = b"\r\n\r\n";

/// Why bytes are not what the protocol has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Neither a document nor an image begins here.
    #[error("neither a document nor an image begins where one must")]
    Start,
    /// A document or a head without end, or with too many lines.
    #[error("a {0} longer than is read")]
    TooLong(&'static str),
    /// A body or part of a length that no picture has, or without any.
    #[error("a body of {0} bytes, or of no length")]
    Length(u64),
    /// More parts than a group of pictures has.
    #[error("more parts than a group of pictures has")]
    Parts,
    /// What follows a body is not the terminator, or no boundary: the two sides do not agree where they are.
    #[error("out of step: what follows a body is not what must")]
    OutOfStep,
    /// A head with a line that says nothing.
    #[error("a head that cannot be read: {0}")]
    Head(String),
    /// A document that is none.
    #[error(transparent)]
    Xml(#[from] seamline_xml::XmlError),
    /// A document of another kind.
    #[error("a document that is no {0}")]
    Document(&'static str),
}
