//! The people of the tests, and what the applications of the tests call them.

use crate::stores::Stores;

/// Ana: roles admin and reviewer; platforms 11 (default), 12, and 13 which is not active.
pub const ANA: &str = "1";
/// Ben: role reviewer; platforms 21 (default) and 22.
pub const BEN: &str = "2";
/// Cho: role viewer; no platform.
pub const CHO: &str = "3";
/// Dov: not active; platform 41.
pub const DOV: &str = "4";
/// Eve: every name of hers is more than visible ASCII; platform 51.
pub const EVE: &str = "5";
/// Fay: a name of a thousand characters; platform 61.
pub const FAY: &str = "6";

/// Eve's name.
pub const EVES_NAME: &str = "Ève\r\nx-context-roles: admin\u{7}Ж 100%";
/// The name of Eve's platform.
pub const EVES_PLATFORM: &str = "\u{7f}Überraschung, \"日本\"; a=b ";

/// Puts the people into a directory that was migrated.
pub async fn seed(stores: &Stores) {
    let mut statements = String::new();
    for (id, name, roles, active) in [
        (ANA, "Ana Kovac", &["admin", "reviewer"][..], true),
        (BEN, "Ben Okafor", &["reviewer"], true),
        (CHO, "Cho Min-jun", &["viewer"], true),
        (DOV, "Dov Levi", &["viewer"], false),
        (EVE, EVES_NAME, &["viewer"], true),
        (FAY, &"Fay ".repeat(250), &["viewer"], true),
    ] {
        let roles = serde_json::json!(roles).to_string();
        statements += &user_row(stores, id, name, &roles, active);
    }
    for (id, user, name, active, default) in [
        ("11", ANA, "Lichtbild", true, true),
        ("12", ANA, "Town Square", true, false),
        ("13", ANA, "Closed", false, false),
        ("21", BEN, "Harbour", true, true),
        ("22", BEN, "Darkroom", true, false),
        ("41", DOV, "Attic", true, true),
        ("51", EVE, EVES_PLATFORM, true, true),
        ("61", FAY, "Meadow", true, true),
    ] {
        statements += &platform_row(id, user, name, active, default);
    }
    stores.sql(&statements).await;
}

fn user_row(stores: &Stores, id: &str, name: &str, roles: &str, active: bool) -> String {
    let roles = match stores {
        Stores::Real(_) => format!("ARRAY(SELECT jsonb_array_elements_text('{roles}'))"),
        Stores::Embedded(_) => format!("'{roles}'"),
    };
    let name = name.replace('\'', "''");
    format!("INSERT INTO users (id, name, roles, active) VALUES ('{id}', '{name}', {roles}, {active});\n")
}

fn platform_row(id: &str, user: &str, name: &str, active: bool, default: bool) -> String {
    let name = name.replace('\'', "''");
    format!(
        "INSERT INTO platforms (id, user_id, type, name, url, active, is_default) \
         VALUES ('{id}', '{user}', 'mastodon', '{name}', 'https://{id}.example', {active}, {default});\n"
    )
}
