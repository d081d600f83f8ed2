//! CPU microseconds per request (utime + stime of the proxy's process tree over the requests it answered) beside bare
//! Pingora: with the same settings and allocator, and out of the box. Interleaved rounds; the median ratio counts.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::plot::{self, Bar};
use super::servers::Servers;
use super::setup::{Contender, Wanted, bare, countersign, repository, start_upstream};
use super::table::{Figures, line};
use super::{Failure, http2, load, nginx};

/// Rounds of each contender.
const ROUNDS: usize = 7;
/// Length of one round.
const ROUND: Duration = Duration::from_secs(3);
/// Sessions that are all asked for within a fraction of a round.
const FEW: usize = 10_000;
/// How often all sessions are asked for before anything counts, where there are many: the first time they are read and put
/// into Redis, which tells that they have changed; the second time they are read from there, and stay.
const WARMINGS: usize = 3;

const SAME: &str = "bare Pingora, same settings";
const DEFAULT: &str = "bare Pingora, out of the box";
const THOUSAND: &str = "Countersign, 1,000 sessions";
const MANY: &str = "Countersign, 100,000 sessions";
/// What must hold over HTTP/1.1 (DESIGN section 14): whose CPU per request, over whose, and how much it may be.
const BARS: [(&str, &str, f64); 5] = [
    (THOUSAND, SAME, 1.2),
    (MANY, SAME, 1.2),
    (THOUSAND, DEFAULT, 1.0),
    (THOUSAND, nginx::NAME, 0.62),
    (THOUSAND, nginx::WITH_STORE, 0.62),
];

/// One protocol and who is measured over it, the reference first.
struct Series {
    title: &'static str,
    over_http2: bool,
    contenders: Vec<Contender>,
}

/// With nginx as well, or with that and 100,000 sessions, which takes longer.
pub(super) fn run(many: bool, beside_nginx: bool) -> Result<(), Failure> {
    let upstream = start_upstream()?;
    let servers = if many { Some([Servers::start(), Servers::start()]) } else { None };
    let [first, second] = servers.as_ref().map_or([None, None], |[one, other]| [Some(one), Some(other)]);
    let (mut plain, http2) = (over_http1(upstream, first)?, over_http2(upstream, second)?);
    let nginx = if beside_nginx { nginx::start(upstream)? } else { None };
    let _uncounted = nginx.map(|nginx| {
        plain.contenders.extend(nginx.contenders);
        nginx.uncounted
    });
    let figures = plain.measure()?;
    plain.print(&figures);
    plain.print_bars(&figures);
    let mut bars = plain.bars(&figures);
    let figures = http2.measure()?;
    http2.print(&figures);
    bars.extend(http2.bars(&figures));
    plot::write(&repository()?.join("docs/cost.svg"), &bars)
}

fn over_http1(upstream: SocketAddr, servers: Option<&Servers>) -> Result<Series, Failure> {
    let ours = |name, path, sessions, servers| {
        countersign(&Wanted { name, path, sessions, h2c: false, under: &[], servers }, upstream)
    };
    let mut contenders = vec![
        bare(SAME, "bare_proxy", upstream, false)?,
        bare(DEFAULT, "bare_proxy_default", upstream, false)?,
        ours("Countersign, route that asks for nothing", "/public", 1_000, None)?,
        ours(THOUSAND, "/", 1_000, None)?,
    ];
    if servers.is_some() {
        contenders.push(ours(MANY, "/", 100_000, servers)?);
    }
    Ok(Series { title: "HTTP/1.1", over_http2: false, contenders })
}

fn over_http2(upstream: SocketAddr, servers: Option<&Servers>) -> Result<Series, Failure> {
    let ours = |name, sessions, servers| {
        countersign(&Wanted { name, path: "/", sessions, h2c: true, under: &[], servers }, upstream)
    };
    let mut contenders = vec![bare(SAME, "bare_proxy", upstream, true)?, ours(THOUSAND, 1_000, None)?];
    if servers.is_some() {
        contenders.push(ours(MANY, 100_000, servers)?);
    }
    Ok(Series { title: "HTTP/2 from the client", over_http2: true, contenders })
}

impl Series {
    fn measure(&self) -> Result<Vec<Figures>, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut figures = vec![Figures::default(); self.contenders.len()];
        for contender in &self.contenders {
            let times = if contender.tokens.len() > FEW { WARMINGS } else { 1 };
            for _ in 0..times {
                runtime.block_on(self.round(contender, Duration::ZERO))?;
                eprint!(".");
            }
        }
        for _ in 0..ROUNDS {
            for (contender, figures) in self.contenders.iter().zip(&mut figures) {
                figures.push(runtime.block_on(self.round(contender, ROUND))?);
                eprint!(".");
            }
        }
        eprintln!();
        Ok(figures)
    }

    /// CPU microseconds per request over one round of `length`; of no length: as long as every session takes.
    async fn round(&self, contender: &Contender, length: Duration) -> Result<f64, Failure> {
        let before = contender.cpu_seconds()?;
        let (end, everyone) = (Instant::now() + length, length.is_zero());
        let served = if self.over_http2 {
            http2::closed_loop(contender, end, everyone).await?
        } else {
            load::closed_loop(contender, end, everyone).await?
        };
        let spent = contender.cpu_seconds()? - before;
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 requests")]
        Ok(spent * 1e6 / served as f64)
    }

    fn print(&self, figures: &[Figures]) {
        line(&format!("\n| {} | CPU per request, us (min / median / max) | ratio |", self.title));
        line("| --- | --- | --- |");
        for (contender, figures_of) in self.contenders.iter().zip(figures) {
            let (least, median, most) = figures_of.spread();
            let ratio = figures_of.ratio(&figures[0]);
            line(&format!("| {} | {least:.1} / {median:.1} / {most:.1} | {ratio:.2} |", contender.name));
        }
    }

    /// Says how far the bars are kept.
    fn print_bars(&self, figures: &[Figures]) {
        let of = |name: &str| self.contenders.iter().position(|contender| contender.name == name);
        line("\n| CPU per request | over | measured | at most |");
        line("| --- | --- | --- | --- |");
        for (name, reference, bar) in BARS {
            if let (Some(one), Some(other)) = (of(name), of(reference)) {
                let ratio = figures[one].ratio(&figures[other]);
                line(&format!("| {name} | {reference} | {ratio:.2} | {bar:.2} |"));
            }
        }
    }

    fn bars(&self, figures: &[Figures]) -> Vec<Bar> {
        let bar = |(contender, figures_of): (&Contender, &Figures)| Bar {
            label: format!("{} ({})", contender.name, self.title),
            ratio: figures_of.ratio(&figures[0]),
            ours: contender.name.starts_with("Countersign"),
        };
        self.contenders.iter().zip(figures).map(bar).collect()
    }
}
