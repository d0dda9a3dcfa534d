//! What management servers answered last, on disk: for when they are down, and the house was started since.
//!
//! Files are written whole and renamed, readable by the owner alone, bounded in length and number, and hold no password and no
//! token. What was written longer ago than [`AGE_MAX`] is no answer any more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use seamline_routing::RecorderId;
use seamline_xprotect::configuration::{self, Configuration};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock;

/// Rights are not believed for longer than this: a user may have been removed since.
pub(super) const AGE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Longest file. An answer in JSON may be somewhat longer than as it came.
const FILE_BYTES_MAX: u64 = 2 * configuration::LIMITS.bytes as u64;
/// Most files of a kind; behind that the oldest of the kind goes.
const FILES_MAX: usize = 2000;
/// What is told again as it was is written again when it is this old.
const SAME_AGAIN: Duration = Duration::from_secs(86_400);

/// A folder of answers.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    folder: Arc<Path>,
    /// Tells the faces apart that share a folder.
    face: Arc<str>,
}

/// What is kept, with who it was told to and when.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept<T> {
    /// For people, and against files that were renamed.
    pub(super) of: String,
    /// Unix microseconds.
    pub(super) at_us: i64,
    pub(super) what: T,
}

impl<T> Kept<T> {
    /// How far from now it was written, whichever way the clock was set since.
    fn age(&self) -> Option<Duration> {
        let age_us = clock::wall().as_micros().checked_sub(self.at_us)?;
        Some(Duration::from_micros(age_us.unsigned_abs()))
    }
}

impl Cache {
    /// Makes the folder.
    pub(super) fn open(folder: &Path, face: &str) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        Ok(Cache {
            folder: folder.into(),
            face: face.into(),
        })
    }

    /// Keeps what a site tells the house.
    pub(super) async fn keep_site(&self, recorder: &RecorderId, told: &Configuration) {
        self.keep("site", recorder.as_str(), told.clone()).await;
    }

    /// What a site told the house last.
    pub(super) async fn site(&self, recorder: &RecorderId) -> Option<Configuration> {
        self.kept("site", recorder.as_str()).await
    }

    /// Keeps an answer; that it cannot be kept is logged.
    pub(super) async fn keep<T: Serialize + Send + 'static>(
        &self,
        kind: &'static str,
        of: &str,
        what: T,
    ) {
        let (path, of) = (self.path(kind, of), of.to_owned());
        let folder = Arc::clone(&self.folder);
        let written = tokio::task::spawn_blocking(move || {
            let at_us = clock::wall().as_micros();
            let bytes = serde_json::to_vec(&Kept { of, at_us, what })?;
            if bytes.len() as u64 > FILE_BYTES_MAX {
                return Err(io::Error::other("longer than is kept"));
            }
            write(&folder, &path, kind, &bytes)
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(folder = %self.folder.display(), %error, "an answer of XProtect is not kept");
            }
            Err(error) => tracing::warn!(%error, "an answer of XProtect is not kept"),
        }
    }

    /// As [`Self::keep`], where it says something new: clients ask for some things each time they log in.
    pub(super) async fn keep_news(&self, kind: &'static str, of: &str, what: String) {
        let known: Option<Kept<String>> = self.read(kind, of).await;
        let is_known = known.is_some_and(|known| {
            known.what == what && known.age().is_some_and(|age| age < SAME_AGAIN)
        });
        if !is_known {
            self.keep(kind, of, what).await;
        }
    }

    /// What was kept, unless it is too old.
    pub(super) async fn kept<T: DeserializeOwned + Send + 'static>(
        &self,
        kind: &'static str,
        of: &str,
    ) -> Option<T> {
        self.read(kind, of).await.map(|kept| kept.what)
    }

    async fn read<T: DeserializeOwned + Send + 'static>(
        &self,
        kind: &'static str,
        of: &str,
    ) -> Option<Kept<T>> {
        let (path, of) = (self.path(kind, of), of.to_owned());
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            let file = File::open(path).ok()?;
            file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
            let kept: Kept<T> = serde_json::from_slice(&bytes).ok()?;
            let is_young = kept.age().is_some_and(|age| age <= AGE_MAX);
            (kept.of == of && is_young).then_some(kept)
        });
        read.await.ok().flatten()
    }

    /// Forgets an answer.
    pub(super) async fn forget(&self, kind: &'static str, of: &str) {
        let path = self.path(kind, of);
        let _ = tokio::task::spawn_blocking(move || fs::remove_file(path)).await;
    }

    /// Names of users and recorders may be anything; those of files are not.
    fn path(&self, kind: &str, of: &str) -> PathBuf {
        let mut digest = Sha256::new();
        for part in [&*self.face, kind, of] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let name: String = digest
            .finalize()
            .iter()
            .take(16)
            .fold(String::new(), |name, byte| name + &format!("{byte:02x}"));
        self.folder.join(format!("{kind}-{name}.json"))
    }
}

/// Whole or not at all.
fn write(folder: &Path, path: &Path, kind: &str, bytes: &[u8]) -> io::Result<()> {
    let random: u64 = rand::random();
    let beside = folder.join(format!(".{random:016x}.part"));
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
        return written;
    }
    make_room(folder, kind)
}

/// Removes the oldest files of a kind where there are too many.
fn make_room(folder: &Path, kind: &str) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let own = name.to_str().and_then(|name| name.strip_prefix(kind));
        let is_json = entry.path().extension().is_some_and(|ext| ext == "json");
        if is_json && own.is_some_and(|own| own.starts_with('-')) {
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    if files.len() > FILES_MAX {
        files.sort();
        for (_, path) in files.iter().take(files.len() - FILES_MAX) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use seamline_routing::Timestamp;

    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_there_again_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("deep/er"), "http://a").unwrap();
        cache
            .keep("user", "../../etc/passwd", "told".to_owned())
            .await;
        let kept = cache.kept::<String>("user", "../../etc/passwd").await;
        assert_eq!(kept.as_deref(), Some("told"));
        assert_eq!(cache.kept::<String>("user", "other").await, None);
        let other = Cache::open(&folder.path().join("deep/er"), "http://b").unwrap();
        assert_eq!(other.kept::<String>("user", "../../etc/passwd").await, None);
        let files: Vec<_> = fs::read_dir(&*cache.folder).unwrap().flatten().collect();
        assert_eq!(files.len(), 1);
        let mode = files[0].metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        cache.forget("user", "../../etc/passwd").await;
        assert_eq!(cache.kept::<String>("user", "../../etc/passwd").await, None);
    }

    #[tokio::test]
    async fn what_is_no_news_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), "http://a").unwrap();
        cache.keep_news("said", "guard", "one".to_owned()).await;
        let path = cache.path("said", "guard");
        let written = fs::read(&path).unwrap();
        cache.keep_news("said", "guard", "one".to_owned()).await;
        assert_eq!(fs::read(&path).unwrap(), written);
        cache.keep_news("said", "guard", "two".to_owned()).await;
        let kept = cache.kept::<String>("said", "guard").await;
        assert_eq!(kept.as_deref(), Some("two"));
        // Of another kind, whose files count by themselves.
        make_room(folder.path(), "sai").unwrap();
        assert!(path.exists());
    }

    #[tokio::test]
    async fn half_a_file_and_an_old_one_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), "http://a").unwrap();
        cache.keep("user", "guard", "told".to_owned()).await;
        let path = cache.path("user", "guard");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(cache.kept::<String>("user", "guard").await, None);
        let old = Timestamp::from_micros(clock::wall().as_micros() - 8 * 86_400_000_000);
        let kept = Kept {
            of: "guard".to_owned(),
            at_us: old.as_micros(),
            what: "told",
        };
        fs::write(&path, serde_json::to_vec(&kept).unwrap()).unwrap();
        assert_eq!(cache.kept::<String>("user", "guard").await, None);
    }
}
