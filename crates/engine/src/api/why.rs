//! Why a build or a job waits, and who is in which concurrency group.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidegate_core::build::{Build, Graph, JobState};
use tidegate_core::fleet::Fleet;
use tidegate_core::group::{Group, Member};
use tidegate_core::ids::{BuildId, JobIndex, job_uuid};
use tidegate_core::plan::StepKind;
use tidegate_core::why::{self, Kind};

use super::ApiError;
use super::find::{BuildName, JobName, NotFound, find_job};
use crate::engine::Engine;
use crate::error::Error;
use crate::keys;

/// How many jobs of one build are explained one by one.
const MOST: usize = 100;
/// How many members of a group are named.
const NAMED: usize = 50;

/// Why a build is where it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct WhyAnswer {
    /// Id of the build.
    pub build: BuildId,
    /// Its number.
    pub number: u64,
    /// Slug of its pipeline.
    pub pipeline: String,
    /// Its state.
    pub state: String,
    /// The build in a sentence.
    pub sentence: String,
    /// The job that was asked for, or every job that others may wait for: those that are reached and not over, at most
    /// 100.
    pub jobs: Vec<WhyJob>,
}

/// Why a job is where it is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct WhyJob {
    /// Its id.
    pub id: String,
    /// Key of its step.
    pub key: Option<String>,
    /// What people see.
    pub label: String,
    /// Its place among the jobs of its step.
    pub index: usize,
    /// Its state.
    pub state: String,
    /// Whether it waits for something.
    pub waits: bool,
    /// What for: `dependency`, `group`, `machine`, `no_pool`, `person`, `backoff`, `build`, `canceling`, `running` or
    /// `over`.
    pub kind: Kind,
    /// The sentence, without the job's name.
    pub because: String,
    /// What would end the wait; empty where nothing is waited for.
    pub until: String,
    /// Since when, as far as the records say.
    pub since: Option<String>,
}

/// The concurrency groups.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Groups {
    /// In the order of their names.
    pub groups: Vec<GroupAnswer>,
}

/// A concurrency group.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct GroupAnswer {
    /// Its name.
    pub name: String,
    /// The limits that its jobs were made with, smallest first.
    pub limits: Vec<u32>,
    /// Who holds a slot.
    pub holders: Vec<GroupMember>,
    /// Who waits for one, in line.
    pub waiters: Vec<GroupMember>,
}

/// A job in a concurrency group.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct GroupMember {
    /// Id of its build.
    pub build: BuildId,
    /// Number of its build, if that is still there.
    pub number: Option<u64>,
    /// Slug of its pipeline.
    pub pipeline: Option<String>,
    /// Id of the job.
    pub job_id: String,
    /// What people see of it.
    pub job: Option<String>,
    /// Its state.
    pub state: Option<String>,
    /// The limit that it was made with.
    pub limit: u32,
    /// It takes any slot that is free.
    pub eager: bool,
    /// When it joined.
    pub since: Option<String>,
}

/// The builds that are named in an answer, each read once.
#[derive(Default)]
struct Known(BTreeMap<BuildId, Option<(Build, std::sync::Arc<Graph>)>>);

impl Known {
    async fn get(&mut self, engine: &Engine, id: &BuildId) -> Result<Option<&(Build, std::sync::Arc<Graph>)>, Error> {
        if !self.0.contains_key(id) {
            let loaded = engine.load_build(id).await?;
            self.0.insert(id.clone(), loaded);
        }
        Ok(self.0.get(id).and_then(Option::as_ref))
    }
}

impl Engine {
    /// Why a build or one of its jobs waits, in sentences with the numbers.
    ///
    /// # Errors
    /// Not found, or a port failed.
    pub async fn why(&self, name: &BuildName, job: Option<&JobName>) -> Result<WhyAnswer, ApiError> {
        let id = self.find_build(name).await?;
        let (build, graph) =
            self.load_build(&id).await?.ok_or_else(|| NotFound(format!("there is no build `{id}`")))?;
        let asked = match job {
            Some(job) => vec![find_job(&build, &graph, job)?],
            None => roots(&build, &graph),
        };
        let attempts = self.attempts(&id).await?;
        let groups = self.groups_of(&graph, &asked).await?;
        let mut names = BTreeMap::new();
        let mut known = Known::default();
        for member in groups.values().flat_map(|group| group.holders.iter().take(NAMED)) {
            if let Some((build, graph)) = known.get(self, &member.build).await? {
                let label = graph.job(member.job).map_or_else(String::new, |j| j.label().to_owned());
                let name = format!("`{label}` of {}#{}", build.facts.pipeline, build.facts.number);
                names.insert((member.build.clone(), member.job), name);
            }
        }
        let fleet = self.load::<Fleet>(&keys::fleet()).await?.map(|f| f.body).unwrap_or_default();
        let backlog = self.backlog().await?;
        let triggers = self.show_triggers(&build, &graph).await?;
        let child = |(job, (made, _)): (&JobIndex, &(Option<super::TriggeredAnswer>, Option<String>))| {
            let made = made.as_ref()?;
            let name = format!("{}#{}", made.pipeline, made.number);
            Some((*job, why::Child { name, state: made.state? }))
        };
        let children = triggers.iter().filter_map(child).collect();
        let records = why::Records {
            build: &build,
            graph: &graph,
            attempts: &attempts,
            groups: &groups,
            names: &names,
            children: &children,
            fleet: &fleet,
            policy: &self.settings.policy,
            backlog: &backlog,
            now: self.now(),
        };
        let mut jobs = Vec::new();
        for job in asked.into_iter().take(MOST) {
            let Some(why) = why::why(job, &records) else { continue };
            let written = graph.job(job);
            let latest = attempts.iter().filter(|a| a.id.job == job).max_by_key(|a| a.id.number);
            let state = build.cells.get(job.0 as usize).map_or(JobState::Waiting, |c| c.state);
            jobs.push(WhyJob {
                id: job_uuid(&id, job).to_string(),
                key: written.and_then(|w| w.step.key.clone()),
                label: written.map_or_else(String::new, |w| w.label().to_owned()),
                index: written.map_or(0, |w| w.index),
                state: super::answers::shown_state(state, latest).to_owned(),
                waits: why.kind.waits(),
                kind: why.kind,
                because: why.because,
                until: why.until,
                since: why.since.map(|at| at.to_string()),
            });
        }
        Ok(WhyAnswer {
            number: build.facts.number,
            pipeline: build.facts.pipeline.to_string(),
            state: build.state.name().to_owned(),
            sentence: why::sentence(&records),
            jobs,
            build: id,
        })
    }

    /// The records of the groups that these jobs are in.
    async fn groups_of(&self, graph: &Graph, jobs: &[JobIndex]) -> Result<BTreeMap<String, Group>, Error> {
        let wanted: BTreeSet<&str> = jobs
            .iter()
            .filter_map(|&job| graph.job(job)?.command?.concurrency.as_ref())
            .map(|concurrency| concurrency.group.as_str())
            .collect();
        let mut groups = BTreeMap::new();
        for name in wanted {
            if let Some(group) = self.load::<Group>(&keys::group(&keys::group_id(name))).await? {
                groups.insert(name.to_owned(), group.body);
            }
        }
        Ok(groups)
    }

    /// How many attempts wait to be given out, by pool.
    async fn backlog(&self) -> Result<BTreeMap<String, u32>, Error> {
        let mut backlog = BTreeMap::new();
        for line in self.demand().await? {
            let demand = line.demand;
            if let Some(pool) = self.settings.policy.pool_for(&demand.requirement, demand.trust) {
                let waiting: &mut u32 = backlog.entry(pool.name.to_string()).or_default();
                *waiting = waiting.saturating_add(demand.waiting());
            }
        }
        Ok(backlog)
    }

    /// Every concurrency group that anybody is in.
    ///
    /// # Errors
    /// A port failed.
    pub async fn list_groups(&self) -> Result<Groups, ApiError> {
        let (records, _) = self.list(keys::GROUPS, 10_000).await?;
        let mut answers = Vec::new();
        let mut known = Known::default();
        for record in records {
            let Some(group) = self.load::<Group>(&keys::group(&record.key.sk)).await? else { continue };
            let group = group.body;
            let limits: BTreeSet<u32> = group.members().map(|m| m.limit).collect();
            if limits.is_empty() {
                continue;
            }
            let mut named = [Vec::new(), Vec::new()];
            for (out, members) in named.iter_mut().zip([&group.holders, &group.waiters]) {
                for member in members.iter().take(NAMED) {
                    out.push(self.member(&mut known, member).await?);
                }
            }
            let [holders, waiters] = named;
            answers.push(GroupAnswer { name: group.name, limits: limits.into_iter().collect(), holders, waiters });
        }
        answers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Groups { groups: answers })
    }

    async fn member(&self, known: &mut Known, member: &Member) -> Result<GroupMember, Error> {
        let build = known.get(self, &member.build).await?;
        let state = build.and_then(|(b, _)| b.cells.get(member.job.0 as usize)).map(|c| c.state.name().to_owned());
        Ok(GroupMember {
            build: member.build.clone(),
            number: build.map(|(b, _)| b.facts.number),
            pipeline: build.map(|(b, _)| b.facts.pipeline.to_string()),
            job_id: job_uuid(&member.build, member.job).to_string(),
            job: build.and_then(|(_, g)| g.job(member.job)).map(|j| j.label().to_owned()),
            state,
            limit: member.limit,
            eager: member.eager,
            since: member.since.map(|at| at.to_string()),
        })
    }

    /// Writes a group down where groups are looked up.
    pub(crate) async fn list_group(&self, id: &str) -> Result<(), Error> {
        let key = keys::listed_group(id);
        if self.load::<()>(&key).await?.is_none() {
            self.save(key, &(), crate::ports::Expect::Any).await?;
        }
        Ok(())
    }
}

/// Jobs that are reached and not over: everybody else who waits, waits for one of them. Where there are none (everything
/// is over, or waits in vain), those that wait.
fn roots(build: &Build, graph: &Graph) -> Vec<JobIndex> {
    let is = |job: &JobIndex, wanted: fn(JobState) -> bool| {
        let wait = graph.job(*job).is_some_and(|j| matches!(j.step.kind, StepKind::Wait { .. }));
        !wait && build.cells.get(job.0 as usize).is_some_and(|cell| wanted(cell.state))
    };
    let reached: Vec<_> =
        graph.jobs_in_order().filter(|job| is(job, |s| !s.is_final() && s != JobState::Waiting)).collect();
    if !reached.is_empty() {
        return reached;
    }
    graph.jobs_in_order().filter(|job| is(job, |s| s == JobState::Waiting || s.is_failure())).collect()
}
