//! TEMP
use super::pages::*;
use super::seed;
use super::verify::*;
fn facts(authn: &str) -> Facts {
    let s = |t: &str| (authn == "session").then(|| t.to_owned());
    Facts {
        authn: authn.into(),
        session_id: s("q3kX0a1sD2f3G4h5J6k7L8z9X0c1V2b3N4m5Q6w7E8r"),
        user_id: s("1"),
        user_name: s("Ana Kovač"),
        roles: if authn == "session" { vec!["admin".into(), "reviewer".into()] } else { vec![] },
        platform_id: s("12"),
        platform_type: s("mastodon"),
        platform_name: s("Town Square"),
        platform_url: s("https://town-square.example"),
        auth_time: (authn == "session").then_some(1_795_000_000),
        request_id: Some("0198c1f2-aaaa-7bbb-8ccc-0123456789ab".into()),
        actor_id: None,
        signature: SignatureFacts {
            verified: true,
            algorithm: "hmac-sha256".into(),
            keyid: "h1".into(),
            created: 1_795_000_100,
            expires: 1_795_000_130,
            components: [
                "@method",
                "@authority",
                "@path",
                "@query",
                "x-context-authn",
                "x-context-session-id",
                "x-context-user-id",
                "x-context-user-name",
                "x-context-roles",
                "x-context-platform-id",
                "x-context-jwt",
            ]
            .map(String::from)
            .to_vec(),
        },
        jwt: Some(
            serde_json::json!({"iss":"countersign","aud":"demo","sub":"1","roles":["admin","reviewer"],"iat":1_795_000_100u64,"exp":1_795_000_160u64,"tctx":{"platform_id":"12"}}),
        ),
    }
}
#[test]
fn dump() {
    let p = Pages::parse().unwrap();
    let a = seed::accounts().unwrap();
    let f = facts("session");
    let d = "/tmp/demo-pages";
    std::fs::create_dir_all(format!("{d}/assets")).unwrap();
    let w =
        |n: &str, t: String| std::fs::write(format!("{d}/{n}"), t.replace("/assets/", "assets/")).unwrap();
    w("home.html", p.home(&f, &a[0].platforms).unwrap());
    w("account.html", p.account(&f).unwrap());
    w("admin.html", p.admin(&f, &a).unwrap());
    w("public.html", p.public(&facts("unchecked")).unwrap());
    w(
        "login.html",
        p.login(&facts("unchecked"), &LoginForm { username: "ana\"><b>", return_to: "/", failed: true }, &a)
            .unwrap(),
    );
    w("platforms.html", p.platforms(&f, &a[0].platforms, "/").unwrap());
    w("cho.html", p.platforms(&f, &[], "/").unwrap());
    w("refused.html", p.refused("the request carries no signature", "http://127.0.0.1:8080/").unwrap());
    w("message.html", p.message(&f, "No such page", "There is nothing at this address.").unwrap());
    for (n, t) in [("demo.css", STYLE), ("demo.js", SCRIPT), ("mark.svg", MARK)] {
        std::fs::write(format!("{d}/assets/{n}"), t).unwrap();
    }
}
