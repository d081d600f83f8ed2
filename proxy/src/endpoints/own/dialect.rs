//! What answers by an alias say besides, because front ends from before the proxy look for it: `success`, and the older
//! names of a platform's members (SEEDS.md, section 8). Nothing is taken away.

use serde_json::{Map, Value, json};

/// Adds the older names.
pub(super) fn add(body: &mut Value) {
    let Some(members) = body.as_object_mut() else { return };
    members.entry("success").or_insert(json!(true));
    for name in ["platform", "active_platform"] {
        if let Some(Value::Object(platform)) = members.get_mut(name) {
            name_as_before(platform);
        }
    }
    for platform in members.get_mut("platforms").and_then(Value::as_array_mut).into_iter().flatten() {
        platform.as_object_mut().map(name_as_before);
    }
}

fn name_as_before(platform: &mut Map<String, Value>) {
    for (before, now) in [("platform_type", "type"), ("instance_url", "url")] {
        if let Some(value) = platform.get(now).cloned() {
            platform.entry(before).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_says_more_and_nothing_less() {
        let mut body = json!({"platform": {"id": "1", "type": "mastodon", "url": "https://a"}, "version": 2});
        add(&mut body);
        let platform = json!({
            "id": "1", "type": "mastodon", "url": "https://a", "platform_type": "mastodon", "instance_url": "https://a"
        });
        assert_eq!(body, json!({"platform": platform, "version": 2, "success": true}));
        let mut list = json!({"platforms": [{"type": "x"}, null]});
        add(&mut list);
        assert_eq!(list["platforms"][0]["platform_type"], "x");
    }
}
