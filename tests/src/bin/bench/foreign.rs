//! What a session of another framework costs beside one of ours, both kept in the process: instructions per request, as
//! [`super::instructions`] counts them, over the same Redis and the same directory. And what one costs whose application
//! writes it anew at every request, so that it never stays in the process.

use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::instructions::counted;
use super::process::{Process, free_address};
use super::setup::{COOKIE, Contender, configuration, migrate, path, release_folder, start_upstream};
use super::table::line;
use super::{Failure, sessions};

/// How much more a session of another framework may cost.
const MOST: f64 = 1.03;
const SECRET: &str = "the-secret-of-an-application-that-was-there-before";
/// How long the proxy is given to hear that a session was written: on one processor, under callgrind.
const HEARS_WITHIN: Duration = Duration::from_millis(20);
/// Requests are signed with hashes of blocks of so many bytes, and callgrind knows no instructions for hashing: by a byte more or
/// less one block too many would be counted, which is two in a hundred. So requests of all lengths take turns.
const BLOCK: usize = 64;
const ID: &str = "Kc3_PxlLu7hd1N4WhcGHrjgXbWdPCmtn";

/// Counts, and fails when one of the frameworks costs over 3 % more.
pub(super) fn check() -> Result<(), Failure> {
    let native = measure("", |token| format!("{COOKIE}={token}"), false)?;
    line(&format!("instructions per request, session of ours: {native:.0}"));
    let express = "format = { name = \"express\", secrets = [{ file = \"SECRET_FILE\" }] }";
    let mut worst: f64 = 0.0;
    for (name, format, cookie) in [
        ("express", express, format!("connect.sid={}", signed())),
        ("django", "format = \"django\"", "sessionid=0123456789abcdefghijklmnopqrstuv".to_owned()),
    ] {
        let found = measure(format, |_| cookie.clone(), false)?;
        line(&format!("instructions per request, {name}: {found:.0}, ratio {:.3}", found / native));
        worst = worst.max(found / native);
    }
    let rewritten = measure(express, |_| format!("connect.sid={}", signed()), true)?;
    line(&format!(
        "instructions per request, express, written before every one: {rewritten:.0}, ratio {:.3}",
        rewritten / native
    ));
    if worst > MOST {
        return Err("a session of another framework costs over 3 % more than one of ours".into());
    }
    Ok(())
}

/// The cookie as express-session signs it, percent-encoded as it sets it.
fn signed() -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(ID.as_bytes());
    let signature = STANDARD_NO_PAD.encode(mac.finalize().into_bytes());
    format!("s%3A{ID}.{}", signature.replace('+', "%2B").replace('/', "%2F"))
}

fn measure(format: &str, cookie: impl Fn(&str) -> String, rewrites: bool) -> Result<f64, Failure> {
    let upstream = start_upstream()?;
    let redis = free_address()?;
    let mut server = Command::new("redis-server");
    server.args(["--port", &redis.port().to_string(), "--bind", "127.0.0.1", "--save", ""]);
    let _redis = Process::start(server.stdout(Stdio::null()), redis)?;
    let mut connection = redis::Client::open(format!("redis://{redis}"))?.get_connection()?;
    let value = "{\"cookie\":{\"originalMaxAge\":null},\"user_id\":0,\"platform_id\":0}";
    let mut write =
        |key: &str| redis::cmd("SET").arg(key).arg(value).arg("EX").arg(3600).exec(&mut connection);
    let express = format!("sess:{ID}");
    write(&express)?;
    write(":1:django.contrib.sessions.cache0123456789abcdefghijklmnopqrstuv")?;
    let before = || {
        if rewrites {
            write(&express)?;
            std::thread::sleep(HEARS_WITHIN);
        }
        Ok(())
    };
    let start = |under: &[String]| {
        let folder = tempfile::tempdir()?.keep();
        let binary = release_folder()?.join("countersign");
        let (address, admin) = (free_address()?, free_address()?);
        for name in ["token", "csrf", "sealing", "hmac", "jwt"] {
            std::fs::write(
                folder.join(name),
                Command::new(&binary).args(["key", "new", name]).output()?.stdout,
            )?;
        }
        let text = configuration(&folder, address, admin, upstream, false);
        // Under valgrind signs of life come late: what is compared are sessions that stay in the process.
        let store = format!("kind = \"redis\"\nurl = \"redis://{redis}\"\ntimeout = \"10s\"");
        let text = text.replace("kind = \"embedded\"", &store);
        let secret = folder.join("application");
        std::fs::write(&secret, SECRET)?;
        let format = format.replace("SECRET_FILE", path(&secret));
        let text = text.replace("[cache]", &format!("{format}\n[cache]\nmax_staleness = \"1m\""));
        let file = folder.join("bench.toml");
        std::fs::write(&file, text)?;
        migrate(&binary, &file)?;
        let key = std::fs::read(folder.join("token"))?;
        let tokens = sessions::write(&folder.join("bench.sqlite"), key.trim_ascii_end(), 1)?;
        let mut command = Command::new(&under[0]);
        command.args(&under[1..]).args([path(&binary), "run", path(&file)]);
        let process = Process::start(command.stdout(std::fs::File::create(folder.join("log"))?), address)?;
        let cookie = cookie(&tokens[0]);
        let request = |length: usize| {
            format!(
                "GET /?{:x<length$} HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\nCookie: theme=dark; {cookie}\r\n\r\n",
                ""
            )
            .into_bytes()
        };
        let requests = (0..BLOCK).map(request).collect();
        let contender = Contender {
            name: "Countersign".to_owned(),
            address,
            process,
            path: "/",
            tokens: Vec::new(),
            store: None,
        };
        Ok((contender, requests))
    };
    counted(start, before)
}
