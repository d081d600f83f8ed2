//! Figures of interleaved rounds and the tables they are printed in.

/// The figures of one contender, round by round.
#[derive(Clone, Default)]
pub(super) struct Figures(Vec<f64>);

impl Figures {
    pub(super) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// Smallest, median, largest.
    pub(super) fn spread(&self) -> (f64, f64, f64) {
        let sorted = sorted(self.0.clone());
        (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
    }

    /// The median of the ratios round by round: what disturbs the machine disturbs both of one round.
    pub(super) fn ratio(&self, reference: &Self) -> f64 {
        let ratios = sorted(self.0.iter().zip(&reference.0).map(|(one, other)| one / other).collect());
        ratios[ratios.len() / 2]
    }
}

fn sorted(mut figures: Vec<f64>) -> Vec<f64> {
    figures.sort_by(f64::total_cmp);
    figures
}

/// Prints one line on standard output.
#[expect(clippy::print_stdout, reason = "the tables are what this program is for")]
pub(super) fn line(text: &str) {
    println!("{text}");
}
