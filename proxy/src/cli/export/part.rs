//! A clip that is not whole yet: `clip.mp4.part`, and beside it what it is to be.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use seamline_evidence::{Digest, Digester, Sealed};
use serde::{Deserialize, Serialize};

use super::Failed;

/// What a part is a part of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Purpose {
    pub(super) camera: String,
    pub(super) from: String,
    pub(super) to: String,
}

/// The file, written up to its end.
pub(super) struct Part {
    path: PathBuf,
    purpose_path: PathBuf,
    file: File,
    digester: Digester,
    length: u64,
}

const READ_BYTES: usize = 1024 * 1024;

impl Part {
    /// Takes up what an earlier try for the same purpose left, or begins.
    pub(super) fn open(output: &Path, purpose: &Purpose) -> Result<Self, Failed> {
        let path = beside(output, ".part");
        let purpose_path = beside(output, ".part.json");
        let known = fs::read(&purpose_path).ok();
        let known: Option<Purpose> = known.and_then(|json| serde_json::from_slice(&json).ok());
        let resumed = known.as_ref() == Some(purpose) && path.exists();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(!resumed)
            .open(&path)
            .map_err(Failed::file(&path))?;
        if !resumed {
            let json = serde_json::to_vec(purpose).expect("three texts have a JSON form");
            fs::write(&purpose_path, json).map_err(Failed::file(&purpose_path))?;
        }
        let (digester, length) = digest(&mut file).map_err(Failed::file(&path))?;
        if length > 0 {
            eprintln!("goes on behind {length} bytes of an earlier try");
        }
        Ok(Part {
            path,
            purpose_path,
            file,
            digester,
            length,
        })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn digest(&self) -> Digest {
        self.digester.clone().finish()
    }

    /// Writes behind what is there.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.file
            .write_all(bytes)
            .map_err(Failed::file(&self.path))?;
        self.digester.write(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Whether the bytes at an offset are these; past the end they are not.
    pub(super) fn holds(&mut self, offset: u64, bytes: &[u8]) -> Result<bool, Failed> {
        let mut there = vec![0; bytes.len()];
        let read = self
            .file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.file.read_exact(&mut there));
        let back = self.file.seek(SeekFrom::End(0));
        match read.and(back) {
            Ok(_) => Ok(there == bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(Failed::file(&self.path)(error)),
        }
    }

    /// Leaves only the first bytes.
    pub(super) fn cut(&mut self, length: u64) -> Result<(), Failed> {
        self.file
            .set_len(length)
            .and_then(|()| digest(&mut self.file))
            .map(|(digester, length)| {
                self.digester = digester;
                self.length = length;
            })
            .map_err(Failed::file(&self.path))
    }

    /// Gives clip and manifest their names, when both are on the disk: whoever sees the clip sees its manifest.
    pub(super) fn publish(
        self,
        sealed: &Sealed,
        output: &Path,
        manifest: &Path,
    ) -> Result<(), Failed> {
        self.file.sync_all().map_err(Failed::file(&self.path))?;
        let draft = beside(manifest, ".part");
        File::create(&draft)
            .and_then(|mut file| {
                file.write_all(&sealed.json)?;
                file.sync_all()
            })
            .map_err(Failed::file(&draft))?;
        fs::rename(&draft, manifest).map_err(Failed::file(manifest))?;
        fs::rename(&self.path, output).map_err(Failed::file(output))?;
        // The names are on the disk when the folder is.
        let folder = output
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(Failed::file(folder))?;
        let _ = fs::remove_file(&self.purpose_path);
        Ok(())
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Reads a file to its end.
fn digest(file: &mut File) -> io::Result<(Digester, u64)> {
    file.seek(SeekFrom::Start(0))?;
    let mut digester = Digester::default();
    let mut length = 0;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok((digester, length));
        };
        digester.write(bytes);
        length += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purpose(camera: &str) -> Purpose {
        Purpose {
            camera: camera.to_owned(),
            from: "a".to_owned(),
            to: "b".to_owned(),
        }
    }

    #[test]
    fn a_part_is_taken_up_for_its_own_purpose_only() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("clip.mp4");
        let mut part = Part::open(&output, &purpose("gate")).unwrap();
        part.write(b"hello ").unwrap();
        drop(part);
        let mut part = Part::open(&output, &purpose("gate")).unwrap();
        assert_eq!((part.length(), part.digest()), (6, Digest::of(b"hello ")));
        assert!(part.holds(0, b"hell").unwrap());
        assert!(!part.holds(0, b"help").unwrap());
        assert!(!part.holds(4, b"o world").unwrap(), "past its end");
        part.write(b"world").unwrap();
        assert_eq!(part.digest(), Digest::of(b"hello world"));
        part.cut(5).unwrap();
        part.write(b"!").unwrap();
        assert_eq!(part.digest(), Digest::of(b"hello!"));
        drop(part);
        let part = Part::open(&output, &purpose("yard")).unwrap();
        assert_eq!(part.length(), 0);
    }
}
