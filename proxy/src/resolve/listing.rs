//! Platforms for pages that list or name them: from the store while it may be believed, else from the directory in the
//! same queue as everything else. "None" is never mixed up with "could not find out".

use tokio::time::{Instant, timeout_at};

use super::freshness::Belief;
use super::{Layers, Resolver, Stop};
use crate::context::{Platform, PlatformId, UserId};
use crate::reason::Reason;
use crate::store::{Entity, EntityKey, Lookup};

impl Resolver {
    /// The active platforms of a user, the default first, by `deadline` or within the budget. Cancellation safe.
    ///
    /// # Errors
    /// The reason why the stores could not say: undetermined, never "none".
    pub async fn platforms(&self, user: &UserId, deadline: Instant) -> Result<Vec<Platform>, Reason> {
        self.in_time(self.layers.list(user), deadline).await
    }

    /// One platform, active or not; `None` when there is none or it is not this user's.
    ///
    /// # Errors
    /// As [`Self::platforms`].
    pub async fn platform_of(
        &self,
        user: &UserId,
        id: &PlatformId,
        deadline: Instant,
    ) -> Result<Option<Platform>, Reason> {
        let found = self.in_time(self.layers.platform(id), deadline).await?;
        Ok(found.filter(|platform| platform.id == *id && platform.user == *user))
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, Stop>>,
        deadline: Instant,
    ) -> Result<T, Reason> {
        let deadline = deadline.min(Instant::now() + self.layers.settings.budget);
        match timeout_at(deadline, work).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(Stop::Unknown(reason) | Stop::Undetermined(reason))) => Err(reason),
            Err(_) => Err(Reason::StoreTimeout),
        }
    }
}

impl Layers {
    async fn list(&self, user: &UserId) -> Result<Vec<Platform>, Stop> {
        if let Some(platforms) = self.stored_list(user).await {
            return Ok(platforms);
        }
        let reading = self.freshness.reading();
        let platforms = self.loader.user_platforms(user).await?;
        self.freshness.note_answer();
        let ids = platforms.iter().map(|platform| platform.id.clone()).collect();
        let mut entities = vec![Entity::UserPlatforms(user.clone(), ids)];
        entities.extend(platforms.iter().cloned().map(Entity::Platform));
        self.refill.entities(entities, reading);
        Ok(platforms)
    }

    /// The list as the store has it: only whole, and only if every part may be believed.
    async fn stored_list(&self, user: &UserId) -> Option<Vec<Platform>> {
        let answer = self.ask_store(self.store.entities(user, None)).await.ok()?;
        let Lookup::Found(ids) = answer.user_platforms else { return None };
        self.sound(&EntityKey::UserPlatforms(user.clone())).then_some(())?;
        if ids.is_empty() {
            return Some(Vec::new());
        }
        let found = self.ask_store(self.store.platforms(&ids)).await.ok()?;
        let all: Option<Vec<Platform>> =
            found.into_iter().map(|lookup| self.sound_platform(lookup)).collect();
        all.filter(|all| {
            all.len() == ids.len()
                && all.iter().zip(&ids).all(|(platform, id)| platform.id == *id)
                && all.iter().all(|platform| platform.active && platform.user == *user)
        })
    }

    async fn platform(&self, id: &PlatformId) -> Result<Option<Platform>, Stop> {
        let found = self.ask_store(self.store.platforms(std::slice::from_ref(id))).await;
        let stored = found.ok().and_then(|found| self.sound_platform(found.into_iter().next()?));
        if let Some(platform) = stored {
            return Ok(Some(platform));
        }
        let reading = self.freshness.reading();
        let platform = self.loader.platform(id).await?;
        self.freshness.note_answer();
        self.refill.entities(platform.clone().map(Entity::Platform).into_iter().collect(), reading);
        Ok(platform)
    }

    fn sound_platform(&self, lookup: Lookup<Platform>) -> Option<Platform> {
        let Lookup::Found(platform) = lookup else { return None };
        self.sound(&EntityKey::Platform(platform.id.clone())).then_some(platform)
    }

    fn sound(&self, key: &EntityKey) -> bool {
        self.freshness.judge(key) == Belief::Sound
    }
}
