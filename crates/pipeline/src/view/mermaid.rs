//! A plan as a Mermaid flowchart.

use std::collections::HashMap;
use std::fmt::Write;

use super::PlanView;

/// One node a step, with the number of its jobs where there are several; an arrow from what is waited for.
pub fn mermaid(view: &PlanView) -> String {
    let mut out = String::from("flowchart LR\n");
    let labels = super::step_labels(view);
    let mut nodes: Vec<(&str, &str, usize)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut arrows: Vec<(&str, &str)> = Vec::new();
    for job in &view.jobs {
        match places.get(job.step.as_str()) {
            Some(place) => nodes[*place].2 += 1,
            None => {
                places.insert(&job.step, nodes.len());
                let label = labels.get(job.step.as_str()).copied().unwrap_or(&job.label);
                nodes.push((&job.step, label, 1));
                arrows.extend(job.depends_on.iter().map(|from| (from.as_str(), job.step.as_str())));
            }
        }
    }
    for (place, (_, label, count)) in nodes.iter().enumerate() {
        let copies = if *count > 1 { format!(" ×{count}") } else { String::new() };
        // Writing to a text cannot fail.
        let _ = writeln!(out, "  n{place}[\"{}{copies}\"]", escape(label));
    }
    for gate in &view.gates {
        let place = places.len();
        places.insert(&gate.step, place);
        let _ = writeln!(out, "  n{place}{{{{\"wait\"}}}}");
        arrows.extend(gate.depends_on.iter().map(|from| (from.as_str(), gate.step.as_str())));
    }
    for (from, to) in arrows {
        // What an uploaded step would bring has no node.
        if let (Some(from), Some(to)) = (places.get(from), places.get(to)) {
            let _ = writeln!(out, "  n{from} --> n{to}");
        }
    }
    out
}

fn escape(label: &str) -> String {
    let line = label.lines().next().unwrap_or("");
    let short: String = line.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    short.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
}
