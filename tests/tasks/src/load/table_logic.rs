//! What a run's figures say, line by line: aim, reached, reference, ratio.

use std::fmt;

use serde_json::Value;

use super::plan::{Aim, Figure, Row, Run};

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    run: String,
    what: &'static str,
    aim: String,
    reached: Option<f64>,
    reference: Option<f64>,
    is_met: Option<bool>,
}

impl Line {
    /// How many times the reference it is.
    fn ratio(&self) -> Option<f64> {
        Some(self.reached? / self.reference.filter(|reference| *reference > 0.0)?)
    }

    fn cells(&self) -> [String; 6] {
        let number = |number: Option<f64>| number.map_or("–".to_owned(), written);
        let ratio = self.ratio().map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        let aim = match self.is_met {
            None => self.aim.clone(),
            Some(true) => format!("{}, met", self.aim),
            Some(false) => format!("{}, **missed**", self.aim),
        };
        [self.run.clone(), self.what.to_owned(), aim, number(self.reached), number(self.reference), ratio]
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [run, what, aim, reached, reference, ratio] = self.cells();
        write!(f, "{run:<20} {what:<36} {reached:>10}  beside {reference:>10}  ratio {ratio:>6}  {aim}")
    }
}

/// Holds a figure against its aim.
pub(crate) fn line(run: &Run, row: &Row, figures: &Value, reference: Option<&Value>) -> Line {
    let reached = value(row.figure, figures);
    let beside = reference.and_then(|figures| value(row.figure, figures));
    let (aim, is_met) = match row.aim {
        Aim::None => ("–".to_owned(), None),
        Aim::AtMost(most) => (format!("≤ {}", written(most)), reached.map(|reached| reached <= most)),
        Aim::AtLeast(least) => (format!("≥ {}", written(least)), reached.map(|reached| reached >= least)),
        Aim::TimesAtMost(times) => {
            (format!("≤ {times} × reference"), reached.zip(beside).map(|(reached, beside)| reached <= times * beside))
        }
        Aim::ShareAtLeast(share) => {
            (format!("≥ {share} of reference"), reached.zip(beside).map(|(reached, beside)| reached >= share * beside))
        }
    };
    Line { run: run.name.to_owned(), what: name(row.figure), aim, reached, reference: beside, is_met }
}

/// For docs/performance.md.
pub(crate) fn markdown(lines: &[Line]) -> String {
    let head = "| run | figure | aim | reached | reference | ratio |\n|---|---|---|---|---|---|\n".to_owned();
    lines.iter().fold(head, |table, line| format!("{table}| {} |\n", line.cells().join(" | ")))
}

fn name(figure: Figure) -> &'static str {
    match figure {
        Figure::Cpu => "CPU s per million deliveries",
        Figure::CpuOfRecords => "CPU s per million records",
        Figure::DeliveriesPerSecond => "deliveries/s",
        Figure::LatencyP50 => "publication to receipt, p50 ms",
        Figure::LatencyP99 => "publication to receipt, p99 ms",
        Figure::LatencyP999 => "publication to receipt, p99.9 ms",
        Figure::ToLast => "ms to the last reader, p50",
        Figure::ConnectsPerSecond => "connects/s",
        Figure::KibPerConnection => "KiB per connection",
        Figure::AcksPerSecond => "records/s acknowledged",
        Figure::AckP99 => "acknowledgement, p99 ms",
        Figure::AwayP50 => "away until back, p50 ms",
        Figure::AwayP99 => "away until back, p99 ms",
        Figure::AwayMax => "all back after ms",
        Figure::TurnedAway => "turned away",
        Figure::LogReadsPerRoom => "log reads per room",
        Figure::Connections => "connections",
        Figure::Resumes => "connections lost and resumed",
        Figure::Receipts => "records received",
        Figure::Wrong => "lost, doubled, refused or missing",
        Figure::Sync => "one write and fdatasync, p50 ms",
        Figure::OutcomeP50 => "one at a time to its outcome, p50 ms",
        Figure::OutcomeP99 => "one at a time to its outcome, p99 ms",
        Figure::OutcomeOfManyP50 => "100 at a time, p50 ms",
        Figure::OutcomeOfManyP99 => "100 at a time, p99 ms",
        Figure::CommandsPerSecond => "100 at a time, commands/s",
    }
}

fn value(figure: Figure, figures: &Value) -> Option<f64> {
    let number = |key: &str| figures[key].as_f64();
    let millis = |kind: &str, at: &str| Some(figures["latency_us"][kind][at].as_f64()? / 1_000.0);
    let outcome = |at_once: &str, at: &str| Some(figures["commands"][at_once]["outcome_us"][at].as_f64()? / 1_000.0);
    match figure {
        Figure::Cpu => per_million(cpu_us(figures)?, number("received")?),
        Figure::CpuOfRecords => per_million(cpu_us(figures)?, number("acknowledged")?),
        Figure::DeliveriesPerSecond => number("received_per_s"),
        Figure::LatencyP50 => millis("live", "p50"),
        Figure::LatencyP99 => millis("live", "p99"),
        Figure::LatencyP999 => millis("live", "p99_9"),
        Figure::ToLast => millis("to_last_reader", "p50"),
        Figure::ConnectsPerSecond => number("connects_per_s"),
        Figure::KibPerConnection => kib_per_connection(figures),
        Figure::AcksPerSecond => number("published_per_s"),
        Figure::AckP99 => millis("acknowledgement", "p99"),
        Figure::AwayP50 => millis("away", "p50"),
        Figure::AwayP99 => millis("away", "p99"),
        Figure::AwayMax => millis("away", "max"),
        Figure::TurnedAway => {
            let each = figures["storm"]["turned_away"].as_array()?;
            each.iter().map(Value::as_f64).sum()
        }
        Figure::LogReadsPerRoom => number("log_reads_per_room"),
        Figure::Connections => figures["people"]["connections"].as_f64(),
        Figure::Resumes => figures["people"]["resumes"].as_f64(),
        Figure::Receipts => figures["people"]["received"].as_f64(),
        Figure::Wrong => figures["people"]["wrong"].as_f64(),
        Figure::Sync => Some(number("sync_us")? / 1_000.0),
        Figure::OutcomeP50 => outcome("one", "p50"),
        Figure::OutcomeP99 => outcome("one", "p99"),
        Figure::OutcomeOfManyP50 => outcome("hundred", "p50"),
        Figure::OutcomeOfManyP99 => outcome("hundred", "p99"),
        Figure::CommandsPerSecond => figures["commands"]["hundred"]["per_second"].as_f64(),
    }
}

/// All processes but the fleet's own.
fn servers(figures: &Value) -> impl Iterator<Item = &Value> {
    figures["processes"].as_array().into_iter().flatten().filter(|process| process["name"] != "fleet")
}

fn cpu_us(figures: &Value) -> Option<f64> {
    servers(figures).map(|process| process["cpu_us"].as_f64()).sum()
}

/// Microseconds per unit are seconds per million units.
fn per_million(cpu_us: f64, count: f64) -> Option<f64> {
    (count > 0.0).then(|| cpu_us / count)
}

/// Of the servers that took many: Redis takes but a few.
fn kib_per_connection(figures: &Value) -> Option<f64> {
    let taken = servers(figures)
        .filter_map(|process| Some((process["connections"].as_f64()?, process["bytes_per_connection"].as_f64()?)));
    let (count, bytes) = taken.fold((0.0, 0.0), |(count, bytes), (more, each)| (count + more, bytes + more * each));
    (count > 0.0).then(|| bytes / count / 1024.0)
}

/// Three figures that mean something, and thousands in groups.
fn written(number: f64) -> String {
    let number_abs = number.abs();
    if number_abs < 100.0 && number.fract() != 0.0 {
        let digits = if number_abs < 10.0 { 2 } else { 1 };
        return format!("{number:.digits$}");
    }
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::plan::{Beside, Setup, Work};
    use super::*;

    const RUN: Run = Run {
        name: "run",
        what: "",
        setup: Setup::Embedded,
        work: Work::Fleet(&[]),
        beside: Beside::Reference,
        rows: &[],
    };

    fn figures(cpu_us: u64, p99: u64) -> Value {
        json!({
            "received": 1_000_000, "latency_us": {"live": {"p99": p99}},
            "processes": [
                {"name": "gateway-1", "cpu_us": cpu_us, "connections": 100, "bytes_per_connection": 2048},
                {"name": "redis", "cpu_us": 500_000, "connections": 2, "bytes_per_connection": null},
                {"name": "fleet", "cpu_us": 9_000_000, "connections": 100, "bytes_per_connection": 1},
            ],
        })
    }

    fn said(figure: Figure, aim: Aim, figures: &Value, reference: Option<&Value>) -> Line {
        line(&RUN, &Row { figure, aim }, figures, reference)
    }

    #[test]
    fn all_servers_count_and_the_fleet_does_not() {
        let line = said(Figure::Cpu, Aim::AtMost(3.2), &figures(2_500_000, 0), None);
        assert_eq!((line.reached, line.is_met, line.ratio()), (Some(3.0), Some(true), None));
        assert_eq!(said(Figure::KibPerConnection, Aim::None, &figures(0, 0), None).reached, Some(2.0));
    }

    #[test]
    fn an_aim_beside_the_reference_is_met_or_missed_by_the_ratio() {
        let reference = figures(0, 800);
        let line = |p99| said(Figure::LatencyP99, Aim::TimesAtMost(1.5), &figures(0, p99), Some(&reference));
        assert_eq!((line(1_200).is_met, line(1_201).is_met), (Some(true), Some(false)));
        assert_eq!(
            markdown(&[line(1_600)]).lines().last(),
            Some("| run | publication to receipt, p99 ms | ≤ 1.5 × reference, **missed** | 1.60 | 0.80 | 2.00 |")
        );
    }

    #[test]
    fn what_was_not_measured_meets_nothing_and_misses_nothing() {
        let line = said(Figure::AwayMax, Aim::AtMost(10_000.0), &json!({}), None);
        assert_eq!((line.reached, line.is_met), (None, None));
        assert!(line.to_string().contains('–'));
    }

    #[test]
    fn numbers_are_written_as_people_read_them() {
        let cases = [(3.2, "3.20"), (28.84, "28.8"), (82_000.0, "82,000"), (2.0, "2"), (0.4, "0.40"), (999.6, "1,000")];
        assert_eq!(cases.map(|(number, _)| written(number)), cases.map(|(_, text)| text.to_owned()));
    }
}
