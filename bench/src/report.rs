//! What was measured: a table for people, one JSON line per figure for programs, and the faults.
//!
//! A missed bound is shown, never punished, for a busy machine misses it too; a lost message is a fault.

use serde_json::json;

/// What the issue asks of a figure.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// Only told, or part of another figure's bound.
    None,
}

impl Bound {
    fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(value >= least),
            Self::AtMost(most) => Some(value <= most),
            Self::None => None,
        }
    }

    fn words(self) -> Option<String> {
        match self {
            Self::AtLeast(least) => Some(format!(">= {least}")),
            Self::AtMost(most) => Some(format!("<= {most}")),
            Self::None => None,
        }
    }
}

#[derive(Debug)]
struct Row {
    figure: String,
    subject: f64,
    other: Option<f64>,
    unit: &'static str,
    ratio: Option<f64>,
    bound: Option<String>,
    met: Option<bool>,
}

#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
    faults: Vec<String>,
}

impl Report {
    /// A figure of madang beside the reference's or baseline's; the bound is on the ratio of the two.
    pub fn compare(
        &mut self,
        figure: &str,
        subject: f64,
        other: f64,
        unit: &'static str,
        bound: Bound,
    ) {
        let ratio = subject / other;
        self.rows.push(Row {
            figure: figure.to_owned(),
            subject,
            other: Some(other),
            unit,
            ratio: Some(ratio),
            bound: bound.words().map(|words| format!("ratio {words}")),
            met: bound.is_met(ratio),
        });
    }

    /// A figure beside another's whose bound is on the figure itself.
    pub fn measure(
        &mut self,
        figure: &str,
        subject: f64,
        other: Option<f64>,
        unit: &'static str,
        bound: Bound,
    ) {
        self.rows.push(Row {
            figure: figure.to_owned(),
            subject,
            other,
            unit,
            ratio: other.map(|other| subject / other).filter(|ratio| ratio.is_finite()),
            bound: bound.words(),
            met: bound.is_met(subject),
        });
    }

    /// A figure that may meet either of two bounds: one on itself, one on its ratio.
    pub fn either(
        &mut self,
        figure: &str,
        subject: f64,
        other: f64,
        unit: &'static str,
        itself: f64,
        ratio: f64,
    ) {
        self.rows.push(Row {
            figure: figure.to_owned(),
            subject,
            other: Some(other),
            unit,
            ratio: Some(subject / other),
            bound: Some(format!(">= {itself} or ratio >= {ratio}")),
            met: Some(subject >= itself || subject / other >= ratio),
        });
    }

    /// Something a reader must know to read the figures.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Something that must never happen, however slow the machine; makes the run fail.
    pub fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Prints the table, the notes, the faults, then the JSON lines.
    pub fn print(&self, title: &str) {
        println!("\n{title}\n");
        println!("| figure | unit | madang | beside it | ratio | bound | met |");
        println!("|---|---|---:|---:|---:|---|---|");
        for row in &self.rows {
            println!(
                "| {} | {} | {} | {} | {} | {} | {} |",
                row.figure,
                row.unit,
                rounded(row.subject),
                row.other.map_or_else(String::new, rounded),
                row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}")),
                row.bound.as_deref().unwrap_or_default(),
                row.met.map_or("", |met| if met { "yes" } else { "no" }),
            );
        }
        println!();
        for note in &self.notes {
            println!("- {note}");
        }
        for fault in &self.faults {
            println!("- FAULT: {fault}");
        }
        println!();
        for row in &self.rows {
            row.print_lines();
        }
    }
}

impl Row {
    /// One line per figure: the subject's, the other's, their ratio. The bound stands where it applies.
    fn print_lines(&self) {
        let on_ratio = self.bound.as_deref().is_some_and(|bound| bound.starts_with("ratio"));
        let line = |part: &str, value: f64, unit: &str, bounded: bool| {
            let bound = self.bound.as_ref().filter(|_| bounded);
            let ok = self.met.filter(|_| bounded);
            let figure = format!("{}.{part}", self.figure);
            let value = (value * 1_000.0).round() / 1_000.0;
            println!(
                "{}",
                json!({ "figure": figure, "value": value, "unit": unit, "bound": bound, "ok": ok })
            );
        };
        line("madang", self.subject, self.unit, !on_ratio);
        if let Some(other) = self.other {
            line("beside", other, self.unit, false);
        }
        if let Some(ratio) = self.ratio {
            line("ratio", ratio, "ratio", on_ratio);
        }
    }
}

fn rounded(value: f64) -> String {
    if value.abs() >= 100.0 || value == value.trunc() {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// A count as a report takes it.
pub fn figure(count: impl TryInto<u32>) -> f64 {
    count.try_into().map_or(f64::INFINITY, f64::from)
}

/// The middle of some values; zero of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or_default();
    if values.len() % 2 == 1 {
        return upper;
    }
    let lower = values.get(middle.saturating_sub(1)).copied().unwrap_or_default();
    f64::midpoint(lower, upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_two() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_bound_holds_at_its_own_value() {
        assert_eq!(Bound::AtLeast(0.65).is_met(0.65), Some(true));
        assert_eq!(Bound::AtMost(6.0).is_met(6.1), Some(false));
        assert_eq!(Bound::None.is_met(1.0), None);
    }
}
