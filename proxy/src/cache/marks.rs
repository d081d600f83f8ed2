//! The cells: one counter for each key of the store, shared by keys whose hashes meet. An invalidation marks a cell by
//! counting it up; a reading notes the counts before it begins and is believed while they stand. No locks, no eviction,
//! and no list of who depends on what.

use std::hash::{BuildHasher, Hash, RandomState};

use crate::context::{PlatformId, SessionId, UserId};
use crate::store::EntityKey;
use crate::sync::{AtomicU64, Ordering};

/// Cells: 8 MiB. With a thousand changes a second, a reading over four keys is read again for nothing once in four
/// minutes.
const CELLS: usize = 1 << 20;

/// What a cell is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Name<'a> {
    /// A session's record.
    Session(&'a SessionId),
    /// A user.
    User(&'a UserId),
    /// Which platforms a user has.
    UserPlatforms(&'a UserId),
    /// A platform.
    Platform(&'a PlatformId),
    /// A user's settings for a platform.
    Settings(&'a UserId, &'a PlatformId),
    /// A user's figures for a platform.
    Stats(&'a UserId, &'a PlatformId),
}

impl<'a> Name<'a> {
    /// The cell of an entity of the store.
    #[must_use]
    pub const fn of(key: &'a EntityKey) -> Self {
        match key {
            EntityKey::User(id) => Self::User(id),
            EntityKey::UserPlatforms(id) => Self::UserPlatforms(id),
            EntityKey::Platform(id) => Self::Platform(id),
            EntityKey::UserSettings(user, platform) => Self::Settings(user, platform),
            EntityKey::PlatformStats(user, platform) => Self::Stats(user, platform),
        }
    }
}

/// The count of one cell at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    cell: u32,
    count: Count,
}

/// A count in halves, so that it lies behind the number of its cell without a gap: a session has four.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Count([u32; 2]);

impl Count {
    #[expect(clippy::cast_possible_truncation, reason = "the upper half is the other one")]
    const fn of(count: u64) -> Self {
        Self([count as u32, (count >> 32) as u32])
    }
}

/// All cells of this process.
#[derive(Debug)]
pub(super) struct Marks {
    // Randomly keyed: nobody outside chooses which keys meet.
    hasher: RandomState,
    cells: Box<[AtomicU64]>,
    /// Counts what concerns everything.
    all: AtomicU64,
}

impl Marks {
    pub(super) fn new() -> Self {
        Self::with_cells(CELLS)
    }

    /// As many cells as wanted, at least one: fewer only cost readings.
    pub(super) fn with_cells(count: usize) -> Self {
        let cells = std::iter::repeat_with(|| AtomicU64::new(0)).take(count).collect();
        Self { hasher: RandomState::new(), cells, all: AtomicU64::new(0) }
    }

    /// Notes a count. This is what a placeholder is elsewhere: taken before the store is asked, it tells afterwards
    /// whether an invalidation overtook the answer.
    pub(super) fn look(&self, name: Name<'_>) -> Mark {
        let cell = self.cell_of(name);
        Mark { cell, count: Count::of(self.count(cell)) }
    }

    /// Marks a cell: whatever was noted of it does not stand any more.
    pub(super) fn strike(&self, name: Name<'_>) {
        let cell = usize::try_from(self.cell_of(name)).expect("a cell's number fits");
        self.cells[cell].fetch_add(1, Ordering::AcqRel);
    }

    /// Marks everything.
    pub(super) fn strike_all(&self) {
        self.all.fetch_add(1, Ordering::AcqRel);
    }

    /// The count of what concerned everything.
    pub(super) fn all(&self) -> u64 {
        self.all.load(Ordering::Acquire)
    }

    /// Whether no invalidation arrived since `mark` was noted.
    pub(super) fn stands(&self, mark: Mark) -> bool {
        Count::of(self.count(mark.cell)) == mark.count
    }

    fn count(&self, cell: u32) -> u64 {
        self.cells[usize::try_from(cell).expect("a cell's number fits")].load(Ordering::Acquire)
    }

    fn cell_of(&self, name: Name<'_>) -> u32 {
        let hash = self.hasher.hash_one(name);
        u32::try_from(hash % self.cells.len() as u64).expect("a number below 2^20 fits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stands_until_its_own_key_is_struck() {
        let marks = Marks::new();
        let (user, platform): (UserId, PlatformId) = ("7".parse().unwrap(), "7".parse().unwrap());
        let names = [Name::User(&user), Name::UserPlatforms(&user), Name::Platform(&platform)];
        for struck in names {
            let looked = names.map(|name| (name, marks.look(name)));
            marks.strike(struck);
            for (name, mark) in looked {
                // Two of three keys meet in one of a million cells about once in a million runs.
                assert_eq!(marks.stands(mark), name != struck, "{struck:?} and {name:?}");
            }
            assert!(marks.stands(marks.look(struck)));
        }
    }
}
