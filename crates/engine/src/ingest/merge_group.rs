//! Merge queues: GitHub makes a commit and asks whether it passes.

use tidegate_core::build::{MergeQueueFacts, Origin};
use tidegate_core::event::{GitRef, MergeGroup, MergeGroupAction};
use tidegate_core::ids::{CommitSha, DeliveryId};
use tidegate_core::trust::Trust;
use tidegate_pipeline::branches_match;

use super::refs::Told;
use super::{Outcome, Wanted};
use crate::engine::Engine;
use crate::error::Error;

impl Engine {
    /// Builds the commit of a merge queue; or cancels that, because nobody waits for it any more. Skip tokens do not count:
    /// the queue would wait for ever (`spec/github.md` 6.2).
    pub(super) async fn ingest_merge_group(&self, delivery: &DeliveryId, group: &MergeGroup) -> Result<Outcome, Error> {
        let id = group.repository.id;
        let repository = match self.known(&group.repository, group.installation).await? {
            Ok(repository) => repository,
            Err(why) => return Ok(Outcome::none(why)),
        };
        let git_ref = GitRef::Branch(group.branch.clone());
        let moves = self.moves(id, &git_ref).await?;
        match &group.action {
            MergeGroupAction::Destroyed { reason } => {
                let by = format!("the merge queue ({reason})");
                let ended = self.cancel_moves(id, &git_ref, &moves, &by, |b| b.facts.commit == group.head).await?;
                // Deliveries come in any order: whoever comes late sees that it is over.
                if let Ok(zero) = CommitSha::new("0".repeat(group.head.as_str().len())) {
                    self.note_move(id, &git_ref, Told::Moved(&group.head, &zero), delivery).await?;
                }
                Ok(Outcome::none(format!("the merge group is over: {reason}; {} canceled", ended.len())))
            }
            MergeGroupAction::ChecksRequested => {
                if moves.last().is_some_and(|m| m.is_deletion_of(&group.head)) {
                    return Ok(Outcome::none("the merge group is over already"));
                }
                let trigger = self.note_move(id, &git_ref, Told::At(&group.head), delivery).await?;
                let mut pipelines = self.pipelines_of(id).await?;
                let base = &group.base_branch;
                pipelines.retain(|p| p.builds_pull_requests(base) || branches_match(&p.branches, base));
                if pipelines.is_empty() {
                    return Ok(Outcome::none(format!("no pipeline of `{}` builds `{base}`", repository.full_name)));
                }
                let head = group.commit.as_ref();
                let wanted = Wanted {
                    git_ref: Some(git_ref),
                    commit: group.head.clone(),
                    asked: group.head.to_string(),
                    message: head.map_or_else(String::new, |h| h.message.clone()),
                    author: head.map_or_else(Default::default, |h| (h.author_name.clone(), h.author_email.clone())),
                    creator: group.sender.login.clone(),
                    // What is in a merge queue was put there by somebody with write access.
                    trust: Trust::Trusted,
                    default_branch: group.repository.default_branch.clone(),
                    origin: Some(Box::new(Origin {
                        event: "merge_group".to_owned(),
                        action: "checks_requested".to_owned(),
                        merge_queue: Some(MergeQueueFacts {
                            base_branch: group.base_branch.clone(),
                            base_commit: group.base.clone(),
                        }),
                        ..Origin::default()
                    })),
                    ..Wanted::new("webhook", trigger)
                };
                let mut builds = Vec::new();
                for pipeline in &pipelines {
                    match self.make_if_there(&repository, pipeline, &wanted).await? {
                        Ok(build) => builds.push(build),
                        Err(why) => return Ok(Outcome::none(why)),
                    }
                }
                Ok(Outcome::builds(builds))
            }
        }
    }
}
