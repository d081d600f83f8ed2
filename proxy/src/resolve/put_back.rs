//! Reads again what was forgotten because it changed, and puts it back into the store: what somebody uses is not missed
//! there should the directory go away in the next moment. Beside the requests; whoever is too busy leaves it to them.

use std::sync::Arc;

use futures_util::future::join_all;

use super::Layers;
use crate::store::{Entity, EntityKey, FORGOTTEN_FOR, Renewal};

impl Layers {
    /// Puts back what `renewal` names, as the directory has it now.
    pub(super) fn put_back(self: &Arc<Self>, renewal: Renewal) {
        if renewal.keys.is_empty() {
            return;
        }
        let layers = Arc::clone(self);
        self.refill.beside(move |store| async move {
            let reading = layers.freshness.reading();
            let entities = join_all(renewal.keys.iter().map(|key| layers.load_entity(key))).await;
            let entities: Vec<Entity> = entities.into_iter().flatten().collect();
            if entities.is_empty() || reading.age() > FORGOTTEN_FOR / 2 {
                return Ok(());
            }
            let written = store.put_renewed(&entities, &renewal).await?;
            layers.freshness.note_stored(reading, &written);
            Ok(())
        });
    }

    /// An entity from the directory; `None` when there is none, or the directory could not say.
    async fn load_entity(&self, key: &EntityKey) -> Option<Entity> {
        match key {
            EntityKey::User(id) => self.loader.user(id).await.ok().flatten().map(Entity::User),
            EntityKey::Platform(id) => self.loader.platform(id).await.ok().flatten().map(Entity::Platform),
            EntityKey::UserPlatforms(user) => {
                let platforms = self.loader.user_platforms(user).await.ok()?;
                let ids = platforms.into_iter().map(|platform| platform.id).collect();
                Some(Entity::UserPlatforms(user.clone(), ids))
            }
            EntityKey::UserSettings(user, platform) => {
                let settings = self.loader.settings(&(user.clone(), platform.clone())).await.ok()?;
                Some(Entity::UserSettings(
                    user.clone(),
                    platform.clone(),
                    settings.filter(|json| !json.is_null()),
                ))
            }
            // Nobody tells of changed figures.
            EntityKey::PlatformStats(..) => None,
        }
    }
}
