//! The second half: the user, and the platform that was chosen or is the user's default.

use std::sync::Arc;

use super::freshness::Belief;
use super::session::directory_source;
use super::{EntityKey, Layers, Stop, result_of};
use crate::cache::copies::Pair;
use crate::cache::marks::Name;
use crate::cache::proof::{Reading, Source};
use crate::context::{Layer, Platform, PlatformId, User, UserId};
use crate::reason::Reason;
use crate::store::{Entity, EntityAnswer, EntityKey as StoreKey, Lookup};
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

/// What the store holds.
#[derive(Default)]
struct Stored {
    /// What may be used.
    sound: Known,
    /// What may be used only if the directory cannot say.
    doubtful: Known,
}

impl Stored {
    fn sound_platform(&self) -> Option<&Platform> {
        match &self.sound.choice {
            Some(Choice::Platform(platform)) => Some(platform),
            _ => None,
        }
    }
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
        let mut stored = Stored::default();
        if key.ask_store {
            stored = self.load_stored(user, platform, &mut reading).await;
            self.refresh(stored.sound.user.as_ref(), stored.sound_platform());
        }
        let Stored { sound: known, doubtful } = stored;
        let complete = known.user.is_some() && known.choice.is_some();
        let (layer, source) = if complete {
            (Layer::Store, Source::Store)
        } else {
            (Layer::Directory, directory_source(key.ask_store))
        };
        let (user, choice) = match known {
            Known { user: Some(user), choice: Some(choice) } => (user, choice),
            known => self.load_missing(&key, known, doubtful).await?,
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

    async fn load_stored(&self, user: &UserId, chosen: Option<&PlatformId>, reading: &mut Reading) -> Stored {
        let Ok(mut answer) = self.ask_store(self.store.entities(user, chosen)).await else {
            self.metrics.count_lookup("user", Layer::Store, LookupResult::Failed);
            return Stored::default();
        };
        answer.discard_misplaced(user, chosen);
        self.metrics.count_lookup("user", Layer::Store, result_of(&answer.user));
        let choice = match (chosen, answer.user_platforms) {
            (Some(_), _) => {
                self.metrics.count_lookup("platform", Layer::Store, result_of(&answer.platform));
                found(answer.platform).map(|platform| {
                    let belief = self.freshness.judge(&StoreKey::Platform(platform.id.clone()));
                    (Choice::of(platform, user), belief)
                })
            }
            (None, list) => {
                self.metrics.count_lookup("user_platforms", Layer::Store, result_of(&list));
                self.stored_default(user, found(list), reading).await
            }
        };
        let mut stored = Stored::default();
        // One that was written with other keys, or without, says too little.
        if let Some(user) = found(answer.user).filter(|user| self.loader.is_marked(user)) {
            match self.freshness.judge(&StoreKey::User(user.id.clone())) {
                Belief::Sound => stored.sound.user = Some(user),
                Belief::InAnOutage => stored.doubtful.user = Some(user),
                Belief::None => {}
            }
        }
        match choice {
            Some((choice, Belief::Sound)) => stored.sound.choice = Some(choice),
            Some((choice, Belief::InAnOutage)) => stored.doubtful.choice = Some(choice),
            Some((_, Belief::None)) | None => {}
        }
        stored
    }

    /// The user's default by the cached list. A list that leads nowhere is out of date: the directory is asked.
    async fn stored_default(
        &self,
        user: &UserId,
        list: Option<Vec<PlatformId>>,
        reading: &mut Reading,
    ) -> Option<(Choice, Belief)> {
        let list = list?;
        let belief = self.freshness.judge(&StoreKey::UserPlatforms(user.clone()));
        let Some(first) = list.first() else { return Some((Choice::Nothing, belief)) };
        reading.also(self.copies.look(Name::Platform(first)));
        let answer = self.ask_store(self.store.platforms(std::slice::from_ref(first))).await;
        let Ok(Some(lookup)) = answer.map(|answer| answer.into_iter().next()) else {
            self.metrics.count_lookup("platform", Layer::Store, LookupResult::Failed);
            return None;
        };
        self.metrics.count_lookup("platform", Layer::Store, result_of(&lookup));
        found(lookup)
            .filter(|platform| platform.id == *first && platform.active && platform.user == *user)
            .map(|platform| {
                let belief = belief.min(self.freshness.judge(&StoreKey::Platform(platform.id.clone())));
                (Choice::Platform(platform), belief)
            })
    }

    /// Asks the directory for what the store did not know, both at once, and tells the store.
    async fn load_missing(
        &self,
        key: &EntityKey,
        known: Known,
        doubtful: Known,
    ) -> Result<(User, Choice), Stop> {
        let reading = self.freshness.reading();
        let user = async {
            match known.user {
                Some(user) => Ok((Some(user), None)),
                None => match self.loader.user(&key.pair.user).await {
                    Ok(user) => Ok((user.clone(), user.map(Entity::User))),
                    Err(stop) => doubtful.user.map(|user| (Some(user), None)).ok_or(stop),
                },
            }
        };
        let choice = async {
            match known.choice {
                Some(choice) => Ok((choice, Vec::new())),
                None => match self.load_choice(&key.pair.user, key.pair.platform.as_ref()).await {
                    Ok(choice) => Ok(choice),
                    Err(stop) => doubtful.choice.map(|choice| (choice, Vec::new())).ok_or(stop),
                },
            }
        };
        let ((user, fresh_user), (choice, mut fresh)) = tokio::try_join!(user, choice)?;
        fresh.extend(fresh_user);
        if !fresh.is_empty() {
            self.freshness.note_answer();
        }
        if key.ask_store {
            self.refill.entities(fresh, reading);
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
