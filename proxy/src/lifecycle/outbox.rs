//! Ends that the directory cannot take: the store accepts them, every proxy that reads it obeys them, and any proxy brings
//! them to the directory once that is back. Whoever accepted one remembers it, should the store lose it first.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Ended, Lifecycle, LifecycleError, Origin};
use crate::cache::Invalidate;
use crate::clock::Timestamp;
use crate::context::{ForeignRecord, SessionId, UserId};
use crate::directory::{AuditEntry, DirectoryError, PutForeign};
use crate::store::{Entity, EntityKey, Lookup, StoreError, UnconfirmedEnd};

/// Ends brought to the directory in one go.
const BATCH: usize = 64;
/// Ends of others that are looked at in one go. Of more, each look takes others.
const HEARD: usize = 1024;
/// How often ends that other proxies accepted are looked for if the store tells of none: one command to it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The waits before an attempt after an end was accepted here, or after one that failed: doubled from the first to the
/// last. A directory that only missed a deadline knows soon.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(1);

impl Lifecycle {
    /// Ends what is known without the directory. `session` is `None` for all sessions of the user.
    pub(super) async fn accept(
        &self,
        session: Option<SessionId>,
        user: &UserId,
        known: &[SessionId],
        origin: &Origin,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let end = UnconfirmedEnd {
            session,
            user: user.clone(),
            at: now,
            by: origin.by.clone(),
            from: origin.from.clone(),
            request_id: origin.request_id.clone(),
            foreign_until: None,
        };
        let until = now.plus(self.settings.absolute_timeout);
        self.accept_end(end, known, until, now).await
    }

    /// The same for a session of another framework.
    pub(super) async fn accept_foreign(
        &self,
        record: &ForeignRecord,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(user) = record.user.clone() else { return Err(StoreError::Unavailable) };
        let end = UnconfirmedEnd {
            session: Some(record.id),
            user,
            at: now,
            by: origin.by.clone(),
            from: origin.from.clone(),
            request_id: origin.request_id.clone(),
            foreign_until: Some(record.kept_until),
        };
        self.accept_end(end, &[record.id], record.kept_until, now).await
    }

    /// With tombstones for what is known to be concerned, kept until then.
    async fn accept_end(
        &self,
        end: UnconfirmedEnd,
        known: &[SessionId],
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let forget = || known.iter().for_each(|id| self.copies.session(id));
        forget();
        let tombstones: Vec<_> = known.iter().map(|id| (*id, until)).collect();
        if let Err(error) = self.store.accept_end(&end, &tombstones, now).await {
            tracing::warn!(%error, "an end could be neither confirmed nor accepted");
            return Err(error);
        }
        // First remembered, then dropped: a copy that is made in between is dropped, a later one is not made.
        self.copies.ends().accept(end, known);
        forget();
        self.count("end_accepted");
        tracing::warn!("an end was accepted that is not durable before the directory is back");
        Ok(())
    }

    /// The same for all sessions of a user that the store remembers, and by the user's moment there.
    pub(super) async fn accept_all(
        &self,
        user: &UserId,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<Ended, StoreError> {
        let remembered = self.store.user_sessions(user).await?;
        let stored = self.store.entities(user, None).await?.user;
        self.accept(None, user, &remembered, origin, now).await?;
        if let Lookup::Found(mut stored) = stored {
            stored.sessions_valid_after = stored.sessions_valid_after.max(Some(now));
            self.copies.user(user);
            let mut told =
                self.store.put_entities(&[Entity::User(stored)]).await.map(|written| written.len() == 1);
            if told == Ok(false) {
                // The user who lies there does not know of this moment.
                told = self.store.forget(&[EntityKey::User(user.clone())]).await.map(|()| true);
            }
            self.note_telling("entities", told.map(drop));
        }
        self.copies.user(user);
        self.copies.flights().forget_all();
        for _ in &remembered {
            self.count("ended");
        }
        Ok(Ended::Accepted)
    }

    /// Brings accepted ends to the directory, for ever: at once those that were accepted here, and what others accepted
    /// within a second. Likewise lines of the audit log that it has not taken.
    pub async fn keep_confirming(&self) {
        let mut pause = FIRST_WAIT;
        loop {
            let confirmed = self.confirm_accepted().await;
            if confirmed.is_err() {
                sleep(pause).await;
                pause = (pause * 2).min(LAST_WAIT);
                continue;
            }
            pause = FIRST_WAIT;
            self.write_waiting_lines().await;
            // More may wait where there were some.
            if confirmed == Ok(0) && timeout(LOOK_EVERY, self.copies.ends().accepted()).await.is_ok() {
                sleep(FIRST_WAIT).await;
            }
        }
    }

    /// Brings some of the accepted ends to the directory, whoever accepted them. Answers how many. Ending twice is ending
    /// once, so that several proxies may do this at the same time.
    ///
    /// # Errors
    /// `Undetermined` while the directory cannot take them; they stay where they are.
    pub async fn confirm_accepted(&self) -> Result<usize, LifecycleError> {
        let mut ends = self.hear().await;
        ends.truncate(BATCH);
        for own in self.copies.ends().some(BATCH) {
            if !ends.contains(&own) {
                ends.push(own);
            }
        }
        self.metrics.unconfirmed_ends.set(i64::try_from(ends.len()).unwrap_or(i64::MAX));
        for end in &ends {
            self.confirm(end).await?;
            self.copies.ends().confirmed(end, self.clock.now());
            if let Err(error) = self.store.confirm_ends(std::slice::from_ref(end)).await {
                tracing::debug!(%error, "an end that is durable stays listed, and will be confirmed again");
            }
        }
        if !ends.is_empty() {
            self.metrics.unconfirmed_ends.set(0);
            tracing::info!(ends = ends.len(), "ends that were accepted are durable now");
        }
        Ok(ends.len())
    }

    /// Obeys ends that others accept as soon as the store tells of one, for ever. Bringing one to the directory may take
    /// as long as the directory is away; obeying it must not wait for that.
    pub async fn keep_hearing(&self) {
        loop {
            self.copies.ends().told().await;
            self.hear().await;
            // Those that come to the directory are taken out one by one, by several proxies.
            sleep(FIRST_WAIT).await;
        }
    }

    /// What the store lists, obeyed here from now on: when the directory is back, it is asked before it knows of all of them.
    async fn hear(&self) -> Vec<UnconfirmedEnd> {
        let Ok(listed) = self.store.unconfirmed_ends(HEARD).await else { return Vec::new() };
        for end in self.copies.ends().hear(&listed, self.clock.now()) {
            match &end.session {
                Some(id) => self.copies.session(id),
                None => self.copies.user(&end.user),
            }
            self.copies.flights().forget_all();
        }
        listed
    }

    async fn confirm(&self, end: &UnconfirmedEnd) -> Result<(), LifecycleError> {
        let origin =
            Origin { by: end.by.clone(), from: end.from.clone(), request_id: end.request_id.clone() };
        if let Some(id) = &end.session {
            return self.confirm_one(id, end, &origin).await;
        }
        let (mut listed, user) = match self.end_everywhere(&end.user, &origin, end.at).await {
            Err(LifecycleError::Impossible(_)) => return Ok(()),
            ended => ended?,
        };
        listed.retain(|row| row.session.created <= end.at);
        self.tell_all_ended(user, &listed, self.clock.now()).await;
        Ok(())
    }

    async fn confirm_one(
        &self,
        id: &SessionId,
        end: &UnconfirmedEnd,
        origin: &Origin,
    ) -> Result<(), LifecycleError> {
        let mut line = origin.line("session_ended", end.at);
        (line.user, line.session) = (Some(end.user.clone()), Some(*id));
        if let Some(kept_until) = end.foreign_until {
            return self.confirm_foreign(id, end, kept_until, &line).await;
        }
        if let Some(row) = self.row(id).await? {
            line = origin.line_about("session_ended", &row.session, end.at);
        }
        // Of several proxies that bring it, the one that ends the session writes the line.
        let family = self.end_family(id, end.at, Some(&line)).await?;
        let _told = self.tell_ended(&family.ids, self.clock.now()).await;
        if !family.is_known {
            self.audit(&line).await;
        }
        Ok(())
    }

    async fn confirm_foreign(
        &self,
        id: &SessionId,
        end: &UnconfirmedEnd,
        kept_until: Timestamp,
        line: &AuditEntry,
    ) -> Result<(), LifecycleError> {
        let record = ForeignRecord {
            id: *id,
            user: Some(end.user.clone()),
            seen: end.at,
            platform: None,
            ended: Some(end.at),
            kept_until,
            version: 0,
        };
        match self.directory.put_foreign(std::slice::from_ref(&record), PutForeign::Change, Some(line)).await
        {
            Ok(_) => {}
            // Its place is gone: the tombstone is all there can be.
            Err(DirectoryError::ReadOnly) => self.audit(line).await,
            Err(error) => return Err(error.into()),
        }
        let _told = self.tell_foreign_ended(&record, self.clock.now()).await;
        Ok(())
    }
}
