//! The people of the demo and their platforms. The application looks passwords and platforms up here, as a real one
//! would in its own database; the proxy reads the same people through its directory.

use crate::context::{IdError, Platform, PlatformId, User, UserId};
use crate::directory::{Directory, DirectoryError};

/// The password of everybody in the demo.
pub const PASSWORD: &str = "demo";

/// Somebody who can log in to the demo.
#[derive(Clone, Debug)]
pub struct Account {
    /// What is typed into the login form.
    pub login: &'static str,
    /// The person, as the directory knows them.
    pub user: User,
    /// Their platforms, the default first.
    pub platforms: Vec<Platform>,
}

/// Everybody in the demo: `ana` (admin and reviewer, three platforms), `ben` (reviewer, two), `cho` (viewer, none).
/// Fails only if an id written in this file were not one.
pub fn accounts() -> Result<Vec<Account>, IdError> {
    Ok(vec![
        account(
            ("ana", "1", "Ana Kovač"),
            &["admin", "reviewer"],
            &[
                ("11", "pixelfed", "Lichtbild", "https://lichtbild.example"),
                ("12", "mastodon", "Town Square", "https://town-square.example"),
                ("13", "mastodon", "Übersee", "https://uebersee.example"),
            ],
        )?,
        account(
            ("ben", "2", "Ben Okafor"),
            &["reviewer"],
            &[
                ("21", "mastodon", "Harbour", "https://harbour.example"),
                ("22", "pixelfed", "Darkroom", "https://darkroom.example"),
            ],
        )?,
        account(("cho", "3", "Cho Min-jun"), &["viewer"], &[])?,
    ])
}

/// Writes everybody and their platforms into `directory`, over what stands there under the same ids.
pub async fn write(directory: &dyn Directory, accounts: &[Account]) -> Result<(), DirectoryError> {
    for account in accounts {
        directory.put_user(&account.user).await?;
        for platform in &account.platforms {
            directory.put_platform(platform).await?;
        }
    }
    Ok(())
}

/// The account that this name and password open, if any.
#[must_use]
pub fn find<'a>(accounts: &'a [Account], login: &str, password: &str) -> Option<&'a Account> {
    // The password is printed on the login page, so how long a comparison takes gives nothing away.
    accounts.iter().find(|account| account.login == login && password == PASSWORD)
}

fn account(
    (login, id, name): (&'static str, &str, &str),
    roles: &[&str],
    platforms: &[(&str, &str, &str, &str)],
) -> Result<Account, IdError> {
    let id: UserId = id.parse()?;
    let platforms = platforms
        .iter()
        .enumerate()
        .map(|(place, (platform, kind, name, url))| {
            Ok(Platform {
                id: platform.parse::<PlatformId>()?,
                user: id.clone(),
                kind: (*kind).into(),
                name: (*name).into(),
                url: (*url).into(),
                active: true,
                default: place == 0,
                credential: None,
            })
        })
        .collect::<Result<_, IdError>>()?;
    let user = User {
        id,
        name: name.into(),
        roles: roles.iter().map(|role| (*role).into()).collect(),
        active: true,
        sessions_valid_after: None,
        passwords: Box::default(),
    };
    Ok(Account { login, user, platforms })
}
