//! `lockgate loss`: the loss ledger. *Produced = stored + lost + pending*, and the sum is shown.

use std::collections::BTreeMap;

use clap::Args;
use lockgate_client::{AgentLoss, Client};
use lockgate_proto::gap::GapReason;
use lockgate_proto::ids::Site;
use lockgate_proto::loss::Totals;
use serde::Serialize;

use super::CliError;
use super::args::GatewayArgs;
use super::json::GapJson;
use super::output::{BAD, BOLD, DIM, GOOD, Lines, NAME, WARN, count, styled};
use super::text::Painter;

/// Show what became of all records of a site: produced, stored, lost, still to come.
#[derive(Args)]
pub(super) struct LossArgs {
    /// The site
    site: Site,
    /// Exit with 5 if anything is lost or still to come
    #[arg(long)]
    strict: bool,
    /// One JSON object a line, for each agent
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

pub(super) async fn run(args: LossArgs) -> Result<(), CliError> {
    let mut client = Client::connect(args.gateway.options()?).await?;
    let mut agents = client.loss(&args.site).await?;
    client.close().await;
    agents.sort_by(|a, b| a.agent.cmp(&b.agent));
    let mut lines = Lines::default();
    if args.json {
        agents.iter().try_for_each(|agent| lines.json(&LossLine::of(agent)))?;
    } else {
        draw(&mut lines, &agents, &Painter::new(None));
    }
    lines.write()?;
    if args.strict { strict(&agents) } else { Ok(()) }
}

fn strict(agents: &[AgentLoss]) -> Result<(), CliError> {
    let all = agents.iter().fold(Totals::default(), |sum, agent| sum.plus(&agent.totals));
    let lost = all.lost_sum();
    if lost.records == 0 && lost.unbounded == 0 && all.pending == 0 {
        return Ok(());
    }
    let (lost, pending) = (lost_text(&all), count(all.pending));
    Err(CliError::Found(format!("lost: {lost}; still to come: {pending}")))
}

#[derive(Serialize)]
struct LossLine {
    kind: &'static str,
    agent: String,
    produced: u64,
    stored: u64,
    /// Records by reason.
    lost: BTreeMap<&'static str, u64>,
    /// Gaps with an open end by reason: beyond `lost`, nobody knows how many.
    unbounded: BTreeMap<&'static str, u64>,
    pending: u64,
    balanced: bool,
    gaps: Vec<GapJson>,
}

impl LossLine {
    fn of(loss: &AgentLoss) -> LossLine {
        let totals = &loss.totals;
        let by_reason = |pick: fn(lockgate_proto::loss::Lost) -> u64| {
            let counts = GapReason::ALL.into_iter().map(|reason| (reason.as_str(), pick(totals.lost_to(reason))));
            counts.filter(|(_, count)| *count > 0).collect()
        };
        LossLine {
            kind: "loss",
            agent: loss.agent.to_string(),
            produced: totals.produced,
            stored: totals.stored,
            lost: by_reason(|lost| lost.records),
            unbounded: by_reason(|lost| lost.unbounded),
            pending: totals.pending,
            balanced: is_balanced(totals),
            gaps: loss.gaps.iter().map(GapJson::of).collect(),
        }
    }
}

fn is_balanced(totals: &Totals) -> bool {
    let parts = [totals.stored, totals.lost_sum().records, totals.pending];
    parts.into_iter().try_fold(0_u64, u64::checked_add) == Some(totals.produced)
}

fn draw(lines: &mut Lines, agents: &[AgentLoss], painter: &Painter) {
    if agents.is_empty() {
        lines.text(styled(DIM, "no agent has been heard of yet"));
    }
    for loss in agents {
        lines.text(styled(NAME, &loss.agent));
        draw_totals(lines, &loss.totals);
        for gap in &loss.gaps {
            lines.text(format!("  {}", painter.gap(gap)));
        }
    }
    if agents.len() > 1 {
        lines.text(styled(BOLD, "all"));
        draw_totals(lines, &agents.iter().fold(Totals::default(), |sum, agent| sum.plus(&agent.totals)));
    }
}

fn draw_totals(lines: &mut Lines, totals: &Totals) {
    let lost = totals.lost_sum();
    let none = |number: u64, style| if number == 0 { GOOD } else { style };
    let numbers = [totals.produced, totals.stored, lost.records, totals.pending];
    let width = numbers.into_iter().map(|number| count(number).len()).max().unwrap_or_default();
    let row = |name: &str, number: u64| format!("  {name:<9} {:>width$}", count(number));
    lines.text(row("produced", totals.produced));
    lines.text(row("stored", totals.stored));
    let is_lost = lost.records > 0 || lost.unbounded > 0;
    let details = if is_lost { format!("  {}", lost_text(totals)) } else { String::new() };
    lines.text(styled(none(u64::from(is_lost), BAD), row("lost", lost.records) + &details));
    lines.text(styled(none(totals.pending, WARN), row("pending", totals.pending)));
    let (stored, lost, pending) = (count(totals.stored), count(lost.records), count(totals.pending));
    let sum = format!("{stored} stored + {lost} lost + {pending} pending");
    if is_balanced(totals) {
        lines.text(styled(DIM, format!("  {} = {sum}", count(totals.produced))));
    } else {
        lines.text(styled(BAD, format!("  {} is not {sum}: the books don't balance", count(totals.produced))));
    }
}

fn lost_text(totals: &Totals) -> String {
    let mut parts = Vec::new();
    for reason in GapReason::ALL {
        let lost = totals.lost_to(reason);
        if lost.records > 0 {
            parts.push(format!("{reason} {}", count(lost.records)));
        }
        if lost.unbounded > 0 {
            parts.push(format!("{reason} {} times an unknown number", count(lost.unbounded)));
        }
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn the_ledger_shows_its_sum_and_each_gap() {
        let mut lines = Lines::default();
        draw(&mut lines, &[samples::loss()], &Painter::new(Some("Europe/Berlin")));
        insta::assert_snapshot!(lines.into_plain());
    }

    #[test]
    fn programs_get_the_same_numbers() {
        let mut lines = Lines::default();
        lines.json(&LossLine::of(&samples::loss())).unwrap();
        insta::assert_snapshot!(lines.into_plain());
    }

    #[test]
    fn books_that_do_not_balance_are_called_so() {
        let mut loss = samples::loss();
        loss.totals.produced += 1;
        assert!(!LossLine::of(&loss).balanced);
        assert!(strict(&[loss]).is_err());
        assert!(strict(&[]).is_ok());
    }
}
