//! The second half: the user, and the platform that was chosen or is the user's default.

use std::sync::Arc;

use super::session::directory_source;
use super::{EntityKey, Layers, Stop, result_of};
use crate::cache::copies::Pair;
use crate::cache::marks::Name;
use crate::cache::proof::{Reading, Source};
use crate::context::{Layer, Platform, PlatformId, User, UserId};
use crate::reason::Reason;
use crate::store::{Entity, EntityAnswer, Lookup};
use crate::telemetry::metrics::LookupResult;

/// What a session refers to.
#[derive(Clone, Debug)]
pub(super) struct Entities {
    pub(super) pair: Arc<Pair>,
    pub(super) layer: Layer,
}

/// What is known so far; `None` is not known yet.
#[derive(Default)]
struct Known {
    user: Option<User>,
    choice: Option<Choice>,
}

/// What became of the platform.
enum Choice {
    /// None was chosen and the user has none.
    Nothing,
    /// Active and the user's own.
    Platform(Platform),
    /// The chosen one cannot be used.
    Refused,
}

impl Layers {
    /// Finds user and platform: one round trip to the store (two when the default has to be found out), and the
    /// directory for what is missing there.
    pub(super) async fn find_entities(self: Arc<Self>, key: EntityKey) -> Result<Entities, Stop> {
        let (user, platform) = (&key.pair.user, key.pair.platform.as_ref());
        let chosen = platform.map_or(Name::UserPlatforms(user), Name::Platform);
        let mut reading = self.copies.reading(&[Name::User(user), chosen]);
        let mut known = Known::default();
        if key.ask_store {
            known = self.load_stored(user, platform, &mut reading).await;
        }
        let complete = known.user.is_some() && known.choice.is_some();
        let (layer, source) = if complete {
            (Layer::Store, Source::Store)
        } else {
            (Layer::Directory, directory_source(key.ask_store))
        };
        let (user, choice) = match known {
            Known { user: Some(user), choice: Some(choice) } => (user, choice),
            known => self.load_missing(&key, known).await?,
        };
        let (platform, platform_refused) = match choice {
            Choice::Nothing => (None, false),
            Choice::Platform(platform) => (Some(Arc::new(platform)), false),
            Choice::Refused => (None, true),
        };
        let proof = self.copies.proof_of_pair(reading, source);
        let pair = Arc::new(Pair { user: Arc::new(user), platform, platform_refused, proof });
        self.copies.keep_pair(key.pair, Arc::clone(&pair));
        Ok(Entities { pair, layer })
    }

    async fn load_stored(&self, user: &UserId, chosen: Option<&PlatformId>, reading: &mut Reading) -> Known {
        let Ok(mut answer) = self.ask_store(self.store.entities(user, chosen)).await else {
            self.metrics.count_lookup("user", Layer::Store, LookupResult::Failed);
            return Known::default();
        };
        answer.discard_misplaced(user, chosen);
        self.metrics.count_lookup("user", Layer::Store, result_of(&answer.user));
        let choice = match (chosen, answer.user_platforms) {
            (Some(_), _) => {
                self.metrics.count_lookup("platform", Layer::Store, result_of(&answer.platform));
                found(answer.platform).map(|platform| Choice::of(platform, user))
            }
            (None, list) => {
                self.metrics.count_lookup("user_platforms", Layer::Store, result_of(&list));
                self.stored_default(user, found(list), reading).await
            }
        };
        Known { user: found(answer.user), choice }
    }

    /// The user's default by the cached list. A list that leads nowhere is out of date: the directory is asked.
    async fn stored_default(
        &self,
        user: &UserId,
        list: Option<Vec<PlatformId>>,
        reading: &mut Reading,
    ) -> Option<Choice> {
        let list = list?;
        let Some(first) = list.first() else { return Some(Choice::Nothing) };
        reading.also(self.copies.look(Name::Platform(first)));
        let answer = self.ask_store(self.store.platforms(std::slice::from_ref(first))).await;
        let Ok(Some(lookup)) = answer.map(|answer| answer.into_iter().next()) else {
            self.metrics.count_lookup("platform", Layer::Store, LookupResult::Failed);
            return None;
        };
        self.metrics.count_lookup("platform", Layer::Store, result_of(&lookup));
        found(lookup)
            .filter(|platform| platform.id == *first && platform.active && platform.user == *user)
            .map(Choice::Platform)
    }

    /// Asks the directory for what the store did not know, both at once, and tells the store.
    async fn load_missing(&self, key: &EntityKey, known: Known) -> Result<(User, Choice), Stop> {
        let user = async {
            match known.user {
                Some(user) => Ok((Some(user), None)),
                None => {
                    self.loader.user(&key.pair.user).await.map(|user| (user.clone(), user.map(Entity::User)))
                }
            }
        };
        let choice = async {
            match known.choice {
                Some(choice) => Ok((choice, Vec::new())),
                None => self.load_choice(&key.pair.user, key.pair.platform.as_ref()).await,
            }
        };
        let ((user, fresh_user), (choice, mut fresh)) = tokio::try_join!(user, choice)?;
        fresh.extend(fresh_user);
        if key.ask_store {
            self.refill.entities(fresh);
        }
        // The directory answered: a user who is not there is as good as inactive.
        let user = user.ok_or(Stop::Unknown(Reason::UserInactive))?;
        Ok((user, choice))
    }

    async fn load_choice(
        &self,
        user: &UserId,
        chosen: Option<&PlatformId>,
    ) -> Result<(Choice, Vec<Entity>), Stop> {
        if let Some(id) = chosen {
            return Ok(match self.loader.platform(id).await? {
                Some(platform) => (Choice::of(platform.clone(), user), vec![Entity::Platform(platform)]),
                None => (Choice::Refused, Vec::new()),
            });
        }
        let platforms = self.loader.user_platforms(user).await?;
        let ids = platforms.iter().map(|platform| platform.id.clone()).collect();
        let mut fresh = vec![Entity::UserPlatforms(user.clone(), ids)];
        let first = platforms.into_iter().next();
        fresh.extend(first.clone().map(Entity::Platform));
        Ok((first.map_or(Choice::Nothing, Choice::Platform), fresh))
    }
}

impl Choice {
    /// Ownership and activity are checked at every use, whoever checked them when the platform was chosen.
    fn of(platform: Platform, user: &UserId) -> Self {
        if platform.active && platform.user == *user { Self::Platform(platform) } else { Self::Refused }
    }
}

impl EntityAnswer {
    /// A record under the wrong key is as good as unreadable.
    fn discard_misplaced(&mut self, user: &UserId, chosen: Option<&PlatformId>) {
        if matches!(&self.user, Lookup::Found(found) if found.id != *user) {
            self.user = Lookup::Unreadable;
        }
        if matches!(&self.platform, Lookup::Found(found) if Some(&found.id) != chosen) {
            self.platform = Lookup::Unreadable;
        }
    }
}

fn found<T>(lookup: Lookup<T>) -> Option<T> {
    match lookup {
        Lookup::Found(record) => Some(record),
        Lookup::Missing | Lookup::Unreadable => None,
    }
}
