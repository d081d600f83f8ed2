//! The commands, their flags and exit codes. One file per command; no rules of its own.

mod check;
mod cookie;
mod demo;
mod explain;
mod key;
mod migrate;
mod operators;
mod pages;
mod run;
mod schema;
mod test_session;
mod verify;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{self, Problems, Snapshot};
use crate::context::PlatformId;
use crate::server::{Source, privacy};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed: wrong usage, or what the message says
  2  the configuration has problems; all of them were told and nothing was started
  3  the answer is no: no such session, not let through, not genuine
  4  it could not be found out: the proxy or a store is away; try again

`run` also ends with 70 (a background task died), 71 (a listener failed),
78 (a store or the directory cannot be opened) and 130 (a second signal).

Start with `countersign demo`, or `countersign check FILE`.";

/// The answer is a certain no.
pub(super) const NO: u8 = 3;
/// It could not be found out.
pub(super) const UNDETERMINED: u8 = 4;

/// Session cookies in, signed context headers out: a reverse proxy in front of web applications.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve, as CONFIG says.
    Run {
        /// The configuration file.
        config: PathBuf,
        /// For looking into a fault: allow core dumps and debuggers. They see every key and token.
        #[arg(long)]
        core_dumps: bool,
    },
    /// Judge a configuration without serving; shows routes in the order of matching.
    Check {
        /// The configuration file.
        config: PathBuf,
        /// Also try the store, the directory, the upstreams and the keys.
        #[arg(long)]
        connect: bool,
    },
    /// Show everything with a small application, nothing installed.
    Demo {
        /// Where the proxy listens.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Where the admin listener listens.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
        admin_listen: SocketAddr,
        /// Also print one JSON line for every request.
        #[arg(long)]
        log: bool,
    },
    /// Bring the directory's tables to this version, or take steps back.
    Migrate {
        /// What to do.
        direction: Direction,
        /// With `down`: take every step back, not only the last one.
        #[arg(long)]
        all: bool,
        /// The configuration file.
        config: PathBuf,
    },
    /// Make or derive keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// List, show, begin and end sessions, through the admin API.
    #[command(subcommand)]
    Session(operators::SessionCommand),
    /// Act on a user, through the admin API.
    #[command(subcommand)]
    User(operators::UserCommand),
    /// Act on a platform, through the admin API.
    #[command(subcommand)]
    Platform(operators::PlatformCommand),
    /// Have records read again by every proxy, through the admin API.
    #[command(subcommand)]
    Invalidate(operators::InvalidateCommand),
    /// Show how a proxy is doing, through the admin API.
    Status {
        #[command(flatten)]
        access: operators::Access,
    },
    /// Show the audit log, newest first, through the admin API.
    Audit(operators::Audit),
    /// Say which route a request takes, what it asks for, and why it is let through or not.
    Explain(explain::Explain),
    /// Say what a proxy with CONFIG sees of a cookie, step by step. Needs no running proxy and changes nothing.
    TestSession(test_session::TestSession),
    /// Say whether a captured request carries a genuine context.
    Verify(verify::Verify),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the man page.
    Man {
        /// Write one page for every command into this folder instead.
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
    /// Print the JSON Schema of the configuration file.
    Schema {
        /// Print the reference of all keys (Markdown) instead.
        #[arg(long)]
        reference: bool,
        /// Print the `OpenAPI` description of the proxy's own endpoints instead.
        #[arg(long, conflicts_with = "reference")]
        openapi: bool,
    },
}

/// What `migrate` does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Direction {
    /// Create or bring up to date what this version needs.
    Up,
    /// Take the last step back. What is in the tables it made is lost.
    Down,
    /// Say what there is.
    Status,
}

/// What is done with keys.
#[derive(Clone, Debug, Subcommand)]
enum KeyCommand {
    /// Print a new key. Put it into a file that only the proxy can read.
    New {
        /// What the key is for.
        kind: key::Kind,
        /// The algorithm of a jwt key; a message key is always EdDSA.
        #[arg(long, value_enum, ignore_case = true, default_value = "EdDSA")]
        algorithm: key::Algorithm,
    },
    /// List the keys of a configuration: ids, what they do at the moment, how verifiers know them.
    List {
        /// The configuration file.
        config: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make the successor of a key, and say how it takes over without anybody being locked out.
    Rotate {
        /// What the key is for.
        kind: key::Kind,
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Where the new key is written. An existing file is never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Its id [default: the kind and the day].
        #[arg(long)]
        id: Option<String>,
        /// The algorithm of a jwt key [default: that of the key in use].
        #[arg(long, value_enum, ignore_case = true)]
        algorithm: Option<key::Algorithm>,
    },
    /// Print the key with which an application verifies the HMAC signatures made for it.
    Derive {
        /// Name of the upstream.
        upstream: String,
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
        /// Print the key for HS256 tokens instead.
        #[arg(long)]
        jwt: bool,
    },
    /// Seal a platform's credential: reads it from standard input, prints what belongs into `platforms.credential`.
    Seal {
        /// Id of the platform; the sealed text opens in its row only.
        platform: PlatformId,
        /// The configuration file.
        #[arg(long)]
        config: PathBuf,
    },
}

/// Runs the command that the arguments of this process name.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to tell when the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS };
        }
    };
    // Before any key is read, whatever the command; a service says it again, when there is a log to complain to.
    if !matches!(arguments.command, Command::Run { core_dumps: true, .. }) {
        let _ = privacy::keep_memory_private();
    }
    match dispatch(arguments.command, &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn dispatch(command: Command, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        Command::Run { config, core_dumps } => {
            let (snapshot, files) = load_with_files(&config)?;
            run::run(snapshot, Source { config, files }, core_dumps)
        }
        Command::Check { config, connect } => check::check(&config, &load(&config)?, connect, out),
        Command::Demo { listen, admin_listen, log } => demo::demo(listen, admin_listen, log, out),
        Command::Migrate { direction, all, config } => migrate::migrate(direction, all, &load(&config)?, out),
        Command::Key(KeyCommand::New { kind, algorithm }) => key::new(kind, algorithm, out),
        Command::Key(KeyCommand::Derive { upstream, config, jwt }) => {
            key::derive(&upstream, jwt, &load(&config)?, out)
        }
        Command::Key(KeyCommand::Seal { platform, config }) => {
            key::seal(&platform, &load(&config)?, &mut std::io::stdin(), out)
        }
        Command::Key(KeyCommand::List { config, json }) => key::list(&load(&config)?, json, out),
        Command::Key(KeyCommand::Rotate { kind, config, out: file, id, algorithm }) => {
            key::rotate(kind, algorithm, &file, id.as_deref(), &load(&config)?, out)
        }
        Command::Session(command) => operators::session(&command, out),
        Command::User(command) => operators::user(&command, out),
        Command::Platform(command) => operators::platform(&command, out),
        Command::Invalidate(command) => operators::invalidate(&command, out),
        Command::Status { access } => operators::status(&access, out),
        Command::Audit(flags) => operators::audit(&flags, out),
        Command::Explain(flags) => explain::explain(&flags, out),
        Command::TestSession(flags) => test_session::test_session(&flags, out),
        Command::Verify(flags) => verify::verify(&flags, out),
        Command::Completions { shell } => {
            pages::completions(shell, Arguments::command(), out);
            Ok(())
        }
        Command::Man { out: folder } => pages::man(folder.as_deref(), Arguments::command(), out),
        Command::Schema { reference, openapi } => schema::schema(reference, openapi, out),
    }
}

/// Ends the program with a code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Stop {
    /// The exit code.
    pub(super) code: u8,
    /// What is said on the error stream; nothing when the answer has said it.
    pub(super) text: String,
}

impl Stop {
    /// The answer has said everything.
    pub(super) fn silent(code: u8) -> anyhow::Error {
        Self { code, text: String::new() }.into()
    }
}

/// Loads a configuration and tells its warnings.
fn load(path: &Path) -> anyhow::Result<Snapshot> {
    load_with_files(path).map(|(snapshot, _)| snapshot)
}

/// The same, with every file that had a part in it.
fn load_with_files(path: &Path) -> anyhow::Result<(Snapshot, Vec<PathBuf>)> {
    let reading = config::read(path, &config::process_environment);
    let snapshot = reading.result?;
    tell(&Problems::from(snapshot.warnings.clone()).render(colour_is_welcome()));
    Ok((snapshot, reading.files))
}

fn fail(error: &anyhow::Error) -> ExitCode {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        let count = problems.iter().filter(|problem| problem.severity == config::Severity::Error).count();
        let noun = if count == 1 { "error" } else { "errors" };
        tell(&problems.render(colour_is_welcome()));
        tell(&format!(
            "\n{count} {noun} in the configuration; nothing was started.\n\
             Next: mend the file and run `countersign check FILE`; config/reference.md documents every key.\n"
        ));
        return ExitCode::from(2);
    }
    // A reader that has seen enough (`| head`) is no failure.
    let closed_pipe = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
    if closed_pipe {
        return ExitCode::SUCCESS;
    }
    if let Some(Stop { code, text }) = error.downcast_ref::<Stop>() {
        if !text.is_empty() {
            tell(&format!("countersign: {text}\n"));
        }
        return ExitCode::from(*code);
    }
    tell(&format!("countersign: {error:#}\n"));
    ExitCode::from(1)
}

fn tell(text: &str) {
    // Nobody is left to tell when the terminal is gone.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Colour only for a person at a terminal who did not refuse it (`NO_COLOR`).
fn colour_is_welcome() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !refused
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent_and_documents_its_exit_codes() {
        Arguments::command().debug_assert();
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.contains("2  the configuration has problems"));
    }
}
