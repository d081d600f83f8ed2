//! The people of the tests, and what the applications of the tests call them.

use crate::stores::Stores;

/// Ana: administrator, two platforms of which the first is the default.
pub const ANA: &str = "1";
/// Ben: reviewer, two platforms.
pub const BEN: &str = "2";
/// Cho: no roles that matter, no platform.
pub const CHO: &str = "3";
/// Dov: not active.
pub const DOV: &str = "4";
/// Eve: her names are everything but visible ASCII.
pub const EVE: &str = "5";

/// Puts the people into a directory that was migrated.
pub async fn seed(stores: &Stores) {
    stores.sql(PEOPLE).await;
}

const PEOPLE: &str = "
INSERT INTO users (id, name, roles, active) VALUES
";
