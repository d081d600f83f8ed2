//! What sessions of Django say of the password with which they began, compared with the column that the samples name.

use countersign::context::{Password, PasswordClaim, PasswordKeys};

use super::sample;

#[test]
fn every_session_of_django_fits_the_password_that_its_file_names_and_no_other() {
    let mut checked = 0;
    for sample in sample::all().iter().filter(|sample| sample.format().passwords.is_some()) {
        let found = sample.found(sample.text("/cookie_header")).expect("the session is read");
        let keys = sample.format().passwords.expect("there are secrets");
        let marks = PasswordKeys::new(vec![keys.clone()]);
        let claim = PasswordClaim::new(keys, found.password.expect("it says so"));
        let column = sample.text("/auth_hash_check/password_column");
        assert_eq!(claim.judge(&marks.marks(column.as_bytes())), Password::Same, "{}", sample.file);
        for other in [column.replace('1', "2"), column.to_uppercase(), String::new(), format!("{column} ")] {
            assert_eq!(claim.judge(&marks.marks(other.as_bytes())), Password::Changed, "{}", sample.file);
        }
        let wrong = sample::Sample { wrong_secret: true, ..sample.clone() }.format().passwords.unwrap();
        let under_another = PasswordKeys::new(vec![wrong]).marks(column.as_bytes());
        assert_eq!(claim.judge(&under_another), Password::Unsaid, "{}", sample.file);
        checked += 1;
    }
    assert!(checked > 0 || !sample::is_own(), "no sample says with which password it began");
}
