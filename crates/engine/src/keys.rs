//! Where records are: the one place that knows (design, "Records").

use tidegate_core::event::GitRef;
use tidegate_core::fleet::{Demand, Requirement};
use tidegate_core::ids::{
    AttemptId, BuildId, CommitSha, DeliveryId, InstanceId, JobIndex, PipelineSlug, RepositoryId, derived_uuid,
};
use tidegate_core::trust::Trust;

use crate::actors::Actor;
use crate::ports::Key;

pub(crate) fn delivery(id: &DeliveryId) -> Key {
    Key::new(format!("delivery/{id}"), "delivery")
}

pub(crate) fn git_ref(repository: RepositoryId, name: &GitRef) -> Key {
    Key::new(format!("ref/{repository}/{}", name.full()), "ref")
}

pub(crate) fn build_key(hash: &str) -> Key {
    Key::new(format!("buildkey/{hash}"), "buildkey")
}

pub(crate) fn counter(pipeline: &PipelineSlug) -> Key {
    Key::new(format!("counter/{pipeline}"), "number")
}

pub(crate) fn build(id: &BuildId) -> Key {
    Key::new(format!("build/{id}"), "build")
}

/// Pipelines that ever had a build, so that a client can find them without the configuration.
pub(crate) const PIPELINES: &str = "pipelines";

pub(crate) fn pipeline(slug: &PipelineSlug) -> Key {
    Key::new(PIPELINES, slug.as_str())
}

pub(crate) fn list_partition(repository: RepositoryId, pipeline: &PipelineSlug) -> String {
    format!("list/{repository}/{pipeline}")
}

/// Newest first: the number is inverted.
pub(crate) fn list_entry(repository: RepositoryId, pipeline: &PipelineSlug, number: u64) -> Key {
    Key::new(list_partition(repository, pipeline), format!("{:020}", u64::MAX - number))
}

pub(crate) fn attempts(build: &BuildId) -> String {
    format!("attempt/{build}")
}

pub(crate) fn attempts_of_job(job: JobIndex) -> String {
    format!("{:05}/", job.0)
}

pub(crate) fn attempt(id: &AttemptId) -> Key {
    Key::new(attempts(&id.build), format!("{}{:04}", attempts_of_job(id.job), id.number))
}

pub(crate) fn inbox(actor: &Actor) -> String {
    format!("inbox/{actor}")
}

pub(crate) fn pause(actor: &Actor) -> Key {
    Key::new(format!("pause/{actor}"), "pause")
}

/// The index of what the sweep must look at.
pub(crate) const ACTIVE: &str = "active/0";

pub(crate) fn active(actor: &Actor) -> Key {
    Key::new(ACTIVE, actor.to_string())
}

/// Builds whose report is behind.
pub(crate) const UNREPORTED: &str = "unreported";

pub(crate) fn unreported(build: &BuildId) -> Key {
    Key::new(UNREPORTED, build.as_str())
}

pub(crate) fn report(build: &BuildId) -> Key {
    Key::new(format!("report/{build}"), "report")
}

/// What is shown of one job: in the partition of its build's.
pub(crate) fn report_of_job(build: &BuildId, job: JobIndex) -> Key {
    Key::new(report(build).pk, format!("job/{:05}", job.0))
}

/// How fast one installation, or one token, is written to.
pub(crate) fn lane(name: &str) -> Key {
    Key::new(format!("lane/{name}"), "lane")
}

/// What is remembered of deliveries that did not arrive.
pub(crate) fn lookout() -> Key {
    Key::new("lookout", "deliveries")
}

/// Groups have names that people choose, of up to 200 characters: the record's name is derived.
pub(crate) fn group_id(name: &str) -> String {
    derived_uuid("group", name).to_string()
}

pub(crate) fn group(id: &str) -> Key {
    Key::new(format!("group/{id}"), "group")
}

/// Groups that ever had a member, by id.
pub(crate) const GROUPS: &str = "groups";

pub(crate) fn listed_group(id: &str) -> Key {
    Key::new(GROUPS, id)
}

pub(crate) fn fleet() -> Key {
    Key::new("fleet/local/local", "fleet")
}

/// Every requirement that ever had demand, with its trust.
pub(crate) const REQUIREMENTS: &str = "requirements";

fn trust_name(trust: Trust) -> &'static str {
    match trust {
        Trust::Trusted => "trusted",
        Trust::Untrusted => "untrusted",
    }
}

pub(crate) fn requirement(trust: Trust, requirement: &Requirement) -> Key {
    Key::new(REQUIREMENTS, format!("{}/{requirement}", trust_name(trust)))
}

pub(crate) fn demand_partition(requirement_sk: &str) -> String {
    format!("demand/{requirement_sk}")
}

pub(crate) fn demand(line: &Demand) -> Key {
    let requirement = requirement(line.trust, &line.requirement);
    Key::new(demand_partition(&requirement.sk), line.order_key())
}

pub(crate) fn instance(id: &InstanceId) -> Key {
    Key::new(format!("instance/{id}"), "instance")
}

pub(crate) const BEATS: &str = "beat";

pub(crate) fn beat(id: &InstanceId) -> Key {
    Key::new(format!("{BEATS}/{id}"), "beat")
}

pub(crate) fn artifacts(build: &BuildId) -> String {
    format!("artifact/{build}")
}

/// The beginning of the `sk` of all artifacts of an attempt.
pub(crate) fn artifacts_of_attempt(attempt: &AttemptId) -> String {
    format!("{:05}/{:04}/", attempt.job.0, attempt.number)
}

pub(crate) fn artifact(attempt: &AttemptId, number: u32) -> Key {
    Key::new(artifacts(&attempt.build), format!("{:05}/{:04}/{number:05}", attempt.job.0, attempt.number))
}

pub(crate) fn meta_data_of(build: &BuildId) -> String {
    format!("meta/{build}")
}

pub(crate) fn meta_data(build: &BuildId, name: &str) -> Key {
    Key::new(meta_data_of(build), name)
}

pub(crate) fn triggers(build: &BuildId) -> String {
    format!("triggered/{build}")
}

pub(crate) fn triggered(build: &BuildId, job: JobIndex, number: u32) -> Key {
    Key::new(triggers(build), format!("{}{number:04}", attempts_of_job(job)))
}

pub(crate) fn schedule(pipeline: &PipelineSlug, id: &str) -> Key {
    Key::new(format!("schedule/{pipeline}"), id)
}

pub(crate) fn branch(pipeline: &PipelineSlug, name: &str) -> Key {
    Key::new(format!("branch/{pipeline}"), derived_uuid("branch", name).to_string())
}

/// How far the sweep has looked for old builds.
pub(crate) fn retention(pipeline: &PipelineSlug) -> Key {
    Key::new("retention", pipeline.as_str())
}

/// The first day of which deliveries may be remembered still.
pub(crate) fn memories() -> Key {
    Key::new("memories", "day")
}

/// Records that are forgotten some days after this one.
pub(crate) fn dated_partition(day: u64) -> String {
    format!("dated/{day}")
}

pub(crate) fn dated(day: u64, key: &Key) -> Key {
    Key::new(dated_partition(day), format!("{}/{}", key.pk, key.sk))
}

/// What is told of a build besides its status.
pub(crate) fn notices(build: &BuildId) -> String {
    format!("notice/{build}")
}

pub(crate) fn notice(build: &BuildId, id: &str) -> Key {
    Key::new(notices(build), id)
}

/// What is known of a repository by its events.
pub(crate) fn repository(id: RepositoryId) -> Key {
    Key::new(format!("repository/{id}"), "repository")
}

/// The repositories that an installation of the App has given.
pub(crate) fn installation(id: u64) -> String {
    format!("installation/{id}")
}

pub(crate) fn installed(installation_id: u64, repository: RepositoryId) -> Key {
    Key::new(installation(installation_id), repository.to_string())
}

/// What a pull request looked like last.
pub(crate) fn pull(repository: RepositoryId, number: u64) -> Key {
    Key::new(format!("pull/{repository}"), format!("{number:012}"))
}

/// The pull requests of a branch of the repository itself.
pub(crate) fn pulls_of_branch(repository: RepositoryId, branch: &str) -> String {
    format!("pulls/{repository}/{}", derived_uuid("branch", branch))
}

pub(crate) fn pull_of_branch(repository: RepositoryId, branch: &str, number: u64) -> Key {
    Key::new(pulls_of_branch(repository, branch), format!("{number:012}"))
}

/// Which builds there are at a commit.
pub(crate) fn at_partition(repository: RepositoryId, commit: &CommitSha) -> String {
    format!("at/{repository}/{commit}")
}

/// By pipeline, newest first: the number is inverted.
pub(crate) fn at(repository: RepositoryId, commit: &CommitSha, pipeline: &PipelineSlug, number: u64) -> Key {
    Key::new(at_partition(repository, commit), format!("{pipeline}/{:020}", u64::MAX - number))
}

pub(crate) fn forms(build: &BuildId) -> String {
    format!("form/{build}")
}

pub(crate) fn form(build: &BuildId, id: &str) -> Key {
    Key::new(forms(build), id)
}

pub(crate) fn annotations(build: &BuildId) -> String {
    format!("annotation/{build}")
}

pub(crate) fn annotation(build: &BuildId, context: &str) -> Key {
    Key::new(annotations(build), context)
}
