//! Every block of configuration in the guide is one that the proxy takes, and reads the samples that are named above it.

use std::path::Path as File;

use countersign::session::profile::{Candidate, Claim, Profile, Source};

use super::rows;
use super::sample::{self, Verdict, files_in, headers};

/// A block of configuration, and the samples that it has to read.
struct Block {
    samples: Vec<String>,
    text: String,
}

/// Those below a comment with this word: `samples` for what lies in Redis, `rows` for tables.
fn blocks(guide: &str, word: &str) -> Vec<Block> {
    let mark = format!("<!-- {word}: ");
    let parts = guide.split(mark.as_str()).skip(1);
    let block = |part: &str| {
        let (samples, rest) = part.split_once("-->").unwrap();
        let (_, text) = rest.split_once("```toml\n").unwrap();
        Block {
            samples: samples.split_whitespace().map(str::to_owned).collect(),
            text: text.split_once("```").unwrap().0.to_owned(),
        }
    };
    parts.map(block).collect()
}

fn page(name: &str) -> String {
    let path = File::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The base of the guide with a block below it, as the proxy reads it, with these secrets.
fn profile(base: &str, block: &str, secrets: &[String]) -> Profile {
    let environment = |name: &str| {
        let at = match name {
            "SESSION_SECRET" => 0,
            "OLD_SESSION_SECRET" => 1,
            "REDIS_URL" => return Some("redis://127.0.0.1:6379".to_owned()),
            "DATABASE_URL" => return Some("postgres://127.0.0.1/app".to_owned()),
            "TOKEN_KEY" | "CSRF_KEY" | "HMAC_KEY" | "JWT_KEY" => return Some(format!("{name:0>40}")),
            _ => return None,
        };
        // Where an application has one secret, the older one never signed anything.
        let older = "base64:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned();
        Some(secrets.get(at).cloned().unwrap_or(older))
    };
    let text = format!("{base}\n{block}");
    let snapshot = countersign::config::parse(&text, "guide.toml", &environment);
    snapshot.unwrap_or_else(|problems| panic!("{block}\n{problems}")).profile
}

#[test]
fn every_block_of_the_guide_reads_the_samples_that_it_names() {
    let guide = page("bring-your-sessions.md");
    let (_, rest) = guide.split_once("## The base").unwrap();
    let base = rest.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let samples = sample::own();
    let (in_redis, in_tables) = (blocks(&guide, "samples"), blocks(&guide, "rows"));
    let marked = in_redis.len() + in_tables.len();
    assert_eq!(marked, guide.matches("[session.format]").count(), "a block names no samples");
    for block in &in_tables {
        for name in &block.samples {
            let (_, json) = files_in(sample::OWN)
                .into_iter()
                .find(|(file, _)| file == name)
                .expect("there is the sample");
            let secrets = rows::secrets(&json);
            let secrets = secrets.iter().map(|secret| secret.expose_text().unwrap().to_owned());
            let profile = profile(base, &block.text, &secrets.collect::<Vec<_>>());
            let Profile::Several(sources) = profile else { panic!("{name}") };
            let [Source::Foreign(format)] = sources.as_slice() else { panic!("{name}") };
            let found = rows::read(format, &json["db_row"]);
            assert_eq!(found, Verdict::of(&json["expected"]), "{name}:\n{}", block.text);
        }
    }
    for block in &in_redis {
        for name in &block.samples {
            let sample = samples.iter().find(|sample| sample.file == *name);
            let sample = sample.unwrap_or_else(|| panic!("there is no sample {name}"));
            let profile = profile(base, &block.text, &sample.secret_texts());
            let cookie = sample.text("/cookie_header");
            let Claim::Candidates(candidates) = profile.claim(&headers(cookie)) else {
                panic!("{name}: the cookie is not read:\n{}", block.text)
            };
            let Candidate::Foreign(format, claimed) = &candidates[0] else { panic!("{name}") };
            let found = sample.read_with(format, claimed);
            assert_eq!(found, Verdict::of(&sample.json["expected"]), "{name}:\n{}", block.text);
        }
    }
}
