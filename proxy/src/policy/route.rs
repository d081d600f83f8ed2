//! Host, canonical path and method choose a route. Precedence: the reserved path; an exact host, then the longest
//! wildcard, then no host; there the longest path by whole segments, with or without its last slash; there a route
//! that names the method, then one for every method. Ties are refused at load.
//! A path that another reader could take for a longer route's path (case, encoding, `;`, a last dot) finds nothing:
//! odd spelling never leads to another policy than plain spelling.

pub mod alias;
mod overlap;
mod path;

use std::sync::Arc;

use http::Method;

use self::path::{Folded, Plain};
use super::Route;

/// All routes of one configuration, arranged for lookup.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
    /// The reserved path without its last slash; empty when there is none.
    reserved: String,
    /// Exact hosts, sorted.
    exact: Vec<(String, Paths)>,
    /// Suffixes (`.example.org`) of wildcard hosts, longest first.
    wildcard: Vec<(String, Paths)>,
    /// Routes for every host.
    any: Option<Paths>,
    /// Whether some route's path is spelled otherwise than its folded form, so that plain requests are folded too.
    odd: bool,
}

/// What a request's host, path and method lead to.
#[derive(Clone, Debug)]
pub enum Found<'a> {
    /// The route at this place of [`RouteTable::routes`].
    Route(usize),
    /// The reserved path; the rest after it (without leading slash).
    Reserved(&'a str),
    /// Routes cover the path, none the method.
    MethodNotAllowed,
    /// No route covers the path.
    NoRoute,
    /// No route serves the host.
    UnknownHost,
}

/// Two routes that one request could match equally well, or a route that can never be reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Overlap {
    /// Index of the first route; in a report the one that wins.
    pub first: usize,
    /// Index of the second route; the same as `first` when one route alone is at fault.
    pub second: usize,
    /// What is wrong, for the operator.
    pub what: String,
}

/// The routes of one host (or wildcard, or none).
#[derive(Clone, Debug, Default)]
struct Paths {
    /// Sorted by path.
    places: Vec<Place>,
    /// The paths as the most lenient reader sees them, sorted.
    folded: Vec<Vec<u8>>,
}

/// What is served at one path.
#[derive(Clone, Debug)]
struct Place {
    /// Decoded, without its last slash; the root is empty.
    path: Vec<u8>,
    /// Routes by method; `None` is every method.
    choices: Vec<(Option<Method>, usize)>,
}

impl RouteTable {
    /// Arranges routes. `reserved` is the path that comes first on every host (`/.countersign/`); empty for none.
    ///
    /// # Errors
    /// Every tie, every route that can never be reached; nothing is arranged then.
    pub fn build(routes: Vec<Route>, reserved: &str) -> Result<Self, Vec<Overlap>> {
        let faults = overlap::faults(&routes, reserved);
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut table = Self { reserved: reserved.trim_end_matches('/').to_owned(), ..Self::default() };
        for (index, route) in routes.iter().enumerate() {
            let (path, folded) = (path::of_route(route), Folded::of(route.path.as_bytes()).to_vec());
            table.odd |= folded != path;
            table.paths_of_host(route.host.as_deref()).insert(path, folded, index, &route.methods);
        }
        table.exact.sort_by(|(one, _), (other, _)| one.cmp(other));
        table.wildcard.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        table.routes = routes.into_iter().map(Arc::new).collect();
        Ok(table)
    }

    /// Finds what serves a request. `host` is lower case without port, `path` canonical.
    pub fn find<'a>(&'a self, host: &str, path: &'a str, method: &Method) -> Found<'a> {
        match self.locate(host, path) {
            Located::Place(place) => match place.choose(method) {
                Some(index) => Found::Route(index),
                None => Found::MethodNotAllowed,
            },
            Located::Reserved(rest) => Found::Reserved(rest),
            Located::Nothing => Found::NoRoute,
            Located::UnknownHost => Found::UnknownHost,
        }
    }

    /// The methods served at a place, as `Allow` lists them; `None` where nothing is served or every method is.
    pub fn allowed(&self, host: &str, path: &str) -> Option<String> {
        let Located::Place(place) = self.locate(host, path) else { return None };
        let named: Option<Vec<&str>> =
            place.choices.iter().map(|(method, _)| method.as_ref().map(Method::as_str)).collect();
        let mut named = named?;
        if named.contains(&"GET") && !named.contains(&"HEAD") {
            named.push("HEAD");
        }
        Some(named.join(", "))
    }

    /// Every route, in the order of the configuration.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Every pair of routes that one request can match, the winner first, ordered by the loser's place in the
    /// configuration; what `check` prints.
    pub fn report(&self) -> Vec<Overlap> {
        overlap::report(&self.routes)
    }

    /// The part of the report that deserves a warning: pairs in which the route with the shorter path wins, because
    /// it names the host more exactly.
    pub fn shadowed(&self) -> Vec<Overlap> {
        let depth = |index: usize| path::depth(self.routes[index].path.as_bytes());
        let mut pairs = self.report();
        pairs.retain(|pair| depth(pair.first) < depth(pair.second));
        pairs
    }

    fn paths_of_host(&mut self, host: Option<&str>) -> &mut Paths {
        let Some(host) = host else { return self.any.get_or_insert_default() };
        let host = host.to_ascii_lowercase();
        let (hosts, key) = match host.strip_prefix('*') {
            Some(suffix) => (&mut self.wildcard, suffix.to_owned()),
            None => (&mut self.exact, host),
        };
        let at = hosts.iter().position(|(known, _)| *known == key).unwrap_or_else(|| {
            hosts.push((key, Paths::default()));
            hosts.len() - 1
        });
        &mut hosts[at].1
    }

    /// The tables that serve a host, the most exact first.
    fn tables(&self, host: &str) -> impl Iterator<Item = &Paths> {
        let exact = self.exact.binary_search_by(|(known, _)| known.as_str().cmp(host)).ok();
        let exact = exact.map(|at| &self.exact[at].1);
        let covers = move |suffix: &str| host.len() > suffix.len() && host.ends_with(suffix);
        let wildcard = self.wildcard.iter().filter(move |(suffix, _)| covers(suffix)).map(|(_, paths)| paths);
        exact.into_iter().chain(wildcard).chain(self.any.as_ref())
    }

    fn locate<'a>(&'a self, host: &str, path: &'a str) -> Located<'a> {
        let mut tables = self.tables(host).peekable();
        if tables.peek().is_none() {
            return Located::UnknownHost;
        }
        if let Some(rest) = self.reserved_rest(path) {
            return Located::Reserved(rest);
        }
        let plain = Plain::of(path);
        let folded = (self.odd || path::is_odd(path)).then(|| Folded::of(path.as_bytes()));
        if folded.as_ref().is_some_and(|folded| self.reaches_reserved(folded)) {
            return Located::Nothing;
        }
        for paths in tables {
            let place = path::prefixes(&plain).find_map(|prefix| paths.at(prefix));
            let depth = place.map(|place| path::depth(&place.path));
            let lenient = folded.as_ref().and_then(|folded| paths.lenient_depth(folded));
            if lenient > depth {
                return Located::Nothing;
            }
            if let Some(place) = place {
                return Located::Place(place);
            }
        }
        Located::Nothing
    }

    fn reserved_rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.reserved.as_str()).filter(|_| !self.reserved.is_empty())?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }

    fn reaches_reserved(&self, folded: &Folded) -> bool {
        let reserved = Folded::of(self.reserved.as_bytes());
        !self.reserved.is_empty() && path::prefixes(folded).any(|prefix| *prefix == *reserved)
    }
}

/// Where a path leads, before the method is looked at.
enum Located<'a> {
    Place(&'a Place),
    Reserved(&'a str),
    Nothing,
    UnknownHost,
}

impl Paths {
    fn insert(&mut self, path: Vec<u8>, folded: Vec<u8>, index: usize, methods: &[Method]) {
        let at = self.places.binary_search_by(|place| place.path.cmp(&path)).unwrap_or_else(|at| {
            self.places.insert(at, Place { path, choices: Vec::new() });
            at
        });
        let choices = &mut self.places[at].choices;
        if methods.is_empty() {
            choices.push((None, index));
        }
        choices.extend(methods.iter().map(|method| (Some(method.clone()), index)));
        let at = self.folded.partition_point(|known| *known < folded);
        self.folded.insert(at, folded);
    }

    fn at(&self, path: &[u8]) -> Option<&Place> {
        let at = self.places.binary_search_by(|place| place.path.as_slice().cmp(path)).ok()?;
        Some(&self.places[at])
    }

    /// How many segments the longest path has that a lenient reader finds here.
    fn lenient_depth(&self, folded: &Folded) -> Option<usize> {
        let known = |prefix: &[u8]| self.folded.binary_search_by(|path| path.as_slice().cmp(prefix)).is_ok();
        path::prefixes(folded).find(|prefix| known(prefix)).map(path::depth)
    }
}

impl Place {
    /// The route that names the method; HEAD goes where GET goes; else the route for every method.
    fn choose(&self, method: &Method) -> Option<usize> {
        let named = |wanted: &Method| {
            self.choices.iter().find(|(known, _)| known.as_ref() == Some(wanted)).map(|&(_, index)| index)
        };
        named(method)
            .or_else(|| named(&Method::GET).filter(|_| *method == Method::HEAD))
            .or_else(|| self.choices.iter().find(|(known, _)| known.is_none()).map(|&(_, index)| index))
    }
}

#[cfg(test)]
mod tests;
