//! Entities in Redis: caching, forgetting, and keeping readings from before a change out for a while. What keeps them out
//! is a key beside the entity, so that somebody who has read the entity since can put it back.

use redis::{Pipeline, Value};
use ring::rand::{SecureRandom, SystemRandom};

use super::{BATCH, RedisStore, millis};
use crate::store::{Entity, EntityKey, FORGOTTEN_FOR, Renewal, StoreError, record};

/// Writes ARGV[1] under KEYS[1] for ARGV[2] ms, unless KEYS[2] keeps it out. Answers whether that lies there now.
const PUT: &str = "if redis.call('EXISTS', KEYS[2]) == 1 then \
      if redis.pcall('GET', KEYS[1]) == ARGV[1] then return 1 end return 0 end \
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1";

/// The same for a reading that began after KEYS[2] was written, with ARGV[3] in it.
const PUT_RENEWED: &str = "if redis.call('GET', KEYS[2]) ~= ARGV[3] then \
      if redis.pcall('GET', KEYS[1]) == ARGV[1] then return 1 end return 0 end \
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1";

/// Puts a mark in the place of an entity for ARGV[3] ms: ARGV[2] if an entity or that mark lay there, else ARGV[1]. It is a
/// write, so whoever tracks the key is told even if nothing lay there. For as long KEYS[2], with ARGV[4] in it, keeps
/// readings out. Answers whether somebody has used the entity.
const FORGET: &str = "local old = redis.pcall('GET', KEYS[1]) \
    local used = type(old) == 'string' and old ~= ARGV[1] \
    redis.call('SET', KEYS[1], used and ARGV[2] or ARGV[1], 'PX', ARGV[3]) \
    redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3]) \
    if used then return 1 end return 0";

impl RedisStore {
    /// Answers which of them lie there now.
    pub(super) async fn write_entities(
        &self,
        entities: &[Entity],
        renewal: Option<&Renewal>,
    ) -> Result<Vec<EntityKey>, StoreError> {
        let mut written = Vec::with_capacity(entities.len());
        for some in entities.chunks(BATCH) {
            let mut commands = Pipeline::new();
            let mut keys = Vec::with_capacity(some.len());
            for entity in some {
                let (key, record) = record::encode_entity(entity);
                let lifetime = match key {
                    EntityKey::PlatformStats(..) => self.stats_lifetime,
                    _ => self.entity_lifetime.now(),
                };
                if let Some(record) = record {
                    let script = if renewal.is_some() { PUT_RENEWED } else { PUT };
                    self.on_entity(&mut commands, script, &key);
                    commands.arg(record).arg(millis(lifetime).max(1));
                    if let Some(renewal) = renewal {
                        commands.arg(&renewal.leave);
                    }
                    keys.push(Some(key));
                } else {
                    // Too large to be cached; what lay there before is old now.
                    self.forget_one(&mut commands, &key, &leave());
                    keys.push(None);
                }
            }
            let values = self.connection.ask_all(&commands).await?;
            let answers = keys.into_iter().zip(values);
            written.extend(answers.filter_map(|(key, value)| key.filter(|_| value == Value::Int(1))));
        }
        Ok(written)
    }

    pub(super) async fn forget_entities(&self, keys: &[EntityKey]) -> Result<Renewal, StoreError> {
        let mut renewal = Renewal { keys: Vec::new(), leave: leave() };
        for some in keys.chunks(BATCH) {
            let mut commands = Pipeline::new();
            for key in some {
                self.forget_one(&mut commands, key, &renewal.leave);
            }
            let values = self.connection.ask_all(&commands).await?;
            let used = some.iter().zip(values).filter(|(_, value)| *value == Value::Int(1));
            renewal.keys.extend(used.map(|(key, _)| key.clone()));
        }
        Ok(renewal)
    }

    fn forget_one(&self, commands: &mut Pipeline, key: &EntityKey, leave: &str) {
        self.on_entity(commands, FORGET, key);
        commands.arg(record::FORGOTTEN).arg(record::FORGOTTEN_IN_USE).arg(millis(FORGOTTEN_FOR)).arg(leave);
    }

    fn on_entity(&self, commands: &mut Pipeline, script: &str, key: &EntityKey) {
        commands.cmd("EVAL").arg(script).arg(2).arg(self.keys.entity(key)).arg(self.keys.forgotten(key));
    }
}

/// A word that nobody else has. Without randomness there is no leave: nothing is put back, which costs a reading.
fn leave() -> String {
    let mut random = [0; 8];
    match SystemRandom::new().fill(&mut random) {
        Ok(()) => format!("{:016x}", u64::from_be_bytes(random)),
        Err(_) => String::new(),
    }
}
