//! Properties of [`Fleet`].

use std::collections::BTreeSet;
use std::time::Duration;

use tidegate_core::ids::{InstanceId, PoolName};

use super::{Report, Trial, Violation};
use crate::ports::{Fleet, InstanceStatus, InstanceView, LaunchRequest, Launched};

/// A fleet to try. Its instances have to live until they are terminated.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The adapter.
    pub fleet: &'a dyn Fleet,
    /// A pool in which capacity can be had, if only sometimes.
    pub pool: &'a PoolName,
}

/// Runs all properties of this module. Counts `no capacity`, `fewer than asked for` and `retries`.
pub async fn suite(trial: &Trial<'_>, subject: Subject<'_>) -> Result<Report, Violation> {
    run!(
        trial,
        subject,
        [
            a_launch_is_described,
            a_repeated_launch_launches_once,
            launches_at_a_time_launch_once,
            what_is_terminated_is_gone,
            terminating_the_unknown_is_no_error,
        ]
    )
}

impl Subject<'_> {
    fn request(&self, token: String, count: u32) -> LaunchRequest {
        LaunchRequest {
            token,
            pool: self.pool.clone(),
            count,
            idle: Duration::from_secs(300),
            hard_stop: Duration::from_secs(600),
            tags: vec![("queue".to_owned(), self.pool.as_str().to_owned())],
        }
    }

    /// Launches until there is capacity, with a new token each time as the engine does.
    async fn launch(&self, trial: &Trial<'_>, count: u32) -> Result<(LaunchRequest, Vec<InstanceId>), Violation> {
        let deadline = trial.deadline();
        for round in 0.. {
            ensure!(trial, trial.now() < deadline, "no capacity could be had");
            let request = self.request(trial.name(&round.to_string()), count);
            match trial.done("a launch", || self.fleet.launch(&request)).await? {
                Launched::Instances(ids) => {
                    check_ids(trial, &request, &ids)?;
                    return Ok((request, ids));
                }
                Launched::NoCapacity { why } => {
                    ensure!(trial, !why.is_empty(), "there is no capacity, and no word why");
                    trial.count("no capacity");
                    trial.sleep(Duration::from_millis(100)).await;
                }
            }
        }
        Err(trial.broken("no capacity could be had"))
    }

    /// What is described of the instances of a launch.
    async fn views(&self, trial: &Trial<'_>, token: &str) -> Result<Vec<InstanceView>, Violation> {
        let all = trial.done("a description", || self.fleet.describe()).await?;
        let mut ids = BTreeSet::new();
        for view in &all {
            ensure!(trial, ids.insert(view.id.clone()), "`{}` is described twice", view.id);
        }
        Ok(all.into_iter().filter(|view| view.token == token).collect())
    }

    /// Waits until exactly these are alive of a launch.
    async fn alive(&self, trial: &Trial<'_>, token: &str, expected: &BTreeSet<InstanceId>) -> Result<(), Violation> {
        let deadline = trial.deadline();
        loop {
            let views = self.views(trial, token).await?;
            let alive: BTreeSet<InstanceId> =
                views.iter().filter(|view| view.status == InstanceStatus::Alive).map(|view| view.id.clone()).collect();
            if alive == *expected {
                return Ok(());
            }
            ensure!(trial, trial.now() < deadline, "{expected:?} should be alive, not {views:?}");
            trial.sleep(Duration::from_millis(50)).await;
        }
    }

    async fn end(&self, trial: &Trial<'_>, token: &str, ids: &[InstanceId]) -> Result<(), Violation> {
        trial.done("a termination", || self.fleet.terminate(ids)).await?;
        self.alive(trial, token, &BTreeSet::new()).await
    }
}

fn check_ids(trial: &Trial<'_>, request: &LaunchRequest, ids: &[InstanceId]) -> Result<(), Violation> {
    let distinct: BTreeSet<&InstanceId> = ids.iter().collect();
    let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    ensure!(
        trial,
        (1..=request.count).contains(&count) && distinct.len() == ids.len(),
        "a launch of {} gave {ids:?}",
        request.count
    );
    if count < request.count {
        trial.count("fewer than asked for");
    }
    Ok(())
}

/// What was launched is described sooner or later, with its pool and token.
pub async fn a_launch_is_described(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    let (request, ids) = subject.launch(trial, 2).await?;
    subject.alive(trial, &request.token, &ids.iter().cloned().collect()).await?;
    for view in subject.views(trial, &request.token).await? {
        ensure!(trial, view.pool == *subject.pool, "an instance is described in the pool `{}`", view.pool);
    }
    subject.end(trial, &request.token, &ids).await
}

/// The same request again gives the same instances and launches none, also after they are gone.
pub async fn a_repeated_launch_launches_once(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    let (request, ids) = subject.launch(trial, 2).await?;
    let expected: BTreeSet<InstanceId> = ids.iter().cloned().collect();
    for _ in 0..2 {
        again(trial, subject, &request, &expected).await?;
    }
    subject.alive(trial, &request.token, &expected).await?;
    subject.end(trial, &request.token, &ids).await?;
    again(trial, subject, &request, &expected).await?;
    subject.alive(trial, &request.token, &BTreeSet::new()).await
}

async fn again(
    trial: &Trial<'_>,
    subject: Subject<'_>,
    request: &LaunchRequest,
    expected: &BTreeSet<InstanceId>,
) -> Result<(), Violation> {
    match trial.done("a repeated launch", || subject.fleet.launch(request)).await? {
        Launched::Instances(ids) => {
            let ids: BTreeSet<InstanceId> = ids.into_iter().collect();
            ensure!(trial, ids == *expected, "a repeated launch gave {ids:?} instead of {expected:?}");
            Ok(())
        }
        Launched::NoCapacity { .. } => {
            Err(trial.broken("a repeated launch of what was launched says that there is no capacity"))
        }
    }
}

/// Two who ask the same at a time launch it once.
pub async fn launches_at_a_time_launch_once(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    let deadline = trial.deadline();
    for round in 0.. {
        ensure!(trial, trial.now() < deadline, "no capacity could be had");
        let request = subject.request(trial.name(&round.to_string()), 1);
        let ask = || trial.done("a launch", || subject.fleet.launch(&request));
        let (a, b) = futures_util::future::join(ask(), ask()).await;
        let mut ids = BTreeSet::new();
        for launched in [a?, b?] {
            if let Launched::Instances(some) = launched {
                ids.extend(some);
            }
        }
        if ids.is_empty() {
            trial.count("no capacity");
            continue;
        }
        ensure!(trial, ids.len() == 1, "a launch of one that was asked for twice gave {ids:?}");
        subject.alive(trial, &request.token, &ids).await?;
        return subject.end(trial, &request.token, &ids.into_iter().collect::<Vec<_>>()).await;
    }
    Ok(())
}

/// An instance that was terminated is gone and stays so; others live on; doing it again is no error.
pub async fn what_is_terminated_is_gone(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    let (request, first) = subject.launch(trial, 1).await?;
    let deadline = trial.deadline();
    let (other_request, other) = loop {
        let request = subject.request(trial.name("other"), 1);
        match trial.done("a launch", || subject.fleet.launch(&request)).await? {
            Launched::Instances(ids) => break (request, ids),
            Launched::NoCapacity { .. } => {
                ensure!(trial, trial.now() < deadline, "no capacity could be had");
                trial.count("no capacity");
                trial.sleep(Duration::from_millis(100)).await;
            }
        }
    };
    subject.alive(trial, &request.token, &first.iter().cloned().collect()).await?;
    subject.end(trial, &request.token, &first).await?;
    subject.end(trial, &request.token, &first).await?;
    subject.alive(trial, &other_request.token, &other.iter().cloned().collect()).await?;
    subject.end(trial, &other_request.token, &other).await
}

/// Who asks again for what has been forgotten meanwhile is not told off.
pub async fn terminating_the_unknown_is_no_error(trial: &Trial<'_>, subject: Subject<'_>) -> Result<(), Violation> {
    let unknown = InstanceId::new("i-0000000000000dead").map_err(|error| trial.broken(error.to_string()))?;
    trial.done("a termination", || subject.fleet.terminate(std::slice::from_ref(&unknown))).await?;
    trial.done("a termination of none", || subject.fleet.terminate(&[])).await
}
