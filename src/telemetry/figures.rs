//! Figures of this node, now: what the recorder has counted, as numbers.
//!
//! They are read off the text that the recorder renders anyway: whatever is counted is counted once.

use std::collections::BTreeMap;

/// One sample: what it counts, of what, and how much.
#[derive(Debug, Clone, PartialEq)]
struct Sample<'t> {
    name: &'t str,
    labels: Vec<(&'t str, &'t str)>,
    value: f64,
}

/// What the recorder has counted, by name.
#[derive(Debug, Default)]
pub struct Figures<'t>(BTreeMap<&'t str, Vec<Sample<'t>>>);

impl<'t> Figures<'t> {
    /// Reads Prometheus' text format; what is no sample is left out.
    #[must_use]
    pub fn read(text: &'t str) -> Self {
        let mut figures: BTreeMap<&str, Vec<Sample<'_>>> = BTreeMap::new();
        for sample in text.lines().filter_map(sample) {
            figures.entry(sample.name).or_default().push(sample);
        }
        Self(figures)
    }

    /// All that was counted under a name, whatever its labels; 0 where nothing was.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.samples(name).map(|sample| sample.value).sum()
    }

    /// What was counted under a name by a label, in the order of the labels.
    #[must_use]
    pub fn by(&self, name: &str, label: &str) -> BTreeMap<&'t str, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.samples(name) {
            let found = sample.labels.iter().find(|(name, _)| *name == label);
            if let Some((_, value)) = found {
                *sums.entry(*value).or_insert(0.0) += sample.value;
            }
        }
        sums
    }

    fn samples(&self, name: &str) -> impl Iterator<Item = &Sample<'t>> {
        self.0.get(name).into_iter().flatten()
    }
}

fn sample(line: &str) -> Option<Sample<'_>> {
    if line.starts_with('#') {
        return None;
    }
    let (what, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok().filter(|value: &f64| value.is_finite())?;
    match what.split_once('{') {
        None => Some(Sample { name: what, labels: Vec::new(), value }),
        Some((name, labels)) => {
            Some(Sample { name, labels: labels_of(labels.strip_suffix('}')?)?, value })
        }
    }
}

/// `name="value",…`; labels of ours need no escapes, and those that have some are left as they are.
fn labels_of(mut text: &str) -> Option<Vec<(&str, &str)>> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let end = end_of_value(rest)?;
        labels.push((name, rest.get(..end)?));
        text = rest.get(end + 1..)?;
        text = text.strip_prefix(',').unwrap_or(text);
    }
    Some(labels)
}

/// Where the quote is that ends a value.
fn end_of_value(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(place, letter)| {
        let is_end = letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        is_end.then_some(place)
    })
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn what_is_rendered_is_read() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("a_total", "kind" => "room", "outcome" => "done").increment(3);
            metrics::counter!("a_total", "kind" => "room", "outcome" => "lost").increment(4);
            metrics::counter!("a_total", "kind" => "hub, \"one\"", "outcome" => "x").increment(5);
            metrics::gauge!("b").set(1.5);
            metrics::histogram!("c_seconds").record(0.1);
        });
        let text = recorder.handle().render();

        let figures = Figures::read(&text);

        assert_eq!((figures.sum("a_total"), figures.sum("b")), (12.0, 1.5));
        assert_eq!(figures.sum("c_seconds_count"), 1.0);
        assert_eq!(figures.sum("nothing"), 0.0);
        let kinds = figures.by("a_total", "kind");
        assert_eq!(kinds.get("room"), Some(&7.0));
        assert_eq!((kinds.len(), figures.by("b", "kind").len()), (2, 0));
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        let text = "# HELP a what\n\na{b=\"c} 1\na NaN\na one\na{b=\"c\"} 2\n";
        assert_eq!(Figures::read(text).sum("a"), 2.0);
    }
}
