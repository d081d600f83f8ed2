//! The texts of configuration problems, as operators read them: each `problems/*.toml` must be refused with exactly
//! the text beside it. `UPDATE_EXPECTED=1 cargo test --test problems` writes the texts anew; read them before keeping.

use std::fs;
use std::path::Path;

#[test]
fn every_broken_configuration_is_refused_with_the_text_beside_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/problems");
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut cases = 0;
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        cases += 1;
        let name = path.file_name().unwrap().to_str().unwrap();
        let environment = |variable: &str| match variable {
            "TOKEN" => Some("0123456789abcdef0123456789abcdef".to_owned()),
            "OTHER" => Some("fedcba9876543210fedcba9876543210".to_owned()),
            "THIRD" => Some("00112233445566778899aabbccddeeff".to_owned()),
            "SHORT" => Some("too short".to_owned()),
            "EMPTY" => Some("\n".to_owned()),
            _ => None,
        };
        let text = fs::read_to_string(&path).unwrap();
        let problems = countersign::config::parse(&text, name, &environment).expect_err(name);
        let told = problems.render(false);
        let expected = path.with_extension("txt");
        if update {
            fs::write(&expected, &told).unwrap();
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(told, wanted, "{name}");
    }
    assert!(cases > 5, "the cases are gone");
}
