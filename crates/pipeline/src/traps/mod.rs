//! Traps that can only be seen in the text as it was written, before interpolation.

mod dollar;

use std::collections::HashSet;

use crate::context::Context;
use crate::source::Report;
use crate::yaml::{Node, Value, get};

/// Looks for traps in the tree of a text that is not interpolated yet.
pub(crate) fn written(root: &Node, context: &Context, report: &mut Report<'_>) {
    if !context.interpolate {
        return;
    }
    let (steps, env) = match &root.value {
        Value::Map(map) => (get(map, "steps").map(|entry| &entry.node), get(map, "env").map(|entry| &entry.node)),
        _ => (Some(root), None),
    };
    let names = |node: Option<&Node>| -> Vec<String> {
        node.and_then(Node::as_map).into_iter().flatten().map(|entry| entry.key.to_string()).collect()
    };
    let mut known: HashSet<String> = names(env).into_iter().collect();
    known.extend(context.env.iter().map(|(name, _)| name.clone()));
    for step in steps.into_iter().flat_map(items) {
        let Some(map) = step.as_map() else { continue };
        match get(map, "steps") {
            Some(inner) => {
                for step in items(&inner.node) {
                    command_step(step, &known, report);
                }
            }
            None => command_step(step, &known, report),
        }
    }
}

fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::Seq(items) => items,
        _ => &[],
    }
}

fn command_step(step: &Node, known: &HashSet<String>, report: &mut Report<'_>) {
    let Some(map) = step.as_map() else { return };
    let own: Vec<String> = get(map, "env")
        .and_then(|entry| entry.node.as_map())
        .into_iter()
        .flatten()
        .map(|entry| entry.key.to_string())
        .collect();
    let scripts: Vec<&Node> = ["commands", "command", "script"]
        .iter()
        .filter_map(|name| get(map, name))
        .flat_map(|entry| match &entry.node.value {
            Value::Seq(items) => items.iter().collect::<Vec<_>>(),
            _ => vec![&entry.node],
        })
        .collect();
    dollar::commands(&scripts, &own, known, report);
}
