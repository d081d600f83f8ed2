//! The configuration that the demo runs with: the demo file with the addresses of this start, and keys that live only
//! as long as the process.

use std::net::SocketAddr;

use crate::keys::JwtAlgorithm;
use crate::secret::Secret;
use crate::signing::keyring;

/// The name of the demo application in its configuration: the audience of its JWTs, and part of its HMAC key.
pub const UPSTREAM: &str = "demo";

/// The demo's configuration file.
pub const FILE: &str = crate::config::DEMO;

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
    secrets: Vec<(String, Secret)>,
}

impl DemoConfig {
    /// What stands for the environment when `text` is read: the keys of this start, and nothing of the machine's own.
    #[must_use]
    pub fn environment(&self, name: &str) -> Option<String> {
        let (_, secret) = self.secrets.iter().find(|(known, _)| *known == name)?;
        secret.expose_text().ok().map(str::to_owned)
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
    let mut file: toml::Table = FILE.parse()?;
    set(&mut file, "listen", "address", addresses.listen.to_string().into())?;
    set(&mut file, "admin", "address", addresses.admin.to_string().into())?;
    set(&mut file, "upstream", "servers", vec![addresses.application.to_string()].into())?;
    Ok(DemoConfig { text: toml::to_string(&file)?, secrets: make_secrets(&file)? })
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

/// A new secret for every entry of `[keys]` that names a variable. Keys without an algorithm are symmetric, and those
/// of all purposes are made alike.
fn make_secrets(file: &toml::Table) -> Result<Vec<(String, Secret)>, DemoConfigError> {
    let lists =
        file.get("keys").and_then(toml::Value::as_table).ok_or(DemoConfigError::Incomplete("keys"))?;
    let mut secrets = Vec::new();
    for key in lists.values().filter_map(toml::Value::as_array).flatten() {
        let Some(name) = key.get("secret").and_then(|secret| secret.get("env")?.as_str()) else { continue };
        let algorithm = match key.get("algorithm").and_then(toml::Value::as_str) {
            Some("EdDSA") => JwtAlgorithm::EdDsa,
            Some("ES256") => JwtAlgorithm::Es256,
            _ => JwtAlgorithm::Hs256,
        };
        let secret = keyring::generate(algorithm).map_err(|_| DemoConfigError::NoRandomness)?;
        secrets.push((name.to_owned(), secret));
    }
    Ok(secrets)
}

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
        assert_eq!(named.len(), 5);
        for name in named {
            let secret = first.environment(name).unwrap();
            assert!(secret.len() >= crate::keys::SHORTEST_KEY, "{name}");
            assert_ne!(Some(secret), second.environment(name), "{name}");
        }
        assert_eq!(first.environment("PATH"), None);
    }
}
