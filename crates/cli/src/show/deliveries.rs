use std::fmt::Write as _;

use jiff::Timestamp;
use tidegate_engine::api::{DeliveryAnswer, DeliveryOutcome};

use super::{Table, ago};
use crate::terminal::clean;

/// A list of deliveries.
pub(crate) fn deliveries(deliveries: &[DeliveryAnswer], now: Timestamp) -> String {
    if deliveries.is_empty() {
        return "no deliveries: GitHub lists those of the last three days, to Apps\n".to_owned();
    }
    let mut table = Table::new(&["DELIVERY", "WHEN", "EVENT", "ANSWER", "OUTCOME"]);
    for delivery in deliveries {
        table.row([
            clean(&delivery.guid).into_owned(),
            delivery.at.as_deref().map_or_else(String::new, |at| ago(at, now)),
            event(delivery),
            answered(delivery),
            outcome(delivery.outcome.as_ref()),
        ]);
    }
    table.render("", None)
}

/// One delivery.
pub(crate) fn delivery(delivery: &DeliveryAnswer, now: Timestamp) -> String {
    let mut out = format!("Delivery {}\n", clean(&delivery.guid));
    // Writing to a text cannot fail.
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {name:<8} {value}");
        }
    };
    line("event", event(delivery));
    line("tried", delivery.at.as_deref().map_or_else(String::new, |at| format!("{at} ({})", ago(at, now))));
    line("answer", answered(delivery));
    line("outcome", outcome(delivery.outcome.as_ref()));
    if delivery.arrived == Some(false) && delivery.outcome.is_none() {
        line("next", format!("`tidegate deliveries replay {}` asks for it; so does the server", clean(&delivery.guid)));
    }
    out
}

fn event(delivery: &DeliveryAnswer) -> String {
    let event = delivery.event.as_deref().unwrap_or_default();
    match &delivery.action {
        Some(action) => clean(&format!("{event}.{action}")).into_owned(),
        None => clean(event).into_owned(),
    }
}

fn answered(delivery: &DeliveryAnswer) -> String {
    match delivery.status {
        None => String::new(),
        Some(0) => "none".to_owned(),
        Some(status) => status.to_string(),
    }
}

fn outcome(outcome: Option<&DeliveryOutcome>) -> String {
    match outcome {
        None => "not here".to_owned(),
        Some(outcome) if !outcome.builds.is_empty() => outcome.builds.join(", "),
        Some(outcome) => clean(outcome.why.as_deref().unwrap_or("no build")).into_owned(),
    }
}
