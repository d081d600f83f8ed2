//! Whether files have changed, by what the file system says about them. Follows symbolic links, so that a link which is
//! pointed elsewhere (as orchestrators do with mounted secrets) is a change too.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells one state of a file from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The state of some files at one moment; a file that is not there has one too.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Marks(BTreeMap<PathBuf, Option<Mark>>);

impl Marks {
    /// Looks at `files`. Asks the file system, which may take its time.
    pub(super) fn of(files: &[PathBuf]) -> Self {
        Self(files.iter().map(|file| (file.clone(), mark(file))).collect())
    }

    /// These marks, and of `others` those of files that are not among them; only files of `others` count.
    pub(super) fn with(mut self, others: Self) -> Self {
        if others.0.is_empty() {
            return self;
        }
        self.0.retain(|file, _| others.0.contains_key(file));
        for (file, mark) in others.0 {
            self.0.entry(file).or_insert(mark);
        }
        self
    }

    /// The files that were looked at.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.0.keys().cloned().collect()
    }
}

fn mark(file: &Path) -> Option<Mark> {
    let found = std::fs::metadata(file).ok()?;
    Some(Mark {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::Marks;

    #[test]
    fn a_file_that_is_replaced_relinked_or_removed_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("one"), "same").unwrap();
        std::fs::write(path("other"), "same").unwrap();
        std::os::unix::fs::symlink(path("one"), path("link")).unwrap();
        let files = [path("link"), path("one"), path("missing")];
        let before = Marks::of(&files);
        assert_eq!(before, Marks::of(&before.files()));
        std::os::unix::fs::symlink(path("other"), path("new link")).unwrap();
        std::fs::rename(path("new link"), path("link")).unwrap();
        let relinked = Marks::of(&files);
        assert_ne!(before, relinked);
        std::fs::write(path("missing"), "here now").unwrap();
        let appeared = Marks::of(&files);
        assert_ne!(relinked, appeared);
        std::fs::remove_file(path("one")).unwrap();
        assert_ne!(appeared, Marks::of(&files));
    }
}
