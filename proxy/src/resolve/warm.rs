//! Reading ahead: sessions that were used lately when a proxy starts, and users and platforms whose records near their end
//! in the store. Never in the way of a request, and given up at the first sign of trouble.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::iter;
use tokio::time::{Instant, sleep};

use super::{Layers, Resolver};
use crate::context::{Platform, Resolution, User};
use crate::store::{Entity, EntityKey};

/// Sessions that are read ahead at the same time.
const AT_ONCE: usize = 8;
/// How long a start waits for a store that can be believed.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
const GLANCE: Duration = Duration::from_millis(100);

impl Resolver {
    /// Reads `most` sessions ahead, those that were used last by whatever proxy. Stops when the stores cannot say.
    /// Answers how many were valid.
    pub async fn warm(&self, most: usize) -> usize {
        let begin = Instant::now();
        while self.layers.store.doubts().is_some_and(|doubts| doubts.is_doubtful()) {
            if begin.elapsed() > LONGEST_WAIT {
                return 0;
            }
            sleep(GLANCE).await;
        }
        let Ok(sessions) = self.layers.store.recently_used(most).await else { return 0 };
        let resolutions = iter(sessions).map(|id| async move {
            let deadline = Instant::now() + self.layers.settings.budget;
            self.resolve(&id, deadline).await
        });
        let valid = resolutions
            .buffer_unordered(AT_ONCE)
            .take_while(|resolution| std::future::ready(!matches!(resolution, Resolution::Undetermined(_))))
            .filter(|resolution| std::future::ready(matches!(resolution, Resolution::Known(_))));
        let valid = valid.count().await;
        tracing::info!(sessions = valid, took = ?begin.elapsed(), "sessions were read ahead");
        valid
    }
}

impl Layers {
    /// Reads ahead what was found in the store and nears its end there.
    pub(super) fn refresh(self: &Arc<Self>, user: Option<&User>, platform: Option<&Platform>) {
        let user = user.filter(|user| self.freshness.is_due(&EntityKey::User(user.id.clone())));
        let platform =
            platform.filter(|platform| self.freshness.is_due(&EntityKey::Platform(platform.id.clone())));
        if user.is_none() && platform.is_none() {
            return;
        }
        let (user, platform) =
            (user.map(|user| user.id.clone()), platform.map(|platform| platform.id.clone()));
        let layers = Arc::clone(self);
        tokio::spawn(async move {
            let reading = layers.freshness.reading();
            let mut fresh = Vec::new();
            if let Some(id) = user {
                fresh.extend(layers.loader.user(&id).await.ok().flatten().map(Entity::User));
            }
            if let Some(id) = platform {
                fresh.extend(layers.loader.platform(&id).await.ok().flatten().map(Entity::Platform));
            }
            layers.refill.entities(fresh, reading);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::faults::Fault::Fails;
    use crate::cache::world::{COPIES, World};
    use crate::context::Layer;
    use crate::resolve::tests::resolver_over;

    #[tokio::test]
    async fn the_sessions_used_last_are_in_the_process_before_anybody_asks() {
        let world = World::new().await;
        let resolver =
            || resolver_over(&world, world.copies(&COPIES), &world.directory, Duration::from_secs(5));
        let mut ids = Vec::new();
        for second in 0..5 {
            let id = world.warm("ana", None).await;
            let at = world.now().plus(Duration::from_secs(second));
            world.store.inner().note_activity(&[(id, at)]).await.unwrap();
            ids.push(id);
        }
        let warmed = resolver();
        assert_eq!(warmed.warm(3).await, 3);
        for (place, id) in ids.iter().enumerate() {
            let is_here = matches!(warmed.copy(id), Some(Resolution::Known(context)) if context.layer == Layer::Process);
            assert_eq!(is_here, place >= 2, "{place}");
        }
        world.store.break_only("session", Fails);
        world.directory.break_all(Fails);
        assert_eq!(resolver().warm(3).await, 0, "it gives up");
    }
}
