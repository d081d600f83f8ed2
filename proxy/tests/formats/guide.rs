//! Every block of configuration in the guide is one that the proxy takes, and reads the samples that are named above it.

use std::path::Path as File;

use countersign::session::profile::{Candidate, Claim, Profile};

use super::sample::{self, Sample, Verdict, headers};

/// A block of configuration, and the samples that it has to read.
struct Block {
    samples: Vec<String>,
    text: String,
}

fn blocks(guide: &str) -> Vec<Block> {
    let parts = guide.split("<!-- samples: ").skip(1);
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

/// The base of the guide with a block below it, as the proxy reads it, with the secrets of the sample.
fn profile(base: &str, block: &str, sample: &Sample) -> Profile {
    let secrets: Vec<String> = sample.secret_texts();
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
    let blocks = blocks(&guide);
    assert_eq!(blocks.len(), guide.matches("[session.format]").count(), "a block names no samples");
    for block in &blocks {
        for name in &block.samples {
            let sample = samples.iter().find(|sample| sample.file == *name);
            let sample = sample.unwrap_or_else(|| panic!("there is no sample {name}"));
            let profile = profile(base, &block.text, sample);
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
