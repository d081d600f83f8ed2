//! TODO
use crate::{keys::Key, secret::Secret, context::SealedCredential};
pub struct Sealer;
pub struct Place<'a> { pub table: &'a str, pub row: &'a str, pub column: &'a str }
impl Sealer { pub fn new(_:Vec<Key>, _:Vec<Secret>) -> Self { Self }
pub fn open(&self, _:&SealedCredential, _:Place<'_>) -> Result<Secret, std::fmt::Error> { todo!() } }
