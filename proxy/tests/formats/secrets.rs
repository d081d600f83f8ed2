//! The secrets that a sample names, as an operator would write them; wrong ones, and ones that were changed since.

use countersign::formats::decode::Decoder;
use countersign::formats::preset::Kind;
use countersign::formats::verify::Verification;
use countersign::secret::Secret;
use serde_json::Value;

use super::sample::Sample;

impl Sample {
    /// Whether anything in the cookie or the session depends on the secrets of the file.
    pub(crate) fn has_secret(&self) -> bool {
        let format = self.format();
        let is_signed = !matches!(format.verification, Verification::None | Verification::Base64);
        is_signed || matches!(format.decoder, Decoder::Laravel(Some(_), _))
    }

    /// The secrets as an operator would write them.
    pub(crate) fn secret_texts(&self) -> Vec<String> {
        self.secrets().iter().map(|secret| secret.expose_text().unwrap_or_default().to_owned()).collect()
    }

    /// Every secret of the configuration but the keys of an encryption, which stand apart.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        // Django and others have secrets that no cookie is signed with.
        let is_unsigned = self.flag("signed").or(self.flag("use_signer")) == Some(false);
        // Where a file says with which password its session began, that is compared under them.
        let has_use = match self.kind() {
            Kind::Django => self.json["auth_hash_check"].is_object(),
            Kind::Laravel => true,
            _ => !is_unsigned,
        };
        if !has_use {
            return Vec::new();
        }
        let mut texts = Vec::new();
        for (key, value) in self.json["config"].as_object().into_iter().flatten() {
            let names_secrets = names_secrets(key);
            match value {
                // APP_PREVIOUS_KEYS is one text.
                Value::String(text) if names_secrets && text.starts_with("base64:") => {
                    texts.extend(text.split(',').map(|key| key.trim().to_owned()));
                }
                Value::String(text) if names_secrets => texts.push(text.clone()),
                Value::Array(list) if names_secrets => {
                    texts.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
                }
                _ => {}
            }
        }
        let is_laravel = self.kind() == Kind::Laravel;
        if is_laravel {
            // What else is called a secret there is no key of its encryption.
            texts.retain(|text| text.starts_with("base64:") || matches!(text.len(), 16 | 32));
        }
        let hex_key = unhex(self.config("hash_key_hex")).map(Secret::new);
        let named = texts.iter().map(|text| match (self.wrong_secret, is_laravel) {
            (false, _) => Secret::from(text.as_str()),
            (true, true) => Secret::from("base64:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            (true, false) => Secret::from(format!("{text}x").as_str()),
        });
        let mut secrets: Vec<Secret> = named.chain(hex_key).collect();
        if self.rotated && !secrets.is_empty() {
            let newer = if self.kind() == Kind::Laravel {
                "base64:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
            } else {
                "the-secret-that-signs-from-now-on"
            };
            secrets.insert(0, Secret::from(newer));
        }
        secrets
    }

    pub(super) fn block_keys(&self) -> Vec<Secret> {
        let hex = unhex(self.config("block_key_hex")).map(Secret::new);
        let plain = Some(self.config("block_key")).filter(|key| !key.is_empty()).map(Secret::from);
        let keys: Vec<Secret> = hex.or(plain).into_iter().collect();
        let newer =
            keys.first().filter(|_| self.rotated).map(|_| Secret::from("a-newer-key-of-the-same-length-3"));
        newer.into_iter().chain(keys).collect()
    }
}

/// Whether a field of `config` holds secrets of the cookie: `secret`, `old_secrets`, `keys`, `app_key`, `hash_key` and
/// the like. What else is called a key is a part of one in Redis, or the key of an encryption.
fn names_secrets(field: &str) -> bool {
    let field = field.to_lowercase();
    let is_other =
        ["prefix", "template", "block", "hex", "function", "name", "note", "cookie", "redis", "cache"];
    let is_secret = field.contains("secret")
        || field.starts_with("previous")
        || field.split('_').any(|word| matches!(word, "key" | "keys"));
    is_secret && !is_other.iter().any(|other| field.contains(other))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    pairs.collect::<Option<Vec<u8>>>().filter(|bytes| !bytes.is_empty())
}
