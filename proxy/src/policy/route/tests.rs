//! Who serves what: precedence, ties, and the spellings that must not lead to a wider route.

use http::Method;
use proptest::prelude::*;

use super::{Found, RouteTable};
use crate::policy::Route;

/// A route from `[METHODS ][host]/path`, named by that text.
fn route(text: &str) -> Route {
    let (methods, place) = text.split_once(' ').unwrap_or(("", text));
    let (host, path) = place.split_at(place.find('/').unwrap());
    Route {
        name: text.to_owned(),
        host: (!host.is_empty()).then(|| host.to_owned()),
        path: path.to_owned(),
        methods: methods.split(',').filter(|m| !m.is_empty()).map(|m| m.parse().unwrap()).collect(),
        ..Route::example()
    }
}

fn table(routes: &[&str]) -> RouteTable {
    RouteTable::build(routes.iter().map(|text| route(text)).collect(), "/.countersign/").unwrap()
}

fn found(table: &RouteTable, host: &str, path: &str, method: &str) -> String {
    match table.find(host, path, &method.parse::<Method>().unwrap()) {
        Found::Route(place) => table.routes()[place].name.clone(),
        Found::Reserved(rest) => format!("reserved:{rest}"),
        Found::MethodNotAllowed => "405".to_owned(),
        Found::NoRoute => "404".to_owned(),
        Found::UnknownHost => "421".to_owned(),
    }
}

#[test]
fn the_longest_path_by_whole_segments_wins() {
    let table = table(&["/", "/admin/", "/admin/public", "/login"]);
    for (path, expected) in [
        ("/", "/"),
        ("/x", "/"),
        ("/admin", "/admin/"),
        ("/admin/", "/admin/"),
        ("/admin/x/y", "/admin/"),
        ("/administration", "/"),
        ("/admin/public", "/admin/public"),
        ("/admin/public/", "/admin/public"),
        ("/admin/public/x", "/admin/public"),
        ("/admin/publicity", "/admin/"),
        ("/login", "/login"),
        ("/login/x", "/login"),
        ("/logi", "/"),
        ("*", "404"),
    ] {
        assert_eq!(found(&table, "a", path, "GET"), expected, "{path}");
    }
}

#[test]
fn an_exact_host_beats_the_longest_wildcard_beats_none() {
    let table =
        table(&["/x/", "*.example.org/", "*.deep.example.org/", "a.deep.example.org/only/", "EXAMPLE.org/"]);
    for (host, path, expected) in [
        ("example.org", "/", "EXAMPLE.org/"),
        ("b.example.org", "/x/", "*.example.org/"),
        ("a.b.example.org", "/", "*.example.org/"),
        ("b.deep.example.org", "/", "*.deep.example.org/"),
        ("a.deep.example.org", "/only/1", "a.deep.example.org/only/"),
        ("a.deep.example.org", "/other", "*.deep.example.org/"),
        ("evilexample.org", "/x/1", "/x/"),
        ("other", "/y", "404"),
    ] {
        assert_eq!(found(&table, host, path, "GET"), expected, "{host}{path}");
    }
}

#[test]
fn a_host_that_no_route_serves_is_unknown_also_for_the_reserved_path() {
    let table = table(&["a.example/", "*.b.example/"]);
    for host in ["c.example", "b.example", "xa.example", ".b.example", ""] {
        assert_eq!(found(&table, host, "/", "GET"), "421", "{host}");
        assert_eq!(found(&table, host, "/.countersign/session", "GET"), "421", "{host}");
    }
}

#[test]
fn within_one_path_a_named_method_wins_and_no_shorter_path_takes_over() {
    let table = table(&[
        "/",
        "GET,POST /api/",
        "PUT /api/",
        "/mixed/",
        "DELETE /mixed/",
        "HEAD /api/head",
        "GET /api/head",
    ]);
    for (method, path, expected) in [
        ("GET", "/api/1", "GET,POST /api/"),
        ("PUT", "/api/1", "PUT /api/"),
        ("DELETE", "/api/1", "405"),
        ("HEAD", "/api/1", "GET,POST /api/"),
        ("HEAD", "/api/head", "HEAD /api/head"),
        ("DELETE", "/mixed/", "DELETE /mixed/"),
        ("GET", "/mixed/", "/mixed/"),
        ("OPTIONS", "/api/1", "405"),
    ] {
        assert_eq!(found(&table, "a", path, method), expected, "{method} {path}");
    }
    assert_eq!(table.allowed("a", "/api/1").as_deref(), Some("GET, POST, PUT, HEAD"));
    assert_eq!(table.allowed("a", "/mixed/"), None);
}

#[test]
fn the_reserved_path_comes_first_on_every_host() {
    let table = table(&["/", "a.example/"]);
    for host in ["a.example", "other"] {
        for (path, expected) in [
            ("/.countersign", "reserved:"),
            ("/.countersign/", "reserved:"),
            ("/.countersign/session", "reserved:session"),
            ("/.countersign/a/b%20c", "reserved:a/b%20c"),
        ] {
            assert_eq!(found(&table, host, path, "GET"), expected, "{path}");
        }
        for path in [
            "/.Countersign/x",
            "/%2ecountersign/",
            "/.countersig%6e",
            "/.countersign;x/y",
            "/.countersign./y",
            "/;/.countersign/y",
        ] {
            assert_eq!(found(&table, host, path, "GET"), "404", "{path}");
        }
        assert_ne!(found(&table, host, "/.countersigned", "GET"), "404");
    }
}

#[test]
fn an_encoded_spelling_is_the_same_path_and_gets_the_same_route() {
    let table = table(&["/", "/admin/", "/café/"]);
    for path in ["/%61dmin/x", "/admi%6e", "/admin/%61"] {
        assert_eq!(found(&table, "a", path, "GET"), "/admin/", "{path}");
    }
    assert_eq!(found(&table, "a", "/caf%C3%A9/x", "GET"), "/café/");
    assert_eq!(found(&table, "a", "/caf%c3%a9", "GET"), "/café/");
}

#[test]
fn a_spelling_that_a_lenient_application_reads_as_a_longer_route_finds_nothing() {
    let table = table(&["/", "/admin/", "/Api/", "/static/", "/caf%C3%A9/"]);
    for path in [
        "/admin%3fx/y",
        "/admin%23",
        "/CAF%C3%89/x",
        "/Admin/x",
        "/ADMIN",
        "/%41dmin",
        "/admin;x=1/y",
        "/admin;/y",
        "/;/admin/y",
        "/admin./y",
        "/adm%49n",
        "/admin%3b",
        "/api/x",
        "/API",
    ] {
        assert_eq!(found(&table, "a", path, "GET"), "404", "{path}");
    }
    for (path, expected) in [
        ("/Api/x", "/Api/"),
        ("/Elsewhere/X;y", "/"),
        ("/static/App.JS;v=1", "/static/"),
        ("/admin/X%20y;z", "/admin/"),
        ("/x/admin", "/"),
    ] {
        assert_eq!(found(&table, "a", path, "GET"), expected, "{path}");
    }
}

#[test]
fn odd_spelling_does_not_slip_past_the_more_exact_host() {
    let table = table(&["/", "a.example/admin/"]);
    assert_eq!(found(&table, "a.example", "/admin/", "GET"), "a.example/admin/");
    assert_eq!(found(&table, "a.example", "/Admin/", "GET"), "404");
    assert_eq!(found(&table, "b.example", "/Admin/", "GET"), "/");
}

#[test]
fn ties_and_unreachable_routes_are_refused_with_their_indices() {
    let build = |routes: &[&str]| {
        let routes = routes.iter().map(|text| route(text)).collect();
        let faults = RouteTable::build(routes, "/.countersign/").err().unwrap_or_default();
        faults.iter().map(|fault| (fault.first, fault.second)).collect::<Vec<_>>()
    };
    assert_eq!(build(&["/a/", "/b", "/a"]), [(0, 2)]);
    assert_eq!(build(&["/a", "/%61"]), [(0, 1)]);
    assert_eq!(build(&["GET /a", "GET,POST /a/", "POST /a"]), [(0, 1), (1, 2)]);
    assert_eq!(build(&["A.example/", "a.example/"]), [(0, 1)]);
    assert_eq!(build(&["/a", "GET /a", "a.example/a", "*.example/a", "/a/b", "/A"]), []);
    assert_eq!(
        build(&["/.countersign", "/.countersign/x/", "/", "/.Countersign/x"]),
        [(0, 0), (1, 1), (3, 3)]
    );
    assert_eq!(
        build(&["/a/../b", "/a//b", "/a?b", "/a%2fb", "/a%zz"]),
        [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]
    );
    let whole = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)];
    assert_eq!(build(&["*example.org/", "a:80/", "a.*/", "*/", "a../"]), whole);
    assert_eq!(build(&["[::1]/", "127.0.0.1/", "*.Example.org/", "x_y/"]), []);
}

#[test]
fn the_report_names_the_winner_and_warns_where_the_shorter_path_wins() {
    let table = table(&["/", "/admin/", "a.example/", "GET /admin/", "b.example/x"]);
    let pairs: Vec<_> = table.report().iter().map(|pair| (pair.first, pair.second)).collect();
    assert_eq!(pairs, [(1, 0), (2, 0), (3, 0), (4, 0), (2, 1), (3, 1), (2, 3)]);
    let shadowed = table.shadowed();
    assert_eq!(shadowed.iter().map(|pair| (pair.first, pair.second)).collect::<Vec<_>>(), [(2, 1), (2, 3)]);
    assert_eq!(
        shadowed[0].what,
        "route `a.example/` (a.example/) wins over route `/admin/` (/admin/): its host is named more exactly"
    );
}

proptest! {
    #[test]
    fn no_spelling_of_a_protected_path_reaches_the_wider_route(
        path in "/(a|A|%61|%41)(d|D|%64|%44)m(i|I|%69)n(;[a-z]{0,2}|\\.|)(/[a-zA-Z;.]{0,4}){0,2}"
    ) {
        let table = table(&["/", "/admin/"]);
        prop_assert_ne!(found(&table, "a", &path, "GET"), "/");
    }

    #[test]
    fn any_host_and_path_are_looked_up(host in "[a-z.*]{0,12}", path in "[ -~]{0,24}") {
        let table = table(&["/", "/A/b", "*.a/", "a.a/b/"]);
        found(&table, &host, &path, "GET");
    }
}
