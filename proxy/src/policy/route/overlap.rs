//! What `check` has to say about routes that meet: faults that keep a configuration from loading, and a report of
//! who wins where two routes match one request.

use std::cmp::Ordering;
use std::sync::Arc;

use http::Method;

use super::Overlap;
use super::path::{Folded, depth, of_route, prefixes};
use crate::policy::Route;
use crate::policy::host::Authority;
use crate::policy::target::Target;

/// Ties, routes under the reserved path, and routes whose path no accepted request can have.
pub(super) fn faults(routes: &[Route], reserved: &str) -> Vec<Overlap> {
    let mut faults = Vec::new();
    for (second, route) in routes.iter().enumerate() {
        if let Some(what) = unreachable(route, reserved) {
            faults.push(Overlap { first: second, second, what });
            continue;
        }
        let ties = routes[..second].iter().enumerate().filter(|(_, earlier)| is_tie(earlier, route));
        faults.extend(ties.map(|(first, earlier)| Overlap {
            first,
            second,
            what: format!(
                "routes `{}` and `{}` serve the same host, path and method; one of them must go",
                earlier.name, route.name
            ),
        }));
    }
    faults
}

/// Every pair that one request can match, the winner first.
pub(super) fn report(routes: &[Arc<Route>]) -> Vec<Overlap> {
    let mut pairs = Vec::new();
    for (second, route) in routes.iter().enumerate() {
        for (first, earlier) in routes[..second].iter().enumerate() {
            if !meet(earlier, route) {
                continue;
            }
            let (first, second) =
                if precedence(earlier, route) == Ordering::Less { (second, first) } else { (first, second) };
            let (winner, loser) = (&routes[first], &routes[second]);
            let what = format!(
                "route `{}` ({}) wins over route `{}` ({}): {}",
                winner.name,
                place(winner),
                loser.name,
                place(loser),
                why(winner, loser)
            );
            pairs.push(Overlap { first, second, what });
        }
    }
    pairs.sort_by_key(|pair| (pair.second, pair.first));
    pairs
}

fn unreachable(route: &Route, reserved: &str) -> Option<String> {
    let name = &route.name;
    if let Some(host) = route.host.as_deref().filter(|host| !is_host(host)) {
        let host = host.escape_debug();
        return Some(format!(
            "route `{name}`: no accepted request can have the host `{host}` (no port, at most `*.` in front)"
        ));
    }
    let path = percent_encoding::utf8_percent_encode(&route.path, percent_encoding::CONTROLS).to_string();
    let reachable =
        path.starts_with('/') && !path.contains('?') && Target::parse(path.as_bytes(), usize::MAX).is_ok();
    if !reachable {
        return Some(format!(
            "route `{name}`: no accepted request can have the path `{}`",
            route.path.escape_debug()
        ));
    }
    let (folded, reserved_folded) = (Folded::of(path.as_bytes()), Folded::of(reserved.as_bytes()));
    let inside = !reserved_folded.is_empty() && prefixes(&folded).any(|prefix| *prefix == *reserved_folded);
    inside.then(|| {
        format!("route `{name}`: its path lies under the reserved path `{reserved}`, which comes first")
    })
}

/// A host as requests have it, in its one spelling but for case, or `*.` and the end of one.
fn is_host(host: &str) -> bool {
    let end = host.strip_prefix("*.").unwrap_or(host);
    Authority::parse(end.as_bytes())
        .is_ok_and(|authority| authority.as_str().eq_ignore_ascii_case(end) && authority.port().is_none())
}

fn is_tie(one: &Route, other: &Route) -> bool {
    host_key(one) == host_key(other)
        && same_path(one, other)
        && share_methods(one, other)
        && one.methods.is_empty() == other.methods.is_empty()
}

/// Whether one request can match both.
fn meet(one: &Route, other: &Route) -> bool {
    let (a, b) = (of_route(one), of_route(other));
    let nested = prefixes(&a).any(|prefix| *prefix == *b) || prefixes(&b).any(|prefix| *prefix == *a);
    nested && hosts_meet(host_key(one).as_deref(), host_key(other).as_deref()) && share_methods(one, other)
}

/// The order of the lookup: the greater wins.
fn precedence(one: &Route, other: &Route) -> Ordering {
    let rank = |route: &Route| {
        let host = host_key(route);
        let exactness = match host.as_deref() {
            None => (0, 0),
            Some(host) if host.starts_with('*') => (1, host.len()),
            Some(_) => (2, 0),
        };
        (exactness, depth(&of_route(route)), !route.methods.is_empty())
    };
    rank(one).cmp(&rank(other))
}

fn why(winner: &Route, loser: &Route) -> &'static str {
    if host_key(winner) != host_key(loser) {
        "its host is named more exactly"
    } else if same_path(winner, loser) {
        "it names the method"
    } else {
        "its path is longer"
    }
}

fn place(route: &Route) -> String {
    let methods: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
    let methods = if methods.is_empty() { String::new() } else { format!("{} ", methods.join(",")) };
    format!("{methods}{}{}", route.host.as_deref().unwrap_or(""), route.path)
}

fn host_key(route: &Route) -> Option<String> {
    route.host.as_deref().map(str::to_ascii_lowercase)
}

fn same_path(one: &Route, other: &Route) -> bool {
    of_route(one) == of_route(other)
}

fn share_methods(one: &Route, other: &Route) -> bool {
    one.methods.is_empty()
        || other.methods.is_empty()
        || one.methods.iter().any(|m| other.methods.contains(m))
}

fn hosts_meet(one: Option<&str>, other: Option<&str>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return true };
    let covers = |wide: &str, narrow: &str| {
        wide.strip_prefix('*').is_some_and(|suffix| narrow.trim_start_matches('*').ends_with(suffix))
    };
    one == other || covers(one, other) || covers(other, one)
}
