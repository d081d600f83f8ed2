//! Instructions per request under callgrind: the one figure that other work on the machine does not move, so CI can
//! watch it. The whole process counts, Pingora included; the kernel does not.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::setup::{Contender, Wanted, countersign, repository, start_upstream};
use super::table::line;
use super::{Failure, load};

/// How much more than written down is let pass.
const GROWTH: f64 = 1.05;
const WARM_UP: usize = 100;
const COUNTED: usize = 500;

/// Fails when a request takes more than 5 % more instructions than written down.
pub(super) fn check() -> Result<(), Failure> {
    let (measured, written) = (measure()?, read()?);
    let ratio = measured / written;
    line(&format!("instructions per request: {measured:.0}, written down: {written:.0}, ratio {ratio:.3}"));
    if ratio > GROWTH {
        return Err("a request takes over 5 % more instructions than written down; find out why, or, if it has to be \
                    so, write the new number down: tests/instructions write"
            .into());
    }
    Ok(())
}

/// Writes today's number down as the one to compare with.
pub(super) fn write() -> Result<(), Failure> {
    let measured = measure()?;
    std::fs::write(file()?, format!("{measured:.0}\n"))?;
    line(&format!("written down: {measured:.0} instructions per request"));
    Ok(())
}

fn file() -> Result<PathBuf, Failure> {
    Ok(repository()?.join("tests/instructions.txt"))
}

fn read() -> Result<f64, Failure> {
    Ok(std::fs::read_to_string(file()?)?.trim().parse()?)
}

fn measure() -> Result<f64, Failure> {
    let upstream = start_upstream()?;
    counted(|under| {
        let wanted = Wanted { name: "Countersign", path: "/", sessions: 1, h2c: false, under };
        let contender = countersign(&wanted, upstream)?;
        let request = load::requests(&contender, 0, 1).swap_remove(0);
        Ok((contender, request))
    })
}

/// Instructions per request of a proxy that `start` starts under the command it is given, and of the request that goes
/// with it.
pub(super) fn counted(
    start: impl FnOnce(&[String]) -> Result<(Contender, Vec<u8>), Failure>,
) -> Result<f64, Failure> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("callgrind");
    // One processor, so that the proxy runs one worker: two hand work to each other, differently each time.
    let under = ["taskset", "-c", "0", "valgrind", "--quiet", "--tool=callgrind"].map(str::to_owned);
    let under = [&under[..], &[format!("--callgrind-out-file={}", out.display())]].concat();
    let (contender, request) = start(&under)?;
    let mut stream = TcpStream::connect(contender.address)?;
    stream.set_nodelay(true)?;
    for _ in 0..WARM_UP {
        load::ask_once(&mut stream, &request)?;
    }
    control("--zero", &contender)?;
    for _ in 0..COUNTED {
        load::ask_once(&mut stream, &request)?;
    }
    control("--dump", &contender)?;
    #[expect(clippy::cast_precision_loss, reason = "some million")]
    Ok(total(&out)? / COUNTED as f64)
}

fn control(order: &str, contender: &Contender) -> Result<(), Failure> {
    let done =
        Command::new("callgrind_control").arg(order).arg(contender.process.id().to_string()).output()?;
    if done.status.success() {
        Ok(())
    } else {
        Err(format!("callgrind_control: {}", String::from_utf8_lossy(&done.stderr)).into())
    }
}

/// The sum of what was dumped; it is written soon after it was asked for.
fn total(out: &Path) -> Result<f64, Failure> {
    let dump = out.with_extension("1");
    for _ in 0..100 {
        let text = std::fs::read_to_string(&dump).unwrap_or_default();
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        if let Some(total) = total {
            return Ok(total.trim().parse()?);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err("callgrind has written nothing down".into())
}
