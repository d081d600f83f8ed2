//! Rows of the tables of every framework that has one: whatever they hold, reading them ends, within bounds.
#![no_main]

use countersign::clock::Timestamp;
use countersign::formats::preset::{Kind, Options};
use countersign::formats::table::{Row, StoredIn, TableOptions};
use countersign::secret::Secret;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    for kind in [Kind::Django, Kind::Laravel, Kind::Express, Kind::BetterAuth] {
        let table = TableOptions { stored_in: StoredIn::Table, ..TableOptions::default() };
        let secrets = vec![Secret::from("0123456789abcdef0123456789abcdef")];
        let Ok(format) = kind.format(Options { secrets, table, ..Options::default() }) else { continue };
        let ends = Timestamp::from_secs(2);
        let row = Row { data: Some(input), ends, user: None, platform: None, created: None };
        let Some(Ok(found)) = format.table.map(|table| table.read(row, Timestamp::from_secs(1))) else { continue };
        assert!(found.ends <= ends);
    }
});
