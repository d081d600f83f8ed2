//! The configuration that the demo runs with: the demo file with the addresses of this start, and keys that live only
//! as long as the process.

use std::net::SocketAddr;

use crate::keys::JwtAlgorithm;
use crate::secret::Secret;
use crate::signing::keyring;

/// The name of the demo application in its configuration: the audience of its JWTs, and part of its HMAC key.
pub const UPSTREAM: &str = "demo";

/// The demo's configuration file.
pub const FILE: &str = include_str!("demo.toml");

/// Addresses of one start.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Where people come in.
    pub listen: SocketAddr,
    /// Where operators look.
    pub admin: SocketAddr,
    /// Where the demo application listens.
    pub application: SocketAddr,
}

/// A configuration file, and the secrets that it names.
#[derive(Debug)]
pub struct DemoConfig {
    /// TOML, as `countersign run` reads it.
    pub text: String,
    /// The values of the environment variables that `text` names; they are in no environment, only here.
    pub secrets: Vec<(&'static str, Secret)>,
}

impl DemoConfig {
    /// The secret that `text` calls `{ env = name }`.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.iter().find(|(known, _)| *known == name).map(|(_, secret)| secret)
    }
}

/// Why the demo cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum DemoConfigError {
    /// The machine gave no randomness for keys.
    #[error("the system gives no randomness for keys")]
    NoRandomness,
    /// The demo file does not have the tables in which addresses are written.
    #[error("the demo file lacks the table `{0}`")]
    Incomplete(&'static str),
    /// The demo file is not TOML.
    #[error("the demo file cannot be read")]
    Unreadable(#[from] toml::de::Error),
    /// The demo file cannot be written again.
    #[error("the demo file cannot be written")]
    Unwritable(#[from] toml::ser::Error),
}

/// The configuration for one start, with new keys.
pub fn make(addresses: &Addresses) -> Result<DemoConfig, DemoConfigError> {
    Ok(DemoConfig { text: text(addresses)?, secrets: make_secrets()? })
}

fn text(addresses: &Addresses) -> Result<String, DemoConfigError> {
    let mut file: toml::Table = FILE.parse()?;
    set(&mut file, "listen", "address", addresses.listen.to_string().into())?;
    set(&mut file, "admin", "address", addresses.admin.to_string().into())?;
    set(&mut file, "upstream", "servers", vec![addresses.application.to_string()].into())?;
    Ok(toml::to_string(&file)?)
}

/// Sets a key in a table, or in the first of a list of tables.
fn set(
    file: &mut toml::Table,
    table: &'static str,
    key: &str,
    value: toml::Value,
) -> Result<(), DemoConfigError> {
    let found = match file.get_mut(table) {
        Some(toml::Value::Array(tables)) => tables.first_mut().and_then(toml::Value::as_table_mut),
        Some(single) => single.as_table_mut(),
        None => None,
    };
    found.ok_or(DemoConfigError::Incomplete(table))?.insert(key.to_owned(), value);
    Ok(())
}

fn make_secrets() -> Result<Vec<(&'static str, Secret)>, DemoConfigError> {
    let make = |(name, algorithm)| match keyring::generate(algorithm) {
        Ok(secret) => Ok((name, secret)),
        Err(_) => Err(DemoConfigError::NoRandomness),
    };
    SECRETS.into_iter().map(make).collect()
}

/// Every secret that [`FILE`] names, and what it is for; symmetric keys of all purposes are made alike.
const SECRETS: [(&str, JwtAlgorithm); 5] = [
    ("COUNTERSIGN_DEMO_TOKEN", JwtAlgorithm::Hs256),
    ("COUNTERSIGN_DEMO_CSRF", JwtAlgorithm::Hs256),
    ("COUNTERSIGN_DEMO_SEALING", JwtAlgorithm::Hs256),
    ("COUNTERSIGN_DEMO_HMAC", JwtAlgorithm::Hs256),
    ("COUNTERSIGN_DEMO_JWT", JwtAlgorithm::EdDsa),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Addresses { listen: at(1), admin: at(2), application: at(3) }
    }

    #[test]
    fn the_addresses_of_the_start_replace_those_of_the_file() {
        let made: toml::Table = make(&addresses()).unwrap().text.parse().unwrap();
        assert_eq!(made["listen"][0]["address"].as_str(), Some("127.0.0.1:1"));
        assert_eq!(made["admin"]["address"].as_str(), Some("127.0.0.1:2"));
        assert_eq!(made["upstream"][0]["servers"][0].as_str(), Some("127.0.0.1:3"));
        assert_eq!(made["upstream"][0]["name"].as_str(), Some(UPSTREAM));
    }

    #[test]
    fn every_secret_that_the_file_names_is_made_and_none_twice_the_same() {
        let (first, second) = (make(&addresses()).unwrap(), make(&addresses()).unwrap());
        let named: Vec<_> =
            FILE.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(named.len(), first.secrets.len());
        for name in named {
            let secret = first.secret(name).unwrap();
            assert!(secret.expose().len() >= crate::keys::SHORTEST_KEY, "{name}");
            assert_ne!(secret.expose(), second.secret(name).unwrap().expose(), "{name}");
        }
    }
}
