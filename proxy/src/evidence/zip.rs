//! A clip and its manifest as one download: a ZIP archive of both, stored as they are.
//!
//! It is written as it comes: what was stored follows behind its bytes (APPNOTE 4.4.4, bit 3), with 64-bit lengths throughout.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use zip::write::{SimpleFileOptions, StreamWriter};
use zip::{CompressionMethod, ZipWriter};

/// An archive in the making.
pub struct Zipped {
    writer: ZipWriter<StreamWriter<Drain>>,
    drain: Drain,
}

/// Where the writer puts its bytes until they are taken.
#[derive(Clone, Debug, Default)]
struct Drain(Arc<Mutex<Vec<u8>>>);

impl Write for Drain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drain {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().expect("nobody panics while it writes")
    }
}

impl Zipped {
    /// An archive with nothing in it.
    pub fn new() -> Self {
        let drain = Drain::default();
        Zipped {
            writer: ZipWriter::new_stream(drain.clone()),
            drain,
        }
    }

    /// A file begins.
    pub fn begin(&mut self, name: &str) -> io::Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(true);
        self.writer
            .start_file(name, options)
            .map_err(io::Error::other)
    }

    /// Bytes of the file; what is to be sent by then.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<Bytes> {
        self.writer.write_all(bytes)?;
        Ok(self.taken())
    }

    /// The end of the archive.
    pub fn finish(mut self) -> io::Result<Bytes> {
        // Taken before, so that what is written from here on is behind it.
        let mut rest = Vec::from(self.taken());
        let drain = self.drain.clone();
        self.writer.finish().map_err(io::Error::other)?;
        rest.append(&mut drain.lock());
        Ok(rest.into())
    }

    fn taken(&mut self) -> Bytes {
        std::mem::take(&mut *self.drain.lock()).into()
    }
}

impl Default for Zipped {
    fn default() -> Self {
        Self::new()
    }
}
