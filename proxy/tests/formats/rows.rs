//! Rows of the tables in which frameworks keep sessions: a sample has one in `db_row`, beside its key in Redis or in place
//! of it, with the columns as the framework names them.

use std::time::Duration;

use cookie::time::OffsetDateTime;
use cookie::time::format_description::well_known::Rfc3339;
use countersign::clock::Timestamp;
use countersign::formats::preset::{Kind, Options};
use countersign::formats::table::{Row, StoredIn, TableOptions};
use countersign::formats::{Format, Refusal};
use countersign::secret::Secret;
use serde_json::Value;

use super::sample::{Platform, Verdict, files, is_own};

/// Which framework has such a column, and what it is called there.
const COLUMNS: [(&str, Kind); 3] =
    [("session_data", Kind::Django), ("payload", Kind::Laravel), ("sess", Kind::Express)];

pub(crate) fn check() {
    let mut checked = 0;
    for (file, json) in files() {
        let row = &json["db_row"];
        let found = COLUMNS.into_iter().find(|(column, _)| !row[*column].is_null());
        let Some((column, kind)) = found else { continue };
        let data = row[column].as_str().map_or_else(|| row[column].to_string(), str::to_owned);
        let ends = end(row);
        let read = |secrets: Vec<Secret>, data: &str, now: Timestamp| verdict(kind, secrets, data, ends, now);
        let before = Timestamp::from_millis(ends.as_millis() - 1000);
        assert_eq!(read(secrets(&json), &data, before), Verdict::of(&json["expected"]), "{file}");
        assert_eq!(read(secrets(&json), &data, ends), Verdict::Refused, "{file}: its end");
        if kind == Kind::Django {
            let other = vec![Secret::from("another-secret")];
            assert_eq!(read(other, &data, before), Verdict::Refused, "{file}: its signature");
        }
        for cut in (0..data.len()).filter(|cut| data.is_char_boundary(*cut)) {
            let found = read(secrets(&json), &data[..cut], before);
            assert!(found == Verdict::Refused || found == Verdict::of(&json["expected"]), "{file} at {cut}");
        }
        checked += 1;
    }
    assert!(checked > 0 || !is_own(), "there are no rows");
}

/// What this format makes of a row, a second before its end.
pub(crate) fn read(format: &Format, row: &Value) -> Verdict {
    let (column, _) = COLUMNS.into_iter().find(|(column, _)| !row[*column].is_null()).expect("a known table");
    let data = row[column].as_str().map_or_else(|| row[column].to_string(), str::to_owned);
    let ends = end(row);
    read_with(format, &data, ends, Timestamp::from_millis(ends.as_millis() - 1000))
}

fn verdict(kind: Kind, secrets: Vec<Secret>, data: &str, ends: Timestamp, now: Timestamp) -> Verdict {
    let table = TableOptions { stored_in: StoredIn::Table, ..TableOptions::default() };
    let format = kind.format(Options { secrets, table, ..Options::default() }).unwrap();
    read_with(&format, data, ends, now)
}

fn read_with(format: &Format, data: &str, ends: Timestamp, now: Timestamp) -> Verdict {
    let row = Row { data: Some(data.as_bytes()), ends, user: None, platform: None, created: None };
    match format.table.as_ref().unwrap().read(row, now) {
        Ok(found) => {
            let platform = found.platform.map(|id| id.as_str().to_owned());
            Verdict::User(found.user.as_str().to_owned(), Platform::Is(platform))
        }
        Err(refusal) => {
            assert_ne!(refusal, Refusal::Spelling);
            Verdict::Refused
        }
    }
}

pub(crate) fn secrets(json: &Value) -> Vec<Secret> {
    let config = &json["config"];
    let text = config["secret"].as_str().or(config["app_key"].as_str()).unwrap_or("a-made-up-secret");
    vec![Secret::from(text)]
}

/// When the row ends: `expire_date`, `expire`, or two hours after `last_activity`.
fn end(row: &Value) -> Timestamp {
    if let Some(seconds) = row["last_activity"].as_u64() {
        return Timestamp::from_secs(seconds).plus(Duration::from_hours(2));
    }
    let text = row["expire_date"].as_str().or(row["expire"].as_str()).expect("a row has an end");
    let end = OffsetDateTime::parse(text, &Rfc3339).expect("a moment as RFC 3339 has it");
    Timestamp::from_secs(u64::try_from(end.unix_timestamp()).unwrap())
}
