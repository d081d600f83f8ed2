//! Who is believed about where a request came from.

use proptest::prelude::*;

use super::super::lines::Fields;
use super::*;

const PROXY: &str = "10.0.0.9";

fn judged(peer: &str, fields: &[(&'static str, &'static str)]) -> ClientOrigin {
    let mut headers = HeaderMap::new();
    for &(name, value) in fields {
        headers.append(name, HeaderValue::from_static(value));
    }
    let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8:aa::/48".parse().unwrap()];
    let hop = Hop {
        peer: Some(peer.parse().unwrap()),
        trusted: &trusted,
        scheme: Scheme::Http,
        authority: "app.example:8080",
    };
    origin(&hop, &headers)
}

fn address(origin: &ClientOrigin) -> String {
    origin.address.unwrap().to_string()
}

#[test]
fn an_untrusted_peer_is_the_client_whatever_it_says() {
    let said = [
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=1.2.3.4;proto=https;host=evil.example"),
    ];
    let origin = judged("192.0.2.7", &said);
    assert_eq!(address(&origin), "192.0.2.7");
    assert_eq!((origin.scheme, origin.host.as_str()), (Scheme::Http, "app.example:8080"));
}

#[test]
fn a_trusted_chain_is_read_from_the_right_up_to_the_first_stranger() {
    let said = [("x-forwarded-for", "6.6.6.6, 192.0.2.1"), ("x-forwarded-for", "10.1.1.1, 10.2.2.2")];
    assert_eq!(address(&judged(PROXY, &said)), "192.0.2.1");
    let mapped = [("x-forwarded-for", "6.6.6.6, 192.0.2.1, ::ffff:10.1.1.1")];
    assert_eq!(address(&judged(PROXY, &mapped)), "192.0.2.1");
}

#[test]
fn reading_stops_at_what_is_no_address() {
    for junk in [
        "6.6.6.6, unknown, 10.1.1.1",
        "6.6.6.6, , 10.1.1.1",
        "6.6.6.6, 1.2.3.4:x, 10.1.1.1",
        "6.6.6.6 , _a,10.1.1.1",
    ] {
        assert_eq!(address(&judged(PROXY, &[("x-forwarded-for", junk)])), "10.1.1.1", "{junk}");
    }
}

#[test]
fn the_standard_field_is_read_with_quotes_ports_and_ipv6() {
    let said = [(
        "forwarded",
        r#"for=6.6.6.6, For="[2001:db8:cafe::17]:4711";proto=https;host="App.example", for=10.0.0.1"#,
    )];
    let origin = judged(PROXY, &said);
    assert_eq!(address(&origin), "2001:db8:cafe::17");
    assert_eq!((origin.scheme, origin.host.as_str()), (Scheme::Https, "app.example"));
}

#[test]
fn a_quoted_comma_separates_nothing_and_a_broken_element_ends_the_reading() {
    let said = [("forwarded", r#"for="6.6.6.6, for=7.7.7.7", for=10.0.0.1"#)];
    assert_eq!(address(&judged(PROXY, &said)), "10.0.0.1");
    let twice = [("forwarded", "for=6.6.6.6;for=7.7.7.7, for=10.0.0.1")];
    assert_eq!(address(&judged(PROXY, &twice)), "10.0.0.1");
}

#[test]
fn two_fields_that_differ_are_both_disbelieved() {
    let differ = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=6.6.6.6")];
    assert_eq!(address(&judged(PROXY, &differ)), PROXY);
    let agree = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1")];
    assert_eq!(address(&judged(PROXY, &agree)), "192.0.2.1");
}

#[test]
fn a_host_with_foreign_characters_is_not_taken_over() {
    let said = [("x-forwarded-host", "evil.example\"; for=1.1.1.1"), ("x-forwarded-proto", "gopher")];
    let origin = judged(PROXY, &said);
    assert_eq!((origin.scheme, origin.host.as_str()), (Scheme::Http, "app.example:8080"));
}

#[test]
fn the_whole_family_is_removed_in_any_spelling_and_via_stays() {
    let mut headers = HeaderMap::new();
    let gone = [
        "forwarded",
        "forwarded_for",
        "x-forwarded-for",
        "x_forwarded_for",
        "x.forwarded.prefix",
        "x-forwarded",
        "x-real-ip",
        "x_real_ip",
        "true-client-ip",
        "wl-proxy-client-ip",
        "proxy_client_ip",
        "x-http-host-override",
        "cf_connecting_ip",
        "client-ip",
        "x-client-ip",
    ];
    for name in gone.into_iter().chain(["via", "x-forwardedness", "content-type", "from"]) {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
    }
    let mut removed: Vec<_> = family(&headers).iter().map(ToString::to_string).collect();
    let mut gone = gone.map(str::to_owned).to_vec();
    removed.sort();
    gone.sort();
    assert_eq!(removed, gone);
}

fn rebuilt(origin: &ClientOrigin) -> Fields {
    let mut lines = Lines::apart(0);
    rebuild(origin, &mut lines).unwrap();
    lines.into_slices().unwrap().1
}

#[test]
fn the_family_is_rebuilt_with_one_element() {
    let origin = ClientOrigin {
        address: Some("2001:db8::1".parse().unwrap()),
        scheme: Scheme::Https,
        host: "app.example:8443".into(),
    };
    let fields = rebuilt(&origin);
    let value =
        |name: &str| fields.iter().find(|(found, _)| found == name).unwrap().1.to_str().unwrap().to_owned();
    assert_eq!(value("forwarded"), r#"for="[2001:db8::1]";host="app.example:8443";proto=https"#);
    assert_eq!(value("x-forwarded-for"), "2001:db8::1");
    assert_eq!(value("x-forwarded-port"), "8443");
    assert_eq!(fields.len(), 6);
    let local = rebuilt(&ClientOrigin { address: None, host: "app.example".into(), ..origin });
    let element = local.iter().find(|(name, _)| name == FORWARDED).unwrap();
    assert_eq!(element.1, r#"for=unknown;host="app.example";proto=https"#);
    assert_eq!(local.len(), 4);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
        let trusted: [IpNet; 1] = ["0.0.0.0/0".parse().unwrap()];
        let hop = Hop { peer: Some(PROXY.parse().unwrap()), trusted: &trusted, scheme: Scheme::Https, authority: "a" };
        for name in ["forwarded", "x-forwarded-for", "x-forwarded-host"] {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value.clone())]);
            prop_assert!(!rebuilt(&origin(&hop, &headers)).is_empty());
        }
    }

    #[test]
    fn what_is_rebuilt_is_read_back_the_same(address: IpAddr, https: bool) {
        let address = address.to_canonical();
        let scheme = if https { Scheme::Https } else { Scheme::Http };
        let told = ClientOrigin { address: Some(address), scheme, host: "app.example".into() };
        let headers = HeaderMap::from_iter(rebuilt(&told));
        let trusted: [IpNet; 1] = ["127.0.0.0/8".parse().unwrap()];
        let hop = Hop { peer: Some("127.0.0.1".parse().unwrap()), trusted: &trusted, scheme: Scheme::Http, authority: "a" };
        prop_assert_eq!(origin(&hop, &headers), told);
    }
}
