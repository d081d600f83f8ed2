//! Flags of the commands that speak the admin API.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// How the admin API is reached.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Access {
    /// The proxy's configuration file: says where its admin listener is, and the token.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,
    /// Where the admin listener is [default: what `--config` says, else 127.0.0.1:9901].
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::cli) admin: Option<String>,
    /// File that holds the admin token [default: the environment variable `COUNTERSIGN_ADMIN_TOKEN`, else what
    /// `--config` says].
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) token_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

/// How much of a list is shown.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Page {
    /// How many entries, newest first.
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) limit: u32,
    /// All entries.
    #[arg(long, conflicts_with = "limit")]
    pub(in crate::cli) all: bool,
}

/// What is done with sessions.
#[derive(Clone, Debug, Subcommand)]
pub(in crate::cli) enum SessionCommand {
    /// List sessions that have not ended, newest first.
    List {
        /// Only those of this user.
        #[arg(long, value_name = "ID")]
        user: Option<String>,
        #[command(flatten)]
        page: Page,
        #[command(flatten)]
        access: Access,
    },
    /// Show one session, ended or not.
    Show {
        /// Its id, or at least six characters of its beginning.
        #[arg(allow_hyphen_values = true)]
        id: String,
        #[command(flatten)]
        access: Access,
    },
    /// End one session.
    End {
        /// Its id, or at least six characters of its beginning.
        #[arg(allow_hyphen_values = true)]
        id: String,
        #[command(flatten)]
        access: Access,
    },
    /// Begin a session and print its cookie, the only copy of the token. It is in the audit log.
    Create {
        /// Whose session it will be.
        user: String,
        /// Its platform [default: the user's default].
        #[arg(long, value_name = "ID")]
        platform: Option<String>,
        /// Who acts for the user.
        #[arg(long, value_name = "ID")]
        actor: Option<String>,
        #[command(flatten)]
        access: Access,
    },
}

/// What is done with users.
#[derive(Clone, Debug, Subcommand)]
pub(in crate::cli) enum UserCommand {
    /// End all sessions of a user, those that nobody can list too.
    EndSessions {
        /// The user's id.
        user: String,
        #[command(flatten)]
        access: Access,
    },
}

/// What is done with platforms.
#[derive(Clone, Debug, Subcommand)]
pub(in crate::cli) enum PlatformCommand {
    /// Clear a platform from every session that chose it.
    Clear {
        /// The platform's id.
        platform: String,
        #[command(flatten)]
        access: Access,
    },
}

/// What is read again.
#[derive(Clone, Debug, Subcommand)]
pub(in crate::cli) enum InvalidateCommand {
    /// A user with platforms, settings and statistics.
    User {
        /// The user's id.
        user: String,
        #[command(flatten)]
        access: Access,
    },
    /// A platform.
    Platform {
        /// The platform's id.
        platform: String,
        #[command(flatten)]
        access: Access,
    },
    /// A user's settings for a platform.
    Settings {
        /// The user's id.
        user: String,
        /// The platform's id.
        platform: String,
        #[command(flatten)]
        access: Access,
    },
    /// Statistics about a user's platform.
    Stats {
        /// The user's id.
        user: String,
        /// The platform's id.
        platform: String,
        #[command(flatten)]
        access: Access,
    },
}

/// The audit log.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Audit {
    /// Only what concerns this user.
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) user: Option<String>,
    /// Only what happened since then: `2h`, `3days`, or `2026-11-21T06:00:00Z`.
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) since: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) page: Page,
    #[command(flatten)]
    pub(in crate::cli) access: Access,
}
