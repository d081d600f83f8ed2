//! For tests: a real store or directory whose calls are counted, and fail or hang when told to. It answers nothing
//! of its own but "cannot be read".

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::clock::Timestamp;
use crate::context::{ForeignRecord, PasswordKeys, Platform, PlatformId, Session, SessionId, User, UserId};
use crate::directory::{
    AuditEntry, AuditPage, AuditRecord, Change, Changed, Changes, Directory, DirectoryError, Ledger, Page,
    Pair, Place, PutForeign, Replaced, SessionPage, SessionRow,
};
use crate::store::{
    Allowance, Backlog, Doubts, Entity, EntityAnswer, EntityKey, Event, EventId, Follower, Lease, Lookup,
    Progress, PutSession, Renewal, SessionAnswer, Store, StoreError, StoredSession, UnconfirmedEnd, Uses,
};

/// What befalls a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It cannot be made.
    Fails,
    /// It runs into its deadline.
    TimesOut,
    /// It is never answered.
    Hangs,
    /// It is answered, but not before the wrapper is let go.
    Held,
    /// What is found cannot be read (session and entity lookups of the store; else the same as `Fails`).
    Unreadable,
    /// A session is found under the key of another one.
    Misplaced,
}

/// Wraps a store or a directory.
#[derive(Debug)]
pub(crate) struct Faulty<T: ?Sized> {
    faults: Mutex<Vec<(&'static str, Fault)>>,
    calls: Mutex<Vec<&'static str>>,
    gate: Semaphore,
    inner: Arc<T>,
}

impl<T: ?Sized> Faulty<T> {
    pub(crate) fn around(inner: Arc<T>) -> Arc<Self> {
        let gate = Semaphore::new(0);
        Arc::new(Self { faults: Mutex::default(), calls: Mutex::default(), gate, inner })
    }

    /// From now on every call meets this fault.
    pub(crate) fn break_all(&self, fault: Fault) {
        self.faults.lock().push(("", fault));
    }

    /// From now on calls of one method meet this fault.
    pub(crate) fn break_only(&self, method: &'static str, fault: Fault) {
        self.faults.lock().push((method, fault));
    }

    /// From now on nothing fails.
    pub(crate) fn repair(&self) {
        self.faults.lock().clear();
    }

    /// Lets calls that are held go on, now and later.
    pub(crate) fn let_go(&self) {
        self.gate.close();
    }

    /// How often a method was called.
    pub(crate) fn calls(&self, method: &str) -> usize {
        self.calls.lock().iter().filter(|call| **call == method).count()
    }

    /// How often anything was called.
    pub(crate) fn all_calls(&self) -> usize {
        self.calls.lock().len()
    }

    /// The thing itself, past all faults.
    pub(crate) fn inner(&self) -> &T {
        &self.inner
    }

    async fn meet(&self, method: &'static str) -> Option<Fault> {
        self.calls.lock().push(method);
        let fault = self
            .faults
            .lock()
            .iter()
            .find(|(name, _)| name.is_empty() || *name == method)
            .map(|(_, fault)| *fault);
        match fault {
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::Held) => {
                // Closed is open: nobody ever gets a permit.
                assert!(self.gate.acquire().await.is_err());
                None
            }
            fault => fault,
        }
    }
}

impl Faulty<dyn Store> {
    async fn pass(&self, method: &'static str) -> Result<(), StoreError> {
        match self.meet(method).await {
            None => Ok(()),
            Some(Fault::TimesOut) => Err(StoreError::Timeout),
            Some(_) => Err(StoreError::Unavailable),
        }
    }
}

impl Faulty<dyn Directory> {
    async fn pass(&self, method: &'static str) -> Result<(), DirectoryError> {
        match self.meet(method).await {
            None => Ok(()),
            Some(Fault::TimesOut) => Err(DirectoryError::Timeout),
            Some(Fault::Unreadable) => Err(DirectoryError::Unreadable),
            Some(_) => Err(DirectoryError::Unavailable),
        }
    }
}

#[async_trait]
impl Store for Faulty<dyn Store> {
    async fn session(&self, id: &SessionId) -> Result<SessionAnswer, StoreError> {
        match self.meet("session").await {
            None => self.inner.session(id).await,
            Some(Fault::Unreadable) => {
                let answer = self.inner.session(id).await?;
                Ok(SessionAnswer { session: Lookup::Unreadable, ..answer })
            }
            Some(Fault::Misplaced) => {
                let mut answer = self.inner.session(id).await?;
                if let Lookup::Found(StoredSession::Live(session)) = &mut answer.session {
                    session.id = SessionId::of_token(b"another");
                }
                Ok(answer)
            }
            Some(Fault::TimesOut) => Err(StoreError::Timeout),
            Some(_) => Err(StoreError::Unavailable),
        }
    }

    async fn entities(
        &self,
        user: &UserId,
        platform: Option<&PlatformId>,
    ) -> Result<EntityAnswer, StoreError> {
        match self.meet("entities").await {
            None => self.inner.entities(user, platform).await,
            Some(Fault::Unreadable) => Ok(EntityAnswer {
                user: Lookup::Unreadable,
                platform: Lookup::Unreadable,
                user_platforms: Lookup::Unreadable,
            }),
            Some(Fault::TimesOut) => Err(StoreError::Timeout),
            Some(_) => Err(StoreError::Unavailable),
        }
    }

    async fn platforms(&self, ids: &[PlatformId]) -> Result<Vec<Lookup<Platform>>, StoreError> {
        self.pass("platforms").await?;
        self.inner.platforms(ids).await
    }

    async fn json(&self, key: &EntityKey) -> Result<Lookup<serde_json::Value>, StoreError> {
        self.pass("json").await?;
        self.inner.json(key).await
    }

    async fn put_session(
        &self,
        session: &Session,
        how: PutSession,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.pass("put_session").await?;
        self.inner.put_session(session, how, now).await
    }

    async fn end_sessions(
        &self,
        sessions: &[(SessionId, Timestamp)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.pass("end_sessions").await?;
        self.inner.end_sessions(sessions, now).await
    }

    async fn renew(&self, keys: &[EntityKey]) -> Result<Renewal, StoreError> {
        self.pass("forget").await?;
        self.inner.renew(keys).await
    }

    async fn put_renewed(
        &self,
        entities: &[Entity],
        renewal: &Renewal,
    ) -> Result<Vec<EntityKey>, StoreError> {
        self.pass("put_entities").await?;
        self.inner.put_renewed(entities, renewal).await
    }

    async fn put_entities(&self, entities: &[Entity]) -> Result<Vec<EntityKey>, StoreError> {
        self.pass("put_entities").await?;
        self.inner.put_entities(entities).await
    }

    fn limit_entities(&self, at_most: Option<Duration>) -> Duration {
        self.inner.limit_entities(at_most)
    }

    async fn forget(&self, keys: &[EntityKey]) -> Result<(), StoreError> {
        self.pass("forget").await?;
        self.inner.forget(keys).await
    }

    async fn note_activity(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), StoreError> {
        self.pass("note_activity").await?;
        self.inner.note_activity(seen).await
    }

    async fn user_sessions(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError> {
        self.pass("user_sessions").await?;
        self.inner.user_sessions(user).await
    }

    async fn append_events(&self, events: &[(UserId, Event)]) -> Result<(), StoreError> {
        self.pass("append_events").await?;
        self.inner.append_events(events).await
    }

    async fn events(&self, wanted: &[(UserId, Option<EventId>)]) -> Result<Vec<Backlog>, StoreError> {
        self.pass("events").await?;
        self.inner.events(wanted).await
    }

    async fn count_use(&self, user: &UserId, what: Allowance, window: Duration) -> Result<Uses, StoreError> {
        self.pass("count_use").await?;
        self.inner.count_use(user, what, window).await
    }

    fn follow(&self, follower: Arc<dyn Follower>, max_staleness: Duration) -> Arc<Lease> {
        self.inner.follow(follower, max_staleness)
    }

    async fn recently_used(&self, most: usize) -> Result<Vec<SessionId>, StoreError> {
        self.pass("recently_used").await?;
        self.inner.recently_used(most).await
    }

    async fn accept_end(
        &self,
        end: &UnconfirmedEnd,
        tombstones: &[(SessionId, Timestamp)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.pass("accept_end").await?;
        self.inner.accept_end(end, tombstones, now).await
    }

    async fn unconfirmed_ends(&self, most: usize) -> Result<Vec<UnconfirmedEnd>, StoreError> {
        self.pass("unconfirmed_ends").await?;
        self.inner.unconfirmed_ends(most).await
    }

    async fn confirm_ends(&self, ends: &[UnconfirmedEnd]) -> Result<(), StoreError> {
        self.pass("confirm_ends").await?;
        self.inner.confirm_ends(ends).await
    }

    fn doubts(&self) -> Option<Arc<Doubts>> {
        self.inner.doubts()
    }

    async fn progress(&self) -> Result<Progress, StoreError> {
        self.pass("progress").await?;
        self.inner.progress().await
    }

    async fn note_progress(&self, before: &Progress, upto: &str, now: Timestamp) -> Result<(), StoreError> {
        self.pass("note_progress").await?;
        self.inner.note_progress(before, upto, now).await
    }

    async fn ping(&self) -> Result<String, StoreError> {
        self.pass("ping").await?;
        self.inner.ping().await
    }
}

#[async_trait]
impl Directory for Faulty<dyn Directory> {
    fn password_keys(&self) -> Option<&PasswordKeys> {
        self.inner.password_keys()
    }

    fn mark_passwords_with(&self, keys: &PasswordKeys) -> bool {
        self.inner.mark_passwords_with(keys)
    }

    async fn sessions(&self, ids: &[SessionId]) -> Result<Vec<SessionRow>, DirectoryError> {
        self.pass("sessions").await?;
        self.inner.sessions(ids).await
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, DirectoryError> {
        self.pass("users").await?;
        self.inner.users(ids).await
    }

    async fn platforms(&self, ids: &[PlatformId]) -> Result<Vec<Platform>, DirectoryError> {
        self.pass("platforms").await?;
        self.inner.platforms(ids).await
    }

    async fn user_platforms(&self, users: &[UserId]) -> Result<Vec<Platform>, DirectoryError> {
        self.pass("user_platforms").await?;
        self.inner.user_platforms(users).await
    }

    async fn settings_of(&self, pairs: &[Pair]) -> Result<Vec<(Pair, serde_json::Value)>, DirectoryError> {
        self.pass("settings_of").await?;
        self.inner.settings_of(pairs).await
    }

    async fn stats_of(&self, pairs: &[Pair]) -> Result<Vec<(Pair, serde_json::Value)>, DirectoryError> {
        self.pass("stats_of").await?;
        self.inner.stats_of(pairs).await
    }

    fn ends_users(&self) -> bool {
        self.inner.ends_users()
    }

    fn keeps_foreign(&self) -> bool {
        self.inner.keeps_foreign()
    }

    async fn foreign_records(&self, ids: &[SessionId]) -> Result<Vec<ForeignRecord>, DirectoryError> {
        self.pass("foreign_records").await?;
        self.inner.foreign_records(ids).await
    }

    async fn put_foreign(
        &self,
        records: &[ForeignRecord],
        how: PutForeign,
        line: Option<&AuditEntry>,
    ) -> Result<Vec<ForeignRecord>, DirectoryError> {
        self.pass("put_foreign").await?;
        self.inner.put_foreign(records, how, line).await
    }

    async fn put_settings(
        &self,
        user: &UserId,
        platform: &PlatformId,
        settings: &serde_json::Value,
    ) -> Result<(), DirectoryError> {
        self.pass("put_settings").await?;
        self.inner.put_settings(user, platform, settings).await
    }

    async fn replace_settings(
        &self,
        user: &UserId,
        platform: &PlatformId,
        before: Option<&serde_json::Value>,
        after: &serde_json::Value,
        line: Option<&AuditEntry>,
    ) -> Result<Change<()>, DirectoryError> {
        self.pass("replace_settings").await?;
        self.inner.replace_settings(user, platform, before, after, line).await
    }

    async fn create_session(
        &self,
        session: &Session,
        replaces: Option<Replaced<'_>>,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<u64, DirectoryError> {
        self.pass("create_session").await?;
        self.inner.create_session(session, replaces, now, line).await
    }

    async fn rotate_session(
        &self,
        old: &SessionId,
        old_version: u64,
        successor: &Session,
        grace_until: Option<Timestamp>,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Change<()>, DirectoryError> {
        self.pass("rotate_session").await?;
        self.inner.rotate_session(old, old_version, successor, grace_until, now, line).await
    }

    async fn set_platform(
        &self,
        id: &SessionId,
        version: u64,
        platform: Option<&PlatformId>,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Change<Session>, DirectoryError> {
        self.pass("set_platform").await?;
        self.inner.set_platform(id, version, platform, now, line).await
    }

    async fn end_sessions(
        &self,
        ids: &[SessionId],
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<u64, DirectoryError> {
        self.pass("end_sessions").await?;
        self.inner.end_sessions(ids, now, line).await
    }

    async fn end_user_sessions(
        &self,
        user: &UserId,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Option<User>, DirectoryError> {
        self.pass("end_user_sessions").await?;
        self.inner.end_user_sessions(user, now, line).await
    }

    async fn sessions_of(&self, user: &UserId, now: Timestamp) -> Result<Vec<SessionRow>, DirectoryError> {
        self.pass("sessions_of").await?;
        self.inner.sessions_of(user, now).await
    }

    async fn note_activity(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), DirectoryError> {
        self.pass("note_activity").await?;
        self.inner.note_activity(seen).await
    }

    async fn audit(&self, entry: &AuditEntry) -> Result<(), DirectoryError> {
        self.pass("audit").await?;
        self.inner.audit(entry).await
    }

    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, DirectoryError> {
        self.pass("purge").await?;
        self.inner.purge(before, limit).await
    }

    async fn changes_after(&self, after: Place, most: u32) -> Result<Page, DirectoryError> {
        self.pass("changes_after").await?;
        self.inner.changes_after(after, most).await
    }

    async fn purge_changes(&self, before: Timestamp, limit: u32) -> Result<u64, DirectoryError> {
        self.pass("purge_changes").await?;
        self.inner.purge_changes(before, limit).await
    }

    async fn put_user(&self, user: &User) -> Result<(), DirectoryError> {
        self.pass("put_user").await?;
        self.inner.put_user(user).await
    }

    async fn put_platform(&self, platform: &Platform) -> Result<(), DirectoryError> {
        self.pass("put_platform").await?;
        self.inner.put_platform(platform).await
    }

    fn changes(&self) -> Option<Changes> {
        self.inner.changes()
    }

    fn connections(&self) -> u32 {
        self.inner.connections()
    }

    async fn ping(&self) -> Result<String, DirectoryError> {
        self.pass("ping").await?;
        self.inner.ping().await
    }
}

#[async_trait]
impl Ledger for Faulty<dyn Directory> {
    async fn list_sessions(
        &self,
        page: &SessionPage,
        now: Timestamp,
    ) -> Result<Vec<SessionRow>, DirectoryError> {
        self.pass("list_sessions").await?;
        self.inner.list_sessions(page, now).await
    }

    async fn sessions_like(&self, prefix: &str, limit: u32) -> Result<Vec<SessionRow>, DirectoryError> {
        self.pass("sessions_like").await?;
        self.inner.sessions_like(prefix, limit).await
    }

    async fn clear_platform(
        &self,
        platform: &PlatformId,
        limit: u32,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Vec<Session>, DirectoryError> {
        self.pass("clear_platform").await?;
        self.inner.clear_platform(platform, limit, now, line).await
    }

    async fn audit_log(&self, page: &AuditPage) -> Result<Vec<AuditRecord>, DirectoryError> {
        self.pass("audit_log").await?;
        self.inner.audit_log(page).await
    }

    async fn purge_audit(&self, before: Timestamp, limit: u32) -> Result<u64, DirectoryError> {
        self.pass("purge_audit").await?;
        self.inner.purge_audit(before, limit).await
    }

    async fn tell(&self, changed: &[Changed]) -> Result<(), DirectoryError> {
        self.pass("tell").await?;
        self.inner.tell(changed).await
    }
}
