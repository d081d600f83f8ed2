//! Instructions per request under callgrind: the one figure that other work on the machine does not move, so CI can
//! watch it. The whole process counts, Pingora included; the kernel does not, nor what the proxy does without requests.
//! Libraries choose their code by the processor, and compilers differ: a number is compared only with one of its kind.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::setup::{Contender, Wanted, countersign, repository, start_upstream};
use super::table::line;
use super::{Failure, load};

/// How much more than written down is let pass.
const GROWTH: f64 = 1.05;
const WARM_UP: usize = 100;
const COUNTED: usize = 512;
/// How long a proxy is waited for that runs some fifty times slower than usual.
const PATIENCE: Duration = Duration::from_mins(1);

/// Fails when a request takes more than 5 % more instructions than written down for a machine like this one. Where
/// nothing is written down, says so.
pub(super) fn check() -> Result<(), Failure> {
    let (kind, measured) = (kind()?, measure()?);
    let Some((_, written)) = read()?.into_iter().find(|(known, _)| *known == kind) else {
        line(&format!("instructions per request: {measured:.0}"));
        line(&format!("NOT COMPARED: nothing is written down for {kind} (tests/instructions write does it)"));
        return Ok(());
    };
    let ratio = measured / written;
    line(&format!(
        "instructions per request: {measured:.0}, written down for {kind}: {written:.0}, ratio {ratio:.3}"
    ));
    if ratio > GROWTH {
        return Err("a request takes over 5 % more instructions than written down; find out why, or, if it has to be \
                    so, write the new number down: tests/instructions write"
            .into());
    }
    Ok(())
}

/// Writes today's number down as the one to compare with on machines like this one.
pub(super) fn write() -> Result<(), Failure> {
    let (kind, measured) = (kind()?, measure()?);
    let mut all = read()?;
    all.retain(|(known, _)| *known != kind);
    all.push((kind.clone(), measured));
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut text = String::new();
    for (kind, number) in &all {
        writeln!(text, "{kind}: {number:.0}")?;
    }
    std::fs::write(file()?, text)?;
    line(&format!("written down for {kind}: {measured:.0} instructions per request"));
    Ok(())
}

/// What the number depends on besides our own code: the instructions that libraries find (under valgrind at most AVX2),
/// the C library, the compiler.
fn kind() -> Result<String, Failure> {
    #[cfg(target_arch = "x86_64")]
    let level = match (is_x86_feature_detected!("avx2"), is_x86_feature_detected!("avx")) {
        (true, _) => " avx2",
        (false, true) => " avx",
        (false, false) => "",
    };
    #[cfg(not(target_arch = "x86_64"))]
    let level = "";
    let library = said(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let compiler = said(Command::new("rustc").arg("--version"))?;
    let compiler: Vec<&str> = compiler.split(' ').take(2).collect();
    Ok(format!("{}{level}, {library}, {}", std::env::consts::ARCH, compiler.join(" ")))
}

fn said(command: &mut Command) -> Result<String, Failure> {
    Ok(String::from_utf8(command.output()?.stdout)?.trim().to_owned())
}

fn file() -> Result<PathBuf, Failure> {
    Ok(repository()?.join("tests/instructions.txt"))
}

/// Kinds of machines with their numbers, a line each.
fn read() -> Result<Vec<(String, f64)>, Failure> {
    let text = std::fs::read_to_string(file()?).unwrap_or_default();
    let entry = |line: &str| {
        let (kind, number) =
            line.rsplit_once(": ").ok_or("a line without a number in tests/instructions.txt")?;
        Ok((kind.to_owned(), number.trim().parse()?))
    };
    text.lines().map(entry).collect()
}

fn measure() -> Result<f64, Failure> {
    let upstream = start_upstream()?;
    let start = |under: &[String]| {
        let wanted = Wanted { name: "Countersign", path: "/", sessions: 1, h2c: false, under, servers: None };
        let contender = countersign(&wanted, upstream)?;
        let request = load::requests(&contender, 0, 1).swap_remove(0);
        Ok((contender, vec![request]))
    };
    counted(start, || Ok(()))
}

/// Instructions per request of a proxy that `start` starts under the command it is given, and of the requests that go
/// with it, which take turns. `before` is done before each; what the proxy does about it is counted too.
pub(super) fn counted(
    start: impl FnOnce(&[String]) -> Result<(Contender, Vec<Vec<u8>>), Failure>,
    mut before: impl FnMut() -> Result<(), Failure>,
) -> Result<f64, Failure> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("callgrind");
    // One processor, so that the proxy runs one worker: two hand work to each other, differently each time.
    let processor = processor()?;
    let under = ["taskset", "-c", &processor, "valgrind", "--quiet", "--tool=callgrind"].map(str::to_owned);
    let under = [&under[..], &[format!("--callgrind-out-file={}", out.display())]].concat();
    let (contender, requests) = start(&under)?;
    let first = requests.first().ok_or("nothing to ask")?;
    let mut stream = TcpStream::connect(contender.address)?;
    stream.set_nodelay(true)?;
    // Before the stores were heard of the answer is a 503.
    let begun = Instant::now();
    while let Err(failure) = load::ask_once(&mut stream, first) {
        if begun.elapsed() > PATIENCE {
            return Err(failure);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    for request in requests.iter().cycle().take(WARM_UP) {
        before()?;
        load::ask_once(&mut stream, request)?;
    }
    control("--zero", &contender)?;
    let begun = Instant::now();
    for request in requests.iter().cycle().take(COUNTED) {
        before()?;
        load::ask_once(&mut stream, request)?;
    }
    let took = begun.elapsed();
    control("--dump", &contender)?;
    let busy = total(&out.with_extension("1"))?;
    // What is done by the clock is no part of a request, and is more on a slow machine.
    std::thread::sleep(took);
    control("--dump", &contender)?;
    let idle = total(&out.with_extension("2"))?;
    #[expect(clippy::cast_precision_loss, reason = "some million")]
    Ok((busy - idle) / COUNTED as f64)
}

/// A processor that this program may use.
fn processor() -> Result<String, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = allowed.and_then(|list| list.trim().split([',', '-']).next());
    Ok(first.ok_or("the kernel names no processor")?.to_owned())
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
fn total(dump: &Path) -> Result<f64, Failure> {
    for _ in 0..100 {
        let text = std::fs::read_to_string(dump).unwrap_or_default();
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        if let Some(total) = total {
            return Ok(total.trim().parse()?);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err("callgrind has written nothing down".into())
}
