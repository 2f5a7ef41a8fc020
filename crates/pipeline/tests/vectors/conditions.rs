//! Conditions.

use serde_json::Value as Json;
use tidegate_pipeline::Limits;
use tidegate_pipeline::condition::{Condition, ErrorKind, Facts, evaluate, validate};

use crate::{ensure, same, tally, text};

#[test]
fn conditions() {
    let limits = Limits::default();
    tally("conditional.json", |row| {
        let expression = text(&row["expression"]);
        let context = row.get("ctx").cloned().unwrap_or_else(|| Json::Object(serde_json::Map::new()));
        let facts: Facts = serde_json::from_value(context).map_err(|error| error.to_string())?;
        let want = row.get("wantError").and_then(Json::as_str).map(kind);
        let error = match text(&row["kind"]) {
            "validate" => match validate(expression, facts.entry_point, &limits) {
                Ok(()) => None,
                Err(errors) => errors.into_iter().next(),
            },
            _ => match evaluate(expression, &facts, &limits) {
                Ok(value) => {
                    ensure(want.is_none(), &format!("`{expression}` is {value}, want {want:?}"))?;
                    return same(Some(value), row["want"].as_bool());
                }
                Err(error) => Some(error),
            },
        };
        same(error.as_ref().map(|error| error.kind), want).map_err(|why| format!("`{expression}`: {why} {error:?}"))?;
        let message = error.map(|error| error.message).unwrap_or_default();
        for part in row.get("wantMessageContains").and_then(Json::as_array).into_iter().flatten() {
            ensure(message.contains(text(part)), &format!("`{message}` lacks `{part}`"))?;
        }
        Ok(())
    });
}

fn kind(name: &str) -> ErrorKind {
    match name {
        "ErrorKindParse" => ErrorKind::Parse,
        "ErrorKindValidation" => ErrorKind::Validation,
        "ErrorKindResult" => ErrorKind::Result,
        "ErrorKindEvaluation" => ErrorKind::Evaluation,
        other => panic!("{other}"),
    }
}

#[test]
fn the_grammar_of_conditions() {
    let limits = Limits::default();
    let print = |input: &str| Condition::parse(input, &limits).map(|condition| condition.to_string());
    tally("conditional_parser.json", |row| {
        let case = row.get("row").unwrap_or_else(|| &row["case"]);
        let test = text(&row["test"]);
        match case {
            Json::String(input) => {
                let rejected = test.contains("Reject");
                same(print(input).is_err(), rejected)
            }
            Json::Array(parts) => {
                let input = text(&parts[0]);
                let got = print(input).map_err(|error| error.to_string())?;
                // A prefix: input, operator, operand. An infix: input, left, operator, right. Else what it prints as.
                let literal = |part: &Json| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
                let want = match (test, parts.as_slice()) {
                    ("TestParsingIncludesOperator", _) => return ensure(got.contains(text(&parts[1])), &got),
                    (_, [_, operator, operand]) => format!("({}{})", literal(operator), literal(operand)),
                    (_, [_, left, operator, right]) => {
                        format!("({} {} {})", literal(left), literal(operator), literal(right))
                    }
                    (_, [_, want]) => literal(want),
                    _ => return Err("a row of another shape".to_owned()),
                };
                same(got, want)
            }
            Json::Object(call) => {
                let got = print(text(&call["input"])).map_err(|error| error.to_string())?;
                let arguments: Vec<&str> = call["expectedArgs"].as_array().unwrap().iter().map(text).collect();
                same(got, format!("{}({})", text(&call["expectedIdent"]), arguments.join(", ")))
            }
            _ => Err("a row of another shape".to_owned()),
        }
    });
}
