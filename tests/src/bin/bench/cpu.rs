//! CPU microseconds per request (utime + stime of the proxy's process tree over the requests it answered) beside bare
//! Pingora: with the same settings and allocator, and out of the box. Interleaved rounds; the median ratio counts.

use std::time::{Duration, Instant};

use super::plot::{self, Bar};
use super::setup::{Contender, Wanted, bare, countersign, repository, start_upstream};
use super::table::{Figures, line};
use super::{Failure, http2, load};

/// Rounds of each contender.
const ROUNDS: usize = 7;
/// Length of one round.
const ROUND: Duration = Duration::from_secs(3);

/// One protocol and who is measured over it, the reference first.
struct Series {
    title: &'static str,
    over_http2: bool,
    contenders: Vec<Contender>,
}

pub(super) fn run() -> Result<(), Failure> {
    let upstream = start_upstream()?;
    let ours =
        |name, path, sessions, h2c| countersign(&Wanted { name, path, sessions, h2c, under: &[] }, upstream);
    let series = [
        Series {
            title: "HTTP/1.1",
            over_http2: false,
            contenders: vec![
                bare("bare Pingora, same settings", "bare_proxy", upstream, false)?,
                bare("bare Pingora, out of the box", "bare_proxy_default", upstream, false)?,
                ours("Countersign, route that asks for nothing", "/public", 0, false)?,
                ours("Countersign, 1,000 sessions", "/", 1_000, false)?,
                ours("Countersign, 100,000 sessions", "/", 100_000, false)?,
            ],
        },
        Series {
            title: "HTTP/2 from the client",
            over_http2: true,
            contenders: vec![
                bare("bare Pingora, same settings", "bare_proxy", upstream, true)?,
                ours("Countersign, 1,000 sessions", "/", 1_000, true)?,
            ],
        },
    ];
    let mut bars = Vec::new();
    for series in &series {
        let figures = series.measure()?;
        series.print(&figures);
        bars.extend(series.bars(&figures));
    }
    plot::write(&repository()?.join("docs/cost.svg"), &bars)
}

impl Series {
    fn measure(&self) -> Result<Vec<Figures>, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut figures = vec![Figures::default(); self.contenders.len()];
        for round in 0..=ROUNDS {
            for (contender, figures) in self.contenders.iter().zip(&mut figures) {
                // The first round warms up: every session is asked for once.
                let figure = runtime.block_on(self.round(contender, round == 0))?;
                if round > 0 {
                    figures.push(figure);
                }
                eprint!(".");
            }
        }
        eprintln!();
        Ok(figures)
    }

    /// CPU microseconds per request over one round.
    async fn round(&self, contender: &Contender, everyone: bool) -> Result<f64, Failure> {
        let before = contender.process.cpu_seconds()?;
        let end = Instant::now() + ROUND;
        let served = if self.over_http2 {
            http2::closed_loop(contender, end).await?
        } else {
            load::closed_loop(contender, end, everyone).await?
        };
        let spent = contender.process.cpu_seconds()? - before;
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

    fn bars(&self, figures: &[Figures]) -> Vec<Bar> {
        let bar = |(contender, figures_of): (&Contender, &Figures)| Bar {
            label: format!("{} ({})", contender.name, self.title),
            ratio: figures_of.ratio(&figures[0]),
            ours: contender.name.starts_with("Countersign"),
        };
        self.contenders.iter().zip(figures).map(bar).collect()
    }
}
