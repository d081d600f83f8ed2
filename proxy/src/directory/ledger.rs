//! What operators ask of a directory: lists in pages, clearing a platform everywhere, the audit log. Every query has an
//! index, every answer and every batch a limit; nothing here is on the way of a request.

use async_trait::async_trait;

use super::{AuditEntry, Changed, DirectoryError, SessionRow};
use crate::clock::Timestamp;
use crate::context::{PlatformId, Session, SessionId, UserId};

/// One page of the list of sessions, newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionPage {
    /// Only sessions of this user.
    pub user: Option<UserId>,
    /// Begins behind this session: when it began, and its id.
    pub after: Option<(Timestamp, SessionId)>,
    /// At most so many.
    pub limit: u32,
}

/// One page of the audit log, newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditPage {
    /// Only what concerns this user.
    pub user: Option<UserId>,
    /// Only what happened at this moment or later.
    pub since: Option<Timestamp>,
    /// Begins behind this line: when it was written, and its number.
    pub after: Option<(Timestamp, u64)>,
    /// At most so many.
    pub limit: u32,
}

/// One line of the audit log, as it was kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRecord {
    /// Its number; later lines have higher ones.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub event: String,
    /// Whose session.
    pub user: Option<UserId>,
    /// Which session.
    pub session: Option<SessionId>,
    /// Which platform.
    pub platform: Option<PlatformId>,
    /// Who did it.
    pub by: String,
    /// The client's address.
    pub from: Option<String>,
    /// The request that caused it.
    pub request_id: Option<String>,
}

/// What operators ask of a directory.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Sessions that have not ended, newest first.
    async fn list_sessions(
        &self,
        page: &SessionPage,
        now: Timestamp,
    ) -> Result<Vec<SessionRow>, DirectoryError>;

    /// Sessions whose id begins with `prefix`, ended ones included, in the order of their ids. The prefix may be any
    /// text; no id begins with one that is not base64url.
    async fn sessions_like(&self, prefix: &str, limit: u32) -> Result<Vec<SessionRow>, DirectoryError>;

    /// Clears the choice of `platform` from at most `limit` sessions that have not ended. Answers them as they stand;
    /// fewer than `limit` means that none is left. `line` is written for each, with its id and its user.
    async fn clear_platform(
        &self,
        platform: &PlatformId,
        limit: u32,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Vec<Session>, DirectoryError>;

    /// Reads the audit log, newest first.
    async fn audit_log(&self, page: &AuditPage) -> Result<Vec<AuditRecord>, DirectoryError>;

    /// Deletes at most `limit` lines of the audit log from before `before`, oldest first. Answers how many.
    async fn purge_audit(&self, before: Timestamp, limit: u32) -> Result<u64, DirectoryError>;

    /// Tells every proxy that listens to this directory that something must be read again. Nobody listens to an
    /// embedded one.
    async fn tell(&self, changed: &[Changed]) -> Result<(), DirectoryError>;
}
