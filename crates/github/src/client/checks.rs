//! Check runs (`spec/github.md` 6.3).

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_core::ids::CommitSha;
use tidegate_core::report::{Check, CheckState, Conclusion, Mark};
use tidegate_engine::ports::{KnownCheck, PortError, RepositorySource};

use super::GitHub;
use super::api::Api;
use crate::app::Purpose;

/// Annotations of one request.
const MOST_ANNOTATIONS: usize = 50;
const NEEDS: &str = "write access to checks";

#[derive(Deserialize)]
struct RunAnswer {
    id: u64,
    #[serde(default)]
    external_id: Option<String>,
    #[serde(default)]
    output: OutputAnswer,
}

#[derive(Default, Deserialize)]
struct OutputAnswer {
    #[serde(default)]
    annotations_count: usize,
}

#[derive(Deserialize)]
struct RunsAnswer {
    check_runs: Vec<RunAnswer>,
}

impl RunAnswer {
    fn known(&self) -> KnownCheck {
        KnownCheck { id: self.id, annotations: self.output.annotations_count }
    }
}

fn conclusion(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Success => "success",
        Conclusion::Failure => "failure",
        Conclusion::Neutral => "neutral",
        Conclusion::Cancelled => "cancelled",
        Conclusion::TimedOut => "timed_out",
    }
}

fn annotation(mark: &Mark) -> Value {
    let mut annotation = json!({
        "path": mark.path, "start_line": mark.line, "end_line": mark.line,
        "annotation_level": if mark.failure { "failure" } else { "warning" },
        "title": mark.title, "message": mark.message,
    });
    if let Some((first, last)) = mark.columns {
        annotation["start_column"] = first.into();
        annotation["end_column"] = last.into();
    }
    annotation
}

/// The body of a request, with the annotations after the first `told`; and how many are told then.
fn body(check: &Check, told: usize) -> (Value, usize) {
    let marks: Vec<Value> = check.annotations.iter().skip(told).take(MOST_ANNOTATIONS).map(annotation).collect();
    let told = told + marks.len();
    let mut output = json!({ "title": check.title, "summary": check.summary });
    if !marks.is_empty() {
        output["annotations"] = marks.into();
    }
    let mut body = json!({ "name": check.name, "external_id": check.external_id, "output": output });
    let mut set = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            body[name] = value.into();
        }
    };
    set("details_url", check.details_url.clone());
    set("started_at", check.started_at.map(|at| at.to_string()));
    match check.state {
        CheckState::Queued => set("status", Some("queued".to_owned())),
        CheckState::InProgress => set("status", Some("in_progress".to_owned())),
        CheckState::Completed(how) => {
            set("status", Some("completed".to_owned()));
            set("conclusion", Some(conclusion(how).to_owned()));
            set("completed_at", check.completed_at.map(|at| at.to_string()));
        }
    }
    (body, told)
}

impl GitHub {
    pub(super) async fn find(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        check: &Check,
    ) -> Result<Option<KnownCheck>, PortError> {
        let what = format!("checks of {}@{}", repository.full_name, commit.short());
        let wish = self.wish(&what, NEEDS);
        let call = self
            .api()
            .of_repository(Method::GET, repository, &["commits", commit.as_str(), "check-runs"])?
            .query("check_name", &check.name)
            .query("filter", "all")
            .query("per_page", "100");
        let answer = self.send(repository, Purpose::Checks, wish, call).await?;
        let answer: RunsAnswer = Api::read(wish, answer).await?;
        // Newest first.
        let same = |run: &&RunAnswer| run.external_id.as_deref() == Some(&check.external_id);
        Ok(answer.check_runs.iter().find(same).map(RunAnswer::known))
    }

    pub(super) async fn create(
        &self,
        repository: &RepositorySource,
        commit: &CommitSha,
        check: &Check,
    ) -> Result<KnownCheck, PortError> {
        let what = format!("check `{}` of {}@{}", check.name, repository.full_name, commit.short());
        let wish = self.wish(&what, NEEDS);
        let (mut body, told) = body(check, 0);
        body["head_sha"] = commit.as_str().into();
        let call = self.api().of_repository(Method::POST, repository, &["check-runs"])?.json(&body)?;
        let answer = self.send(repository, Purpose::Checks, wish, call).await?;
        let answer: RunAnswer = Api::read(wish, answer).await?;
        Ok(KnownCheck { id: answer.id, annotations: told })
    }

    pub(super) async fn update(
        &self,
        repository: &RepositorySource,
        known: KnownCheck,
        check: &Check,
    ) -> Result<Option<KnownCheck>, PortError> {
        let what = format!("check `{}` of {}", check.name, repository.full_name);
        let wish = self.wish(&what, NEEDS);
        let (body, told) = body(check, known.annotations);
        let id = known.id.to_string();
        let call = self.api().of_repository(Method::PATCH, repository, &["check-runs", &id])?.json(&body)?;
        match self.try_send(repository, Purpose::Checks, wish, call).await? {
            Ok(_) => Ok(Some(KnownCheck { annotations: told, ..known })),
            Err(refusal) if refusal.status == StatusCode::NOT_FOUND => Ok(None),
            Err(refusal) => Err(refusal.classify(wish)),
        }
    }
}
