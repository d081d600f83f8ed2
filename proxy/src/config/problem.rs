//! What is wrong with a configuration, told so that it can be mended: where, what, found, expected, and a hint.
//! Never holds a secret: whoever makes a problem says what may be shown.

use std::fmt;

/// How grave a problem is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Nothing starts.
    Error,
    /// It starts, but probably not as it was meant.
    Warning,
}

/// A place in a configuration file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// Line, counted from 1; 0 when the problem lies in no line.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// How grave it is.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// Path of the key, as in `route[2].upstream`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, one sentence without full stop.
    pub what: String,
    /// The value that was found, ready to print.
    pub found: Option<String>,
    /// What was expected instead.
    pub expected: Option<String>,
    /// The next step.
    pub hint: Option<String>,
}

impl Problem {
    /// An error at a place.
    pub fn error(place: Place, key: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place,
            key: key.into(),
            what: what.into(),
            found: None,
            expected: None,
            hint: None,
        }
    }

    /// The same as a warning.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Adds what was found; `found` is printed as it is and must not be secret.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// Adds what was expected.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Adds the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds "did you mean" when one of `candidates` looks like `word`.
    #[must_use]
    pub fn did_you_mean<'a>(self, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(word, candidates) {
            Some(nearest) => self.hint(format!("did you mean `{nearest}`?")),
            None => self,
        }
    }

    fn render(&self, f: &mut dyn fmt::Write, paint: Paint) -> fmt::Result {
        let (word, colour) = match self.severity {
            Severity::Error => ("error", paint.red),
            Severity::Warning => ("warning", paint.yellow),
        };
        let Paint { bold, reset, .. } = paint;
        writeln!(f, "{bold}{}:{reset} {colour}{word}:{reset} {}", self.place, self.what)?;
        let key = Some(&self.key).filter(|key| !key.is_empty());
        let lines = [
            ("key", key),
            ("found", self.found.as_ref()),
            ("expected", self.expected.as_ref()),
            ("hint", self.hint.as_ref()),
        ];
        for (label, text) in lines {
            if let Some(text) = text {
                writeln!(f, "  {bold}{label}:{reset} {text}")?;
            }
        }
        Ok(())
    }
}

/// The candidate that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Jaro-Winkler forgives swapped and missing letters and favours a common beginning; below 0.8 its suggestions
    // stop being of use (tried on every pair of our own keys).
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}

/// A value from the file as it may be printed: quoted, without control characters, shortened.
pub(super) fn shown(value: &str) -> String {
    const LONGEST: usize = 80;
    let mut text: String = value.chars().take(LONGEST).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    format!("{text:?}")
}

/// Everything that is wrong, in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes a problem.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Whether anything keeps the configuration from being used.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Whether an error has already been noted at `key`, above it or below it: what follows from it is not told again.
    pub(super) fn concerns(&self, key: &str) -> bool {
        let within = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let mut errors = self.0.iter().filter(|problem| problem.severity == Severity::Error);
        errors.any(|problem| {
            !problem.key.is_empty() && (within(&problem.key, key) || within(key, &problem.key))
        })
    }

    /// Notes a problem that may be a mere consequence of another one at the same key, if it is not.
    pub(super) fn push_unless_known(&mut self, problem: Problem) {
        if !self.concerns(&problem.key) {
            self.push(problem);
        }
    }

    /// The problems, by file and line.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.0.sort_by(|left, right| left.place.cmp(&right.place));
        self
    }

    /// The problems one by one.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// The problems as a list.
    pub fn into_vec(self) -> Vec<Problem> {
        self.0
    }

    /// The text for the operator; `colour` only towards a terminal.
    pub fn render(&self, colour: bool) -> String {
        let paint = if colour { Paint::COLOUR } else { Paint::PLAIN };
        let mut text = String::new();
        for problem in &self.0 {
            // Writing into a String does not fail.
            let _ = problem.render(&mut text, paint);
        }
        text
    }
}

impl From<Vec<Problem>> for Problems {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Problems {}

#[derive(Clone, Copy)]
struct Paint {
    bold: &'static str,
    red: &'static str,
    yellow: &'static str,
    reset: &'static str,
}

impl Paint {
    const PLAIN: Self = Self { bold: "", red: "", yellow: "", reset: "" };
    const COLOUR: Self = Self { bold: "\x1b[1m", red: "\x1b[1;31m", yellow: "\x1b[1;33m", reset: "\x1b[0m" };
}
