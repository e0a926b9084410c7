//! The Prometheus text format, read back.

use std::collections::{BTreeMap, BTreeSet};

/// One scrape of `/metrics`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
    types: BTreeMap<String, String>,
    help: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads an exposition. Lines that are neither comments nor samples fail the test.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut metrics = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match line.strip_prefix("# ") {
                Some(comment) => metrics.comment(comment),
                None => metrics.samples.push(sample(line)),
            }
        }
        metrics
    }

    fn comment(&mut self, comment: &str) {
        let mut words = comment.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("TYPE"), Some(name), Some(kind)) => {
                self.types.insert(name.to_owned(), kind.to_owned());
            }
            (Some("HELP"), Some(name), Some(_)) => {
                self.help.insert(name.to_owned());
            }
            _ => {}
        }
    }

    /// The sum of all samples of `name` that carry all of `labels`; 0 if there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let carries = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(*label).is_some_and(|v| v == value))
        };
        self.samples
            .iter()
            .filter(carries)
            .map(|sample| sample.value)
            .sum()
    }

    /// The samples of `name`: labels and value.
    pub fn samples<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a BTreeMap<String, String>, f64)> {
        let named = self
            .samples
            .iter()
            .filter(move |sample| sample.name == name);
        named.map(|sample| (&sample.labels, sample.value))
    }

    /// The families and their types, by name.
    #[must_use]
    pub fn types(&self) -> &BTreeMap<String, String> {
        &self.types
    }

    /// The families that explain themselves.
    #[must_use]
    pub fn help(&self) -> &BTreeSet<String> {
        &self.help
    }

    /// The label names that occur on samples of `name`.
    #[must_use]
    pub fn labels(&self, name: &str) -> BTreeSet<&str> {
        self.samples
            .iter()
            .filter(|sample| sample.name == name)
            .flat_map(|sample| sample.labels.keys().map(String::as_str))
            .collect()
    }
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("labels end with }")),
        None => (series, ""),
    };
    Sample {
        name: name.to_owned(),
        labels: parse_labels(labels),
        value: value.parse().expect("a sample's value is a number"),
    }
}

/// Values in these tests hold neither commas nor escaped quotes followed by one.
fn parse_labels(labels: &str) -> BTreeMap<String, String> {
    labels
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(label, value)| (label.to_owned(), value.trim_end_matches('"').to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_the_labels_that_are_not_asked_for() {
        let metrics = Metrics::parse(
            "# HELP x_total Things.\n# TYPE x_total counter\n\
             x_total{site=\"a\",outcome=\"hit\"} 2\nx_total{site=\"b\",outcome=\"hit\"} 3\n\
             x_total{site=\"a\",outcome=\"miss\"} 10\n",
        );
        assert_eq!(metrics.sum("x_total", &[("outcome", "hit")]), 5.0);
        assert_eq!(metrics.sum("x_total", &[("site", "a")]), 12.0);
        assert_eq!(metrics.sum("x_total", &[]), 15.0);
        assert_eq!(metrics.sum("y_total", &[]), 0.0);
        assert_eq!(metrics.types()["x_total"], "counter");
        assert!(metrics.help().contains("x_total"));
        assert_eq!(
            metrics.labels("x_total"),
            BTreeSet::from(["outcome", "site"])
        );
    }
}
