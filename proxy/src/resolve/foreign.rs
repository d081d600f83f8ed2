//! Claims to sessions of other frameworks: the store is the only source. While it is away nobody can say, and no row in
//! the directory says nothing. Everything else (copies, flights, users and platforms) is as for sessions of ours.

use std::sync::Arc;

use tokio::time::{Instant, timeout, timeout_at};

use super::{EntityKey, Layers, Resolver, Stop, reason_of, result_of};
use crate::cache::copies::PairKey;
use crate::cache::marks::Name;
use crate::cache::proof::{Proof, Reading, Source};
use crate::clock::Timestamp;
use crate::context::{Context, Layer, Resolution, Session};
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
        let answer = self.ask_for_foreign(format, claimed).await?;
        self.renew(claimed, &answer, now);
        if answer.ended {
            return Err(Stop::Unknown(Reason::SessionEnded));
        }
        let session = session_of(format, claimed, &answer, now).map_err(Stop::Unknown)?;
        let pair = PairKey { user: session.user.clone(), platform: session.platform.clone() };
        let entities = self.entities_of(EntityKey { pair, ask_store: true }).await?;
        lifetime::check_user(&session, &entities.pair.user).map_err(Stop::Unknown)?;
        self.check_ends(&session)?;
        let context = Context {
            session: Arc::new(session),
            user: Arc::clone(&entities.pair.user),
            platform: entities.pair.platform.clone(),
            platform_refused: entities.pair.platform_refused,
            // The framework decides when a session was idle for too long.
            last_seen: now,
            layer: Layer::Store.max(entities.layer),
        };
        Ok((context, self.copies.proof(reading, Source::Store).and(&entities.pair.proof)))
    }

    async fn ask_for_foreign(&self, format: &Format, claimed: &Claimed) -> Result<ForeignAnswer, Stop> {
        let key = key_of(format, claimed);
        let answer = self.ask_store(self.store.foreign_session(&key)).await.map_err(|error| {
            self.metrics.count_lookup("session", Layer::Store, LookupResult::Failed);
            Stop::Undetermined(reason_of(error))
        })?;
        self.metrics.count_lookup("session", Layer::Store, result_of(&answer.session));
        Ok(answer)
    }

    /// Keeps what is ours from running out before the session does, beside the request.
    fn renew(self: &Arc<Self>, claimed: &Claimed, answer: &ForeignAnswer, now: Timestamp) {
        if !matches!(answer.session, Lookup::Found(_)) {
            return;
        }
        let kept = kept_beside(answer.lives);
        if answer.ended && needs_renewal(answer.ended_lives, answer.lives) {
            self.refill.ended(claimed.session, now.plus(kept), now);
        }
        if !answer.ended && (answer.own.seen.is_none() || needs_renewal(answer.own.lives, answer.lives)) {
            self.refill.foreign_seen(claimed.session, now, kept);
        }
    }
}

/// Where it lies.
pub(super) fn key_of(format: &Format, claimed: &Claimed) -> ForeignKey {
    ForeignKey { id: claimed.session, key: claimed.key.clone(), is_hash: format.decoder.reads_hash() }
}

/// The session as the rest of the proxy sees it.
pub(super) fn session_of(
    format: &Format,
    claimed: &Claimed,
    answer: &ForeignAnswer,
    now: Timestamp,
) -> Result<Session, Reason> {
    let raw = match &answer.session {
        Lookup::Found(raw) => raw,
        Lookup::Missing => return Err(Reason::SessionNotFound),
        Lookup::Unreadable => return Err(Reason::ForeignUnreadable),
    };
    let ends = answer.lives.map(|lives| now.plus(lives));
    let found = format.read(raw, ends, now).map_err(reason_of_refusal)?;
    Ok(Session {
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
    })
}

const fn reason_of_refusal(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::Expired | Refusal::Endless => Reason::SessionExpired,
        Refusal::Inactive => Reason::SessionEnded,
        Refusal::Anonymous => Reason::SessionAnonymous,
        _ => Reason::ForeignUnreadable,
    }
}
