//! Host, canonical path and method choose a route: the longest path wins, ties are refused at load.

use std::sync::Arc;

use http::Method;

use super::Route;

/// All routes of one configuration, arranged for lookup.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
}

/// What a request's host, path and method lead to.
#[derive(Clone, Debug)]
pub enum Found<'a> {
    /// This route.
    Route(&'a Arc<Route>),
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
    /// Index of the first route.
    pub first: usize,
    /// Index of the second route.
    pub second: usize,
    /// What is wrong, for the operator.
    pub what: String,
}

impl RouteTable {
    /// Arranges routes. `reserved` is the path that comes first on every host (`/.countersign/`).
    ///
    /// # Errors
    /// Every tie; nothing is arranged then.
    pub fn build(_routes: Vec<Route>, _reserved: &str) -> Result<Self, Vec<Overlap>> {
        todo!()
    }

    /// Finds what serves a request. `host` is lower case without port, `path` canonical.
    pub fn find<'a>(&'a self, _host: &str, _path: &'a str, _method: &Method) -> Found<'a> {
        todo!()
    }

    /// Every route, in the order of the configuration.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}
