//! Settings and figures: from the copies of this process, else the store, the directory behind it. The same layers, the
//! same rules as for a session; "there are none" is never mixed up with "could not find out".

use std::sync::Arc;

use serde_json::Value as Json;
use tokio::time::{Instant, timeout, timeout_at};

use super::freshness::Belief;
use super::session::directory_source;
use super::{Layers, Resolver, Stop, result_of};
use crate::cache::marks::Name;
use crate::cache::proof::Source;
use crate::cache::values::Value;
use crate::context::{Layer, PlatformId, UserId};
use crate::reason::Reason;
use crate::store::{Entity, EntityKey, Lookup};
use crate::telemetry::metrics::LookupResult;

/// What the store holds.
enum Stored {
    /// It may be used.
    Sound(Option<Json>),
    /// It may be used only if the directory cannot say.
    Doubtful(Option<Json>),
    /// Nothing that may be used.
    Nothing,
    /// The store could not say.
    Silent,
}

impl Resolver {
    /// A user's settings for a platform, by `deadline` or within the budget; `None` when there are none. Ownership is
    /// for the caller to check. Cancellation safe.
    ///
    /// # Errors
    /// The reason why the stores could not say: undetermined, never "none".
    pub async fn settings(
        &self,
        user: &UserId,
        platform: &PlatformId,
        deadline: Instant,
    ) -> Result<Option<Json>, Reason> {
        self.value(EntityKey::UserSettings(user.clone(), platform.clone()), deadline).await
    }

    /// Computed figures of a user about a platform, up to five minutes old; `None` when the platform is not the user's.
    /// Otherwise as [`Self::settings`].
    ///
    /// # Errors
    /// As [`Self::settings`].
    pub async fn stats(
        &self,
        user: &UserId,
        platform: &PlatformId,
        deadline: Instant,
    ) -> Result<Option<Json>, Reason> {
        self.value(EntityKey::PlatformStats(user.clone(), platform.clone()), deadline).await
    }

    async fn value(&self, key: EntityKey, deadline: Instant) -> Result<Option<Json>, Reason> {
        if let Some(value) = self.layers.copies.value(&key) {
            return Ok(value.json.clone());
        }
        let deadline = deadline.min(Instant::now() + self.layers.settings.budget);
        match timeout_at(deadline, self.layers.value(&key)).await {
            Ok(Ok(value)) => Ok(value.json.clone()),
            Ok(Err(Stop::Unknown(reason) | Stop::Undetermined(reason))) => Err(reason),
            Err(_) => Err(Reason::StoreTimeout),
        }
    }
}

impl Layers {
    /// One lookup for all who ask. If something changed since it began, perhaps before this caller came, once more.
    async fn value(self: &Arc<Self>, key: &EntityKey) -> Result<Arc<Value>, Stop> {
        let value = self.values.run(key, || Arc::clone(self).find_value(key.clone())).await?;
        if self.copies.is_unstruck(&value.proof) {
            return Ok(value);
        }
        Arc::clone(self).find_value(key.clone()).await
    }

    /// One flight, with a whole budget of its own.
    async fn find_value(self: Arc<Self>, key: EntityKey) -> Result<Arc<Value>, Stop> {
        let finding = timeout(self.settings.budget, self.look_for_value(&key));
        let value = finding.await.unwrap_or(Err(Stop::Undetermined(Reason::StoreTimeout)))?;
        self.copies.keep_value(key, Arc::clone(&value));
        Ok(value)
    }

    async fn look_for_value(&self, key: &EntityKey) -> Result<Arc<Value>, Stop> {
        let reading = self.copies.reading(&[Name::of(key)]);
        let stored = self.stored_value(key).await;
        let store_answers = !matches!(stored, Stored::Silent);
        let (json, source) = match stored {
            Stored::Sound(json) => (json, Source::Store),
            stored => match self.load_value(key, store_answers).await {
                Ok(json) => (json, directory_source(store_answers)),
                Err(stop) => match stored {
                    Stored::Doubtful(json) => (json, Source::Directory),
                    _ => return Err(stop),
                },
            },
        };
        let proof = self.copies.proof_of_value(key, reading, source);
        Ok(Arc::new(Value { json, proof }))
    }

    async fn stored_value(&self, key: &EntityKey) -> Stored {
        let what = word(key);
        let Ok(lookup) = self.ask_store(self.store.json(key)).await else {
            self.metrics.count_lookup(what, Layer::Store, LookupResult::Failed);
            return Stored::Silent;
        };
        self.metrics.count_lookup(what, Layer::Store, result_of(&lookup));
        let Lookup::Found(json) = lookup else { return Stored::Nothing };
        let json = Some(json).filter(|json| !json.is_null());
        // Nobody tells of changed figures; their age is all there is.
        let belief = match key {
            EntityKey::PlatformStats(..) => Belief::Sound,
            _ => self.freshness.judge(key),
        };
        match belief {
            Belief::Sound => Stored::Sound(json),
            Belief::InAnOutage => Stored::Doubtful(json),
            Belief::None => Stored::Nothing,
        }
    }

    /// Asks the directory, and tells the store, an absence too.
    async fn load_value(&self, key: &EntityKey, store_answers: bool) -> Result<Option<Json>, Stop> {
        let reading = self.freshness.reading();
        let (json, entity) = match key {
            EntityKey::PlatformStats(user, platform) => {
                let json = self.loader.stats(&(user.clone(), platform.clone())).await?;
                let stored = json.clone().unwrap_or_default();
                (json, Entity::PlatformStats(user.clone(), platform.clone(), stored))
            }
            EntityKey::UserSettings(user, platform) => {
                let json = self.loader.settings(&(user.clone(), platform.clone())).await?;
                let json = json.filter(|json| !json.is_null());
                (json.clone(), Entity::UserSettings(user.clone(), platform.clone(), json))
            }
            // Nobody asks here for anything else.
            _ => return Err(Stop::Undetermined(Reason::Internal)),
        };
        self.freshness.note_answer();
        if store_answers {
            self.refill.entities(vec![entity], reading);
        }
        Ok(json)
    }
}

const fn word(key: &EntityKey) -> &'static str {
    match key {
        EntityKey::PlatformStats(..) => "stats",
        _ => "settings",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::cache::copies;
    use crate::cache::faults::Fault::Fails;
    use crate::cache::world::{COPIES, MINUTE, World};
    use crate::cache::{Copies, Invalidate};
    use crate::resolve::tests::resolver_over;

    struct Scene {
        world: World,
        copies: Arc<Copies>,
        resolver: Resolver,
        ana: UserId,
        a1: PlatformId,
    }

    impl Scene {
        async fn new() -> Self {
            let world = World::new().await;
            let copies =
                world.copies(&copies::Settings { max_staleness: MINUTE, degraded_lease: MINUTE, ..COPIES });
            let resolver =
                resolver_over(&world, Arc::clone(&copies), &world.directory, Duration::from_secs(5));
            Self { world, copies, resolver, ana: "ana".parse().unwrap(), a1: "a1".parse().unwrap() }
        }

        async fn settings(&self) -> Result<Option<Json>, Reason> {
            self.resolver.settings(&self.ana, &self.a1, Instant::now() + MINUTE).await
        }

        async fn stats(&self, platform: &str) -> Result<Option<Json>, Reason> {
            let platform = platform.parse().unwrap();
            self.resolver.stats(&self.ana, &platform, Instant::now() + MINUTE).await
        }

        async fn write(&self, settings: &Json) {
            self.world.directory.inner().put_settings(&self.ana, &self.a1, settings).await.unwrap();
        }

        async fn stored(&self, settings: Option<Json>) {
            let entity = Entity::UserSettings(self.ana.clone(), self.a1.clone(), settings);
            self.world.store.inner().put_entities(&[entity]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn settings_come_from_the_process_then_the_store_then_the_directory() {
        let scene = Scene::new().await;
        let directory = &scene.world.directory;
        assert_eq!(scene.settings().await, Ok(None));
        scene.write(&json!({"posts": 50})).await;
        scene.copies.user_settings(&scene.ana, &scene.a1);
        scene.stored(Some(json!({"posts": 20}))).await;
        assert_eq!(scene.settings().await, Ok(Some(json!({"posts": 20}))));
        let calls = scene.world.store.all_calls();
        assert_eq!(scene.settings().await, Ok(Some(json!({"posts": 20}))));
        assert_eq!((scene.world.store.all_calls(), directory.calls("settings_of")), (calls, 1));
        let key = EntityKey::UserSettings(scene.ana.clone(), scene.a1.clone());
        scene.world.store.inner().forget(&[key]).await.unwrap();
        assert_eq!(scene.settings().await, Ok(Some(json!({"posts": 50}))));
        scene.stored(None).await;
        assert_eq!(scene.settings().await, Ok(Some(json!({"posts": 50}))), "just forgotten: not cached");
    }

    #[tokio::test]
    async fn none_is_never_mixed_up_with_could_not_find_out() {
        let scene = Scene::new().await;
        scene.world.store.break_all(Fails);
        scene.world.directory.break_all(Fails);
        assert_eq!(scene.settings().await, Err(Reason::StoreUnavailable));
        scene.world.store.repair();
        assert_eq!(scene.settings().await, Err(Reason::StoreUnavailable));
        scene.stored(None).await;
        assert_eq!(scene.settings().await, Ok(None), "an absence is remembered");
        scene.world.store.break_all(Fails);
        scene.world.directory.repair();
        scene.write(&json!([1])).await;
        scene.copies.everything();
        assert_eq!(scene.settings().await, Ok(Some(json!([1]))));
    }

    #[tokio::test]
    async fn stats_are_the_owners_alone() {
        let scene = Scene::new().await;
        let stats = scene.stats("a1").await.unwrap().unwrap();
        assert_eq!(stats["sessions"], 0);
        assert_eq!(scene.stats("b1").await, Ok(None));
    }
}
