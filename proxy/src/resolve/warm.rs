//! Reading ahead: sessions that were used lately when a proxy starts, and entities in use whose records near their end in
//! the store. Never in the way of a request, and given up at the first sign of trouble.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::iter;
use tokio::time::{Instant, sleep};

use super::{Layers, Resolver};
use crate::context::Resolution;
use crate::store::EntityKey;

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
    /// Reads ahead those of the entities used that near their end in the store.
    pub(super) fn refresh(self: &Arc<Self>, used: impl IntoIterator<Item = EntityKey>) {
        let due: Vec<EntityKey> = used.into_iter().filter(|key| self.freshness.is_due(key)).collect();
        if due.is_empty() {
            return;
        }
        let layers = Arc::clone(self);
        tokio::spawn(async move {
            let reading = layers.freshness.reading();
            let fresh = join_all(due.iter().map(|key| layers.load_entity(key))).await;
            layers.refill.entities(fresh.into_iter().flatten().collect(), reading);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::faults::Fault::{Fails, Held};
    use crate::cache::world::{COPIES, World};
    use crate::clock::Clock;
    use crate::context::Layer;
    use crate::directory::Directory;
    use crate::resolve::{MOST_CALLS, Settings};
    use crate::store::Store;

    #[tokio::test]
    async fn the_sessions_used_last_are_in_the_process_before_anybody_asks() {
        let world = World::new().await;
        let resolver = || {
            Resolver::new(
                world.copies(&COPIES),
                Arc::clone(&world.store) as Arc<dyn Store>,
                Arc::clone(&world.directory) as Arc<dyn Directory>,
                Arc::clone(&world.clock) as Arc<dyn Clock>,
                Arc::clone(&world.activity),
                world.settings.clone(),
                Settings { budget: Duration::from_secs(5) },
                Arc::clone(&world.metrics),
            )
        };
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

    #[tokio::test]
    async fn a_start_into_full_traffic_leaves_the_store_room_to_answer() {
        let world = World::new().await;
        let resolver = Arc::new(Resolver::new(
            world.no_copies(),
            Arc::clone(&world.store) as Arc<dyn Store>,
            Arc::clone(&world.directory) as Arc<dyn Directory>,
            Arc::clone(&world.clock) as Arc<dyn Clock>,
            Arc::clone(&world.activity),
            world.settings.clone(),
            Settings { budget: Duration::from_mins(1) },
            Arc::clone(&world.metrics),
        ));
        let mut ids = Vec::new();
        for _ in 0..300 {
            ids.push(world.warm("ana", Some("a1")).await);
        }
        world.store.break_only("session", Held);
        let requests: Vec<_> = ids
            .into_iter()
            .map(|id| {
                let resolver = Arc::clone(&resolver);
                tokio::spawn(
                    async move { resolver.resolve(&id, Instant::now() + Duration::from_mins(1)).await },
                )
            })
            .collect();
        while world.store.calls("session") < MOST_CALLS {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(20)).await;
        assert_eq!(world.store.calls("session"), MOST_CALLS);
        world.store.let_go();
        for request in requests {
            assert!(matches!(request.await.unwrap(), Resolution::Known(_)));
        }
        assert_eq!(world.store.calls("session"), 300);
    }

    /// Entities live for a blink in the eyes of whoever reads ahead, and for hours in the store.
    #[tokio::test]
    async fn what_is_in_use_is_read_again_while_it_still_lies_in_the_store() {
        let world = World::new().await;
        let resolver = Resolver::new(
            world.no_copies(),
            Arc::clone(&world.store) as Arc<dyn Store>,
            Arc::clone(&world.directory) as Arc<dyn Directory>,
            Arc::clone(&world.clock) as Arc<dyn Clock>,
            Arc::clone(&world.activity),
            world.settings.clone(),
            Settings { budget: Duration::from_mins(1) },
            Arc::clone(&world.metrics),
        );
        let (chosen, by_default) = (world.warm("ana", Some("a2")).await, world.warm("ana", None).await);
        let freshness = &resolver.layers.freshness;
        freshness.begin(Duration::from_millis(40));
        let ana = "ana".parse().unwrap();
        let keys = ["a1", "a2"].map(|id| EntityKey::Platform(id.parse().unwrap()));
        let [first, second] = keys;
        freshness.note_stored(
            freshness.reading(),
            &[EntityKey::User(ana), EntityKey::UserPlatforms("ana".parse().unwrap()), first, second],
        );
        let begin = Instant::now();
        let asked = |what| world.directory.calls(what);
        while asked("users") == 0 || asked("platforms") == 0 || asked("user_platforms") == 0 {
            assert!(begin.elapsed() < Duration::from_secs(20), "nothing is read ahead");
            for id in [&chosen, &by_default] {
                let resolution = resolver.resolve(id, Instant::now() + Duration::from_mins(1)).await;
                let Resolution::Known(context) = resolution else { panic!("not known") };
                assert_eq!(context.layer, Layer::Store);
            }
            sleep(Duration::from_millis(2)).await;
        }
    }
}
