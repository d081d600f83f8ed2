//! What the demo prints when it is ready: what to open, and what to try. Plain text, coloured only where a person
//! looks at a terminal.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use super::config::Addresses;
use super::seed::PASSWORD;

/// The text for `addresses`, with colours if `coloured` (the caller asks whether standard output is a terminal).
#[must_use]
pub fn text(addresses: &Addresses, coloured: bool) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    let _written = write(&mut out, addresses, &Paint { coloured });
    out
}

fn write(out: &mut String, addresses: &Addresses, paint: &Paint) -> fmt::Result {
    let proxy = format!("http://{}", reachable(addresses.listen));
    let application = format!("http://{}", reachable(addresses.application));
    let admin = format!("http://{}", reachable(addresses.admin));

    writeln!(out, "\n  {} is running, with a small application behind it.\n", paint.strong("Countersign"))?;
    writeln!(out, "  Open          {}", paint.link(&format!("{proxy}/")))?;
    writeln!(
        out,
        "  Log in as     ana (admin, reviewer), ben (reviewer) or cho (viewer); password {PASSWORD}"
    )?;
    writeln!(out, "  Health        {admin}/ready")?;
    writeln!(out, "  Metrics       {admin}/metrics")?;
    writeln!(out, "  Application   {application} (refuses whatever Countersign did not sign)\n")?;
    writeln!(out, "  {}\n", paint.strong("To try with curl"))?;
    let tries = [
        (
            "Log in; keep the cookie in a file.",
            format!("curl -si -c jar -d username=ana -d password={PASSWORD} {proxy}/login"),
        ),
        ("Who am I? What the application verified, as JSON.", format!("curl -s -b jar {proxy}/api/whoami")),
        (
            "Pretend to be somebody else: the header never arrives.",
            format!("curl -s -b jar -H 'X-Context-User-Id: 2' {proxy}/api/whoami"),
        ),
        ("Without the cookie: 401, answered by Countersign.", format!("curl -si {proxy}/api/whoami")),
        (
            "Go around Countersign: 403, answered by the application.",
            format!("curl -si -H 'X-Context-User-Id: 1' {application}/api/whoami"),
        ),
        ("Switch the platform, and look again.", format!("curl -si -b jar -d platform=12 {proxy}/switch")),
        (
            "What Countersign itself answers: the session, and how to change it (docs/endpoints.md).",
            format!("curl -s -b jar {proxy}/.countersign/session"),
        ),
        (
            "Listen to what happens to the session; switch the platform in a browser or with the line above meanwhile.",
            format!("curl -sN -b jar {proxy}/.countersign/events"),
        ),
        (
            "Log out. The cookie in the file is worth nothing any more.",
            format!("curl -si -b jar -X POST {proxy}/logout"),
        ),
    ];
    for (what, command) in tries {
        writeln!(out, "  {}\n    {command}\n", paint.quiet(&format!("# {what}")))?;
    }
    writeln!(
        out,
        "  Sessions and people are kept in memory, and all keys were made at random for this run:"
    )?;
    writeln!(out, "  when it ends, everybody is logged out. {} stops it.\n", paint.strong("Ctrl-C"))
}

/// An address that a browser on this machine can open: the unspecified address is everywhere, so also at loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    reachable
}

struct Paint {
    coloured: bool,
}

impl Paint {
    fn strong(&self, text: &str) -> String {
        self.with("1", text)
    }

    fn link(&self, text: &str) -> String {
        self.with("1;4;36", text)
    }

    fn quiet(&self, text: &str) -> String {
        self.with("2", text)
    }

    /// SGR codes of ECMA-48, section 8.3.117.
    fn with(&self, code: &str, text: &str) -> String {
        if self.coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Addresses { listen: ([0, 0, 0, 0], 8080).into(), admin: at(9901), application: at(5123) }
    }

    #[test]
    fn colours_are_written_only_where_they_are_wanted() {
        assert!(!text(&addresses(), false).contains('\u{1b}'));
        assert!(text(&addresses(), true).contains('\u{1b}'));
    }

    #[test]
    fn what_is_printed_can_be_opened_from_this_machine() {
        let text = text(&addresses(), false);
        assert!(text.contains("http://127.0.0.1:8080/"));
        assert!(!text.contains("0.0.0.0"));
        assert!(text.contains("127.0.0.1:5123/api/whoami"));
    }
}
