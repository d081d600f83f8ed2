//! Everything that the page shows, in one document: the status, what each route does, what was refused, how the last
//! minutes went.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::history::{EVERY, Percentiles, Point};
use crate::config::Snapshot;
use crate::endpoints::operators::OperatorState;
use crate::endpoints::operators::explain::RouteView;
use crate::endpoints::operators::status::{self, Status};
use crate::lifecycle::operators::Neighbours;
use crate::telemetry::figures::{self, Line};
use crate::telemetry::recent::RefusalView;

/// What the page shows.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::endpoints::operators) struct Overview {
    status: Status,
    routes: Vec<RouteFigures>,
    upstreams: Vec<UpstreamFigures>,
    /// How often each cause kept a request from being let through, the most frequent first.
    reasons: Vec<Cause>,
    recent: Vec<RefusalView>,
    every_seconds: u64,
    history: Vec<Point>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct RouteFigures {
    #[serde(flatten)]
    route: RouteView,
    /// Requests since the start, by outcome.
    requests: BTreeMap<String, u64>,
    latency: Percentiles,
}

#[derive(Debug, Serialize, JsonSchema)]
struct UpstreamFigures {
    name: String,
    servers: usize,
    /// Absent while nobody watches them.
    healthy: Option<f64>,
    errors: f64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Cause {
    code: String,
    count: u64,
}

/// The overview now.
pub(in crate::endpoints::operators) fn overview(
    state: &OperatorState<'_>,
    neighbours: &Neighbours,
) -> Overview {
    Overview {
        status: status::status(state, neighbours),
        routes: routes(state),
        upstreams: upstreams(state.snapshot, state),
        reasons: causes(&figures::counts(&state.metrics.refusals)),
        recent: state.metrics.recent.shown(),
        every_seconds: EVERY.as_secs(),
        history: state.console.history.points(state.metrics, state.now),
    }
}

fn routes(state: &OperatorState<'_>) -> Vec<RouteFigures> {
    let requests = figures::counts(&state.metrics.requests);
    let figures = |route: &std::sync::Arc<crate::policy::Route>| {
        let of_route = requests.iter().filter(|line| line.label("route") == route.name);
        RouteFigures {
            requests: of_route.map(|line| (line.label("outcome").to_owned(), line.count())).collect(),
            latency: Percentiles::of(&state.metrics.latency(Some(&route.name))),
            route: RouteView::of(route),
        }
    };
    state.snapshot.routes.routes().iter().map(figures).collect()
}

fn upstreams(snapshot: &Snapshot, state: &OperatorState<'_>) -> Vec<UpstreamFigures> {
    let (healthy, errors) =
        (figures::levels(&state.metrics.upstream_healthy), figures::counts(&state.metrics.upstream_errors));
    let of = |lines: &[Line], name: &str| -> Option<f64> {
        let mut all =
            lines.iter().filter(|line| line.label("upstream") == name).map(|line| line.value).peekable();
        all.peek().is_some().then(|| all.sum())
    };
    let figures = |upstream: &crate::upstream::Upstream| UpstreamFigures {
        name: upstream.name.clone(),
        servers: upstream.servers.len(),
        healthy: of(&healthy, &upstream.name),
        errors: of(&errors, &upstream.name).unwrap_or(0.0),
    };
    snapshot.upstreams.iter().map(figures).collect()
}

fn causes(refusals: &[Line]) -> Vec<Cause> {
    let mut by_code = BTreeMap::<&str, u64>::new();
    for line in refusals {
        *by_code.entry(line.label("reason")).or_default() += line.count();
    }
    let mut causes: Vec<Cause> =
        by_code.into_iter().map(|(code, count)| Cause { code: code.to_owned(), count }).collect();
    causes.sort_by_key(|cause| std::cmp::Reverse(cause.count));
    causes
}
