//! Claims to sessions of other frameworks. Most lie in the store; some in a table of the directory. What is ours about them
//! lies in both: while the store is away the directory says what was ended here, and of a session in a table all there is
//! to know. Everything else (copies, flights, users and platforms) is as for sessions of ours.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::entities::Entities;
use super::freshness::UNTOLD_LIFETIME;
use super::loader::TableKey;
use super::{EntityKey, Layers, Resolver, Stop, reason_of, result_of};
use crate::cache::copies::PairKey;
use crate::cache::marks::Name;
use crate::cache::proof::{Proof, Reading, Source};
use crate::clock::Timestamp;
use crate::context::{
    Context, ForeignRecord, LastUse, Layer, Password, PasswordClaim, Resolution, Session, SessionId, User,
};
use crate::directory::TableSession;
use crate::formats::table::{Row, Table};
use crate::formats::{Claimed, Format, Refusal};
use crate::reason::Reason;
use crate::session::lifetime;
use crate::session::profile::Candidate;
use crate::store::Lookup;
use crate::store::foreign::{ForeignAnswer, ForeignKey, kept_beside, needs_renewal};
use crate::telemetry::metrics::LookupResult;

impl Resolver {
    /// Resolves the first of several claims that holds. One that cannot be judged ends the search: the next could be
    /// somebody else.
    pub async fn resolve_first(&self, candidates: &[Candidate], deadline: Instant) -> Resolution {
        let mut first = None;
        for candidate in candidates {
            let resolution = match candidate {
                Candidate::Native(id) => self.resolve(id, deadline).await,
                Candidate::Foreign(format, claimed) => self.resolve_foreign(format, claimed, deadline).await,
            };
            match resolution {
                Resolution::Unknown(reason) => first = first.or(Some(reason)),
                decided => return decided,
            }
        }
        Resolution::Unknown(first.unwrap_or(Reason::NoCookie))
    }

    async fn resolve_foreign(
        &self,
        format: &Arc<Format>,
        claimed: &Claimed,
        deadline: Instant,
    ) -> Resolution {
        let now = self.layers.clock.now();
        let resolution = if claimed.ends.is_some_and(|end| end <= now) {
            Resolution::Unknown(Reason::SessionExpired)
        } else if let Some(resolution) = self.copy(&claimed.session) {
            resolution
        } else {
            self.ask_foreign(format, claimed, deadline).await
        };
        self.outcomes[super::outcome(&resolution)].inc();
        resolution
    }

    async fn ask_foreign(&self, format: &Arc<Format>, claimed: &Claimed, deadline: Instant) -> Resolution {
        let layers = &self.layers;
        let flight = layers
            .copies
            .flights()
            .run(&claimed.session, || Arc::clone(layers).read_foreign(Arc::clone(format), claimed.clone()));
        let deadline = deadline.min(Instant::now() + layers.settings.budget);
        match timeout_at(deadline, flight).await {
            Ok(Resolution::Known(context)) if context.session.id != claimed.session => {
                Resolution::Undetermined(Reason::Internal)
            }
            Ok(resolution) => resolution,
            Err(_) => Resolution::Undetermined(Reason::StoreTimeout),
        }
    }
}

impl Layers {
    /// One flight, with a whole budget of its own.
    async fn read_foreign(self: Arc<Self>, format: Arc<Format>, claimed: Claimed) -> Resolution {
        let reading = self.copies.reading(&[Name::Session(&claimed.session)]);
        let finding = self.find_foreign(&format, &claimed, reading.clone());
        match timeout(self.settings.budget, finding).await {
            Ok(Ok((context, proof))) => {
                self.copies.keep(&context, proof, context.session.expires);
                Resolution::Known(Arc::new(context))
            }
            Ok(Err(Stop::Unknown(reason))) => {
                self.copies.keep_unknown(&claimed.session, reading, reason);
                Resolution::Unknown(reason)
            }
            Ok(Err(Stop::Undetermined(reason))) => Resolution::Undetermined(reason),
            Err(_) => Resolution::Undetermined(Reason::StoreTimeout),
        }
    }

    async fn find_foreign(
        self: &Arc<Self>,
        format: &Format,
        claimed: &Claimed,
        reading: Reading,
    ) -> Result<(Context, Proof), Stop> {
        let now = self.clock.now();
        let (answer, store_failure) = match self.ask_for_foreign(format, claimed).await {
            Ok(answer) => (answer, None),
            Err(reason) => (ForeignAnswer::NOTHING, Some(reason)),
        };
        let found = self.complete(format, claimed, answer, store_failure).await?;
        if found.answer.ended {
            self.renew_end(format, claimed, &found, now);
            return Err(Stop::Unknown(Reason::SessionEnded));
        }
        let Found { answer, row, .. } = &found;
        let read = session_of(format, claimed, answer, row.as_deref(), now).map_err(|reason| {
            // Only who was asked can say that it is not there.
            let is_open = reason == Reason::SessionNotFound && !is_in_table_alone(format);
            store_failure.filter(|_| is_open).map_or(Stop::Unknown(reason), Stop::Undetermined)
        })?;
        let (session, password) = read;
        let pair = PairKey { user: session.user.clone(), platform: session.platform.clone() };
        let key = EntityKey { pair, ask_store: store_failure.is_none() };
        let entities = self.entities_with(key, password.as_deref()).await?;
        check_user(
            &session,
            &entities.pair.user,
            answer.own.seen.is_some() || session.created < now,
            store_failure,
        )?;
        self.check_ends(&session)?;
        self.note_seen(&session, &found, lives(format, answer, row.as_deref(), now), now);
        let context = Context {
            session: Arc::new(session),
            user: Arc::clone(&entities.pair.user),
            platform: entities.pair.platform.clone(),
            platform_refused: entities.pair.platform_refused,
            // The framework decides when a session was idle for too long.
            last_seen: LastUse::at(now),
            layer: if row.is_some() { Layer::Directory } else { Layer::Store.max(entities.layer) },
            password,
        };
        let proof = match (&format.table, row) {
            _ if store_failure.is_some() => self.copies.proof(reading, Source::DirectoryAlone),
            (Some(table), Some(_)) => self.copies.proof_of_row(reading, self.age_of_row(table)),
            _ => self.copies.proof(reading, Source::Store),
        };
        Ok((context, proof.and(&entities.pair.proof)))
    }

    /// What a session refers to, and whether its user has the password with which it began. Nobody is refused by what may
    /// be older than the session: a user who has just changed the password is read again, from the directory itself.
    pub(super) async fn entities_with(
        self: &Arc<Self>,
        key: EntityKey,
        password: Option<&PasswordClaim>,
    ) -> Result<Entities, Stop> {
        let entities = self.entities_of(key.clone()).await?;
        let judge = |entities: &Entities| {
            password.map_or(Password::Same, |claim| claim.judge(&entities.pair.user.passwords))
        };
        if judge(&entities) == Password::Same {
            return Ok(entities);
        }
        let entities = Arc::clone(self).find_entities(EntityKey { ask_store: false, ..key }).await?;
        match judge(&entities) {
            Password::Same => Ok(entities),
            Password::Changed => Err(Stop::Unknown(Reason::PasswordChanged)),
            Password::Unsaid => Err(Stop::Undetermined(Reason::StoreUnavailable)),
        }
    }

    /// What the directory has of it: its row in a table, and what is ours about it where the store has nothing of that
    /// which the directory confirmed, or is away. Then only the directory can say whether it was ended here.
    async fn complete(
        &self,
        format: &Format,
        claimed: &Claimed,
        mut answer: ForeignAnswer,
        store_failure: Option<Reason>,
    ) -> Result<Found, Stop> {
        let is_open = !answer.ended && answer.own.version.is_none() && self.loader.keeps_foreign();
        let record =
            async { if is_open { self.loader.foreign_record(&claimed.session).await } else { Ok(None) } };
        let (row, record) = tokio::join!(self.row(format, claimed, &answer), record);
        let record = match (record, store_failure) {
            // Where the directory keeps nothing of that kind, only the store could say.
            (Ok(_), Some(reason)) if !is_open => return Err(Stop::Undetermined(reason)),
            (Err(_), Some(reason)) => return Err(Stop::Undetermined(reason)),
            (record, _) => record.unwrap_or_default(),
        };
        if let Some(record) = &record {
            answer.ended |= record.ended.is_some();
            answer.own.complete(record);
        }
        let row = if answer.ended { row.unwrap_or_default() } else { row? };
        answer.own.seen = answer.own.seen.or_else(|| self.sightings.seen(&claimed.session));
        Ok(Found { answer, row, record, store_failure })
    }

    /// Asks the table, where the session may lie there and the store has not said all.
    async fn row(
        &self,
        format: &Format,
        claimed: &Claimed,
        answer: &ForeignAnswer,
    ) -> Result<Option<Arc<TableSession>>, Stop> {
        let (Some(table), Some(key)) = (&format.table, &claimed.row) else { return Ok(None) };
        if answer.ended || answer.session != Lookup::Missing {
            return Ok(None);
        }
        let query = Arc::clone(&table.query);
        self.loader.table_session(&TableKey { session: claimed.session, key: key.clone(), query }).await
    }

    /// How long a row is believed without being read again. Its triggers name the row and not a key of Redis, so that
    /// what lies in both is never told of.
    fn age_of_row(&self, table: &Table) -> Duration {
        let is_told =
            !table.behind_store && !self.freshness.is_untold() && self.loader.tells_of(&table.query);
        if is_told { UNTOLD_LIFETIME } else { self.copies.settings().degraded_lease }
    }

    async fn ask_for_foreign(&self, format: &Format, claimed: &Claimed) -> Result<ForeignAnswer, Reason> {
        let key = key_of(format, claimed);
        let answer = self.ask_store(self.store.foreign_session(&key)).await.map_err(|error| {
            self.metrics.count_lookup("session", Layer::Store, LookupResult::Failed);
            reason_of(error)
        })?;
        self.metrics.count_lookup("session", Layer::Store, result_of(&answer.session));
        Ok(answer)
    }

    /// Keeps the word of an end from running out before the session does, beside the request; and brings it to a store
    /// that has lost it.
    fn renew_end(self: &Arc<Self>, format: &Format, claimed: &Claimed, found: &Found, now: Timestamp) {
        let answer = &found.answer;
        if let Some(record) = found.record.as_ref().filter(|_| found.store_failure.is_none()) {
            self.refill.ended(claimed.session, record.kept_until, now);
        }
        let Lives::There(lives) = lives(format, answer, found.row.as_deref(), now) else { return };
        if needs_renewal(answer.ended_lives, lives) {
            let kept_until = now.plus(kept_beside(lives));
            self.refill.ended(claimed.session, kept_until, now);
            // Whose it is was not read, and need not be.
            self.sightings
                .note(ForeignRecord { ended: Some(now), ..seen_now(claimed.session, kept_until, now) });
        }
    }

    /// Has it noted that the session was seen, and what is ours about it kept for as long as it may live.
    fn note_seen(self: &Arc<Self>, session: &Session, found: &Found, lives: Lives, now: Timestamp) {
        let (own, Lives::There(lives)) = (&found.answer.own, lives) else { return };
        let is_noted = match found.store_failure {
            Some(_) => found.record.is_some(),
            None => own.version.is_some() || own.seen.is_some() && !self.loader.keeps_foreign(),
        };
        if !is_noted || needs_renewal(own.lives, lives) {
            self.sightings.note(ForeignRecord {
                user: Some(session.user.clone()),
                seen: own.seen.unwrap_or(now),
                platform: own.platform.clone(),
                ..seen_now(session.id, now.plus(kept_beside(lives)), now)
            });
        }
    }
}

/// A foreign session as far as store and directory say.
struct Found {
    answer: ForeignAnswer,
    row: Option<Arc<TableSession>>,
    /// What the directory keeps of it, if it was asked.
    record: Option<ForeignRecord>,
    /// Why the store could not be asked.
    store_failure: Option<Reason>,
}

fn seen_now(id: SessionId, kept_until: Timestamp, now: Timestamp) -> ForeignRecord {
    ForeignRecord { id, user: None, seen: now, platform: None, ended: None, kept_until, version: 0 }
}

/// Whether its row is all that there can be of a session.
fn is_in_table_alone(format: &Format) -> bool {
    format.table.is_some() && !format.is_in_store()
}

/// Whether the user's moment of "log out everywhere" concerns the session; for that it has to be known when it began. What
/// nobody has seen before begins now, but without the store it is not certain that nobody has.
fn check_user(
    session: &Session,
    user: &User,
    has_begun: bool,
    store_failure: Option<Reason>,
) -> Result<(), Stop> {
    lifetime::check_user(session, user).map_err(Stop::Unknown)?;
    match store_failure {
        Some(reason) if !has_begun && user.sessions_valid_after.is_some() => Err(Stop::Undetermined(reason)),
        _ => Ok(()),
    }
}

/// How long a session still lives where it lies.
#[derive(Clone, Copy)]
enum Lives {
    /// It is not there, or nobody asked whether it is.
    Gone,
    /// So long, or for ever.
    There(Option<Duration>),
}

fn lives(format: &Format, answer: &ForeignAnswer, row: Option<&TableSession>, now: Timestamp) -> Lives {
    match (&answer.session, row) {
        (Lookup::Found(_), _) => Lives::There(answer.lives),
        (_, Some(row)) => Lives::There(Some(row.ends.since(now))),
        // A row that was ended here is not asked for any more, and may be renewed for ever.
        _ if answer.ended && format.table.is_some() => Lives::There(None),
        _ => Lives::Gone,
    }
}

/// Where it lies.
pub(super) fn key_of(format: &Format, claimed: &Claimed) -> ForeignKey {
    let key = format.is_in_store().then(|| claimed.key.clone());
    ForeignKey { id: claimed.session, key, is_hash: format.decoder.reads_hash() }
}

/// The session as the rest of the proxy sees it, and what it says of the user's password, where that is compared.
pub(super) fn session_of(
    format: &Format,
    claimed: &Claimed,
    answer: &ForeignAnswer,
    row: Option<&TableSession>,
    now: Timestamp,
) -> Result<(Session, Option<Box<PasswordClaim>>), Reason> {
    let found = match (&answer.session, &format.table, row) {
        (Lookup::Found(raw), ..) => format.read(raw, answer.lives.map(|lives| now.plus(lives)), now),
        (_, Some(table), Some(row)) => table.read(row_of(row), now),
        (Lookup::Missing, ..) => return Err(Reason::SessionNotFound),
        (Lookup::Unreadable, ..) => return Err(Reason::ForeignUnreadable),
    };
    let found = found.map_err(reason_of_refusal)?;
    let password = format.passwords.as_ref().zip(found.password);
    let password = password.map(|(keys, digest)| Box::new(PasswordClaim::new(Arc::clone(keys), digest)));
    let session = Session {
        id: claimed.session,
        user: found.user,
        platform: answer.own.platform.clone().unwrap_or(found.platform),
        created: found.created.or(answer.own.seen).unwrap_or(now),
        // Who does not say when the user logged in has not shown that it was recently.
        authenticated: found.authenticated.unwrap_or_default(),
        expires: found.ends,
        predecessor: None,
        successor: None,
        actor: None,
        version: Session::FOREIGN,
    };
    Ok((session, password))
}

/// A row as its format reads it.
pub(super) fn row_of(row: &TableSession) -> Row<'_> {
    Row {
        data: row.data.as_deref(),
        ends: row.ends,
        user: row.user.as_deref(),
        platform: row.platform.as_deref(),
        created: row.created,
    }
}

const fn reason_of_refusal(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::Expired | Refusal::Endless => Reason::SessionExpired,
        Refusal::Inactive => Reason::SessionEnded,
        Refusal::Anonymous => Reason::SessionAnonymous,
        Refusal::Passwordless => Reason::PasswordChanged,
        _ => Reason::ForeignUnreadable,
    }
}
