//! What tells of webhooks that were lost: deliveries, and refs.

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use tidegate_core::event::{GitRef, HeadCommit, MESSAGE_LIMIT, truncate};
use tidegate_core::ids::{CommitSha, RepositoryId};
use tidegate_core::skip::skip_token;
use tidegate_core::time::Timestamp;
use tidegate_engine::ports::{DeliveryPage, ListedDelivery, ListedRef, PortError, RepositorySource};

use super::answer::{Who, Wish};
use super::api::{Api, next_page};
use super::{Auth, GitHub};
use crate::app::Purpose;

/// Largest page that GitHub gives.
const PAGE: &str = "100";
/// Longest name and address of a person, in bytes.
const PERSON_LIMIT: usize = 200;
/// Most pages of refs that are read: a repository of 20,000 branches costs 200 requests every five minutes, half of the budget.
const MOST_PAGES: u32 = 200;

#[derive(Deserialize)]
struct RefAnswer {
    #[serde(rename = "ref")]
    name: String,
    object: ObjectAnswer,
}

#[derive(Deserialize)]
struct ObjectAnswer {
    sha: CommitSha,
}

#[derive(Deserialize)]
struct CommitAnswer {
    sha: CommitSha,
    commit: MessageAnswer,
}

#[derive(Deserialize)]
struct MessageAnswer {
    message: String,
    author: Option<PersonAnswer>,
}

#[derive(Default, Deserialize)]
struct PersonAnswer {
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: String,
}

#[derive(Deserialize)]
struct DeliveryAnswer {
    id: u64,
    guid: String,
    delivered_at: String,
    #[serde(default)]
    redelivery: bool,
    status: String,
    status_code: u16,
    event: String,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    repository_id: Option<RepositoryId>,
}

impl From<DeliveryAnswer> for ListedDelivery {
    fn from(answer: DeliveryAnswer) -> Self {
        let at = answer.delivered_at.parse::<jiff::Timestamp>().map_or(0, |at| at.as_millisecond());
        Self {
            id: answer.id,
            guid: answer.guid,
            at: Timestamp(u64::try_from(at).unwrap_or(0)),
            event: answer.event,
            action: answer.action,
            repository: answer.repository_id,
            arrived: (200..300).contains(&answer.status_code),
            status: answer.status_code,
            words: answer.status,
            again: answer.redelivery,
        }
    }
}

impl GitHub {
    pub(super) async fn list_refs(&self, repository: &RepositorySource) -> Result<Vec<ListedRef>, PortError> {
        let what = format!("refs of {}", repository.full_name);
        let wish = self.wish(&what, "read access to contents");
        let mut refs = Vec::new();
        for namespace in ["heads", "tags"] {
            let mut page = "1".to_owned();
            for _ in 0..MOST_PAGES {
                // With the slash at its end: `matching-refs` takes a beginning.
                let call = self
                    .api()
                    .of_repository(Method::GET, repository, &["git", "matching-refs", namespace, ""])?
                    .query("per_page", PAGE)
                    .query("page", &page);
                let answer = self.send(repository, Purpose::Refs, wish, call).await?;
                let next = next_page(answer.headers(), "page");
                let part: Vec<RefAnswer> = Api::read(wish, answer).await?;
                refs.extend(part.into_iter().map(|r| ListedRef { name: r.name, target: r.object.sha }));
                match next {
                    Some(next) => page = next,
                    None => break,
                }
            }
        }
        Ok(refs)
    }

    pub(super) async fn commit_at(
        &self,
        repository: &RepositorySource,
        git_ref: &GitRef,
    ) -> Result<Option<HeadCommit>, PortError> {
        let name = match git_ref {
            GitRef::Branch(name) => format!("heads/{name}"),
            GitRef::Tag(name) => format!("tags/{name}"),
            GitRef::Pull { .. } => return Ok(None),
        };
        let what = format!("{} of {}", git_ref.full(), repository.full_name);
        let wish = self.wish(&what, "read access to contents");
        let segments: Vec<&str> = ["commits"].into_iter().chain(name.split('/')).collect();
        let call = self.api().of_repository(Method::GET, repository, &segments)?;
        let answer: CommitAnswer = match self.try_send(repository, Purpose::Refs, wish, call).await? {
            Ok(answer) => Api::read(wish, answer).await?,
            // 422 is GitHub's way to say that a name leads nowhere.
            Err(refusal) if matches!(refusal.status, StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY) => {
                return Ok(None);
            }
            Err(refusal) => return Err(refusal.classify(wish)),
        };
        let author = answer.commit.author.unwrap_or_default();
        Ok(Some(HeadCommit {
            id: answer.sha,
            skip: skip_token(&answer.commit.message).map(str::to_owned),
            message: truncate(&answer.commit.message, MESSAGE_LIMIT),
            author_name: truncate(&author.name, PERSON_LIMIT),
            author_email: truncate(&author.email, PERSON_LIMIT),
        }))
    }

    pub(super) async fn list_deliveries(&self, after: Option<&str>) -> Result<DeliveryPage, PortError> {
        let Auth::App(app) = &self.auth else { return Ok(DeliveryPage::default()) };
        let wish = Wish { who: Who::App, what: "deliveries", needs: "a webhook" };
        let mut call = app.api.call(Method::GET, &["app", "hook", "deliveries"]).query("per_page", PAGE);
        if let Some(after) = after {
            call = call.query("cursor", after);
        }
        let answer = app.send(wish, call).await?;
        let next = next_page(answer.headers(), "cursor");
        let part: Vec<DeliveryAnswer> = Api::read(wish, answer).await?;
        Ok(DeliveryPage { deliveries: part.into_iter().map(ListedDelivery::from).collect(), next })
    }

    pub(super) async fn ask_again(&self, id: u64) -> Result<(), PortError> {
        let Auth::App(app) = &self.auth else {
            return Err(PortError::reject("only an App can ask GitHub for a delivery again"));
        };
        let what = format!("redelivery of {id}");
        let wish = Wish { who: Who::App, what: &what, needs: "a webhook" };
        let call = app.api.call(Method::POST, &["app", "hook", "deliveries", &id.to_string(), "attempts"]);
        app.send(wish, call).await.map(|_| ())
    }
}
