//! What is made from the definition of the command line itself: shell completions, the man page, docs/cli.md.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;
use clap::Command;
use clap_complete::Shell;

/// Prints the completions for one shell.
pub(super) fn completions(shell: Shell, mut command: Command, out: &mut dyn Write) {
    clap_complete::generate(shell, &mut command, "countersign", &mut { out });
}

/// Prints the man page; with a folder, writes one page for every command into it.
pub(super) fn man(folder: Option<&Path>, command: Command, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(folder) = folder else { return Ok(clap_mangen::Man::new(command).render(&mut { out })?) };
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    clap_mangen::generate_to(command, folder).with_context(|| format!("writing to {}", folder.display()))
}

/// What docs/cli.md must hold.
#[cfg(test)]
fn reference(mut command: Command) -> String {
    let mut page = String::from(
        "# The command line\n\nWhat `--help` says, in one page. Written by a test from `proxy/src/cli/`.\n\n\
         `countersign completions SHELL` prints completions, `countersign man` the man page.\n",
    );
    command.build();
    describe(&mut page, &command, "countersign");
    page
}

#[cfg(test)]
fn describe(page: &mut String, command: &Command, name: &str) {
    use std::fmt::Write as _;
    let mut alone = command.clone().term_width(100).color(clap::ColorChoice::Never);
    let help = alone.render_long_help().to_string();
    let help: String = help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    let _ = write!(page, "\n## `{name}`\n\n```text\n{}\n```\n", help.trim_end());
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
    {
        describe(page, inner, &format!("{name} {}", inner.get_name()));
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::Arguments;
    use super::*;

    #[test]
    fn the_reference_of_the_command_line_is_up_to_date() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
        let page = reference(Arguments::command());
        if std::env::var_os("COUNTERSIGN_WRITE_DOCS").is_some() {
            std::fs::write(&file, &page).unwrap();
        }
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            found == page,
            "docs/cli.md is out of date: COUNTERSIGN_WRITE_DOCS=1 cargo test -p countersign --lib cli::pages"
        );
    }

    #[test]
    fn completions_and_man_pages_name_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut out = Vec::new();
            completions(shell, Arguments::command(), &mut out);
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains("test-session") && text.contains("end-sessions"), "{shell}");
        }
        let mut out = Vec::new();
        man(None, Arguments::command(), &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("test\\-session"));
        let folder = tempfile::tempdir().unwrap();
        man(Some(folder.path()), Arguments::command(), &mut Vec::new()).unwrap();
        assert!(folder.path().join("countersign-session-list.1").exists());
    }
}
