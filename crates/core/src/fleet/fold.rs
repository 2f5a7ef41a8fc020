//! What the fleet is told, and what that changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Fleet, Machine, MachineState, Policy, Pool, Ticket, UNRESOLVED};
use crate::ids::{AttemptId, InstanceId, PoolName};
use crate::time::Timestamp;

/// What the fleet is told. `seq` rises with each event of a machine: an event that is older than what is known of the
/// machine changes nothing.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Input {
    /// A machine asked for work for the first time.
    Up {
        /// The machine.
        instance: InstanceId,
        /// Its pool.
        pool: PoolName,
        /// See [`Input`].
        seq: u64,
    },
    /// A machine has claimed an attempt.
    Claimed {
        /// The machine.
        instance: InstanceId,
        /// Its pool.
        pool: PoolName,
        /// What it claimed.
        attempt: AttemptId,
        /// See [`Input`].
        seq: u64,
    },
    /// A machine holds nothing any more.
    Freed {
        /// The machine.
        instance: InstanceId,
        /// Its pool.
        pool: PoolName,
        /// See [`Input`].
        seq: u64,
    },
    /// A machine takes no more work.
    Closing {
        /// The machine.
        instance: InstanceId,
        /// Its pool.
        pool: PoolName,
        /// See [`Input`].
        seq: u64,
    },
    /// A ticket was of no use: its attempt cannot be claimed any more.
    Void {
        /// The pool whose queue it came from.
        pool: PoolName,
        /// The attempt.
        attempt: AttemptId,
    },
    /// A launch gave these machines.
    Launched {
        /// The pool.
        pool: PoolName,
        /// The launch.
        token: String,
        /// The machines.
        instances: Vec<InstanceId>,
    },
    /// A launch gave nothing.
    NoCapacity {
        /// The pool.
        pool: PoolName,
        /// The launch.
        token: String,
        /// For people.
        why: String,
    },
    /// A launch had no answer: it is asked for again after a while.
    Unanswered {
        /// The pool.
        pool: PoolName,
        /// The launch.
        token: String,
        /// When.
        ask_after: Timestamp,
    },
    /// These tickets' messages were sent again.
    Sent {
        /// The pool.
        pool: PoolName,
        /// The attempts.
        attempts: Vec<AttemptId>,
    },
    /// These tickets' messages could not be sent.
    Unsent {
        /// The pool.
        pool: PoolName,
        /// The attempts.
        attempts: Vec<AttemptId>,
    },
    /// Everything that the cloud knows to be alive, or gone with a reason, and the last beats. Machines that the cloud
    /// does not name are gone too, once they are older than its descriptions may be late.
    Seen {
        /// When the cloud was asked: what is said here was so then. News that are older than others change nothing.
        #[serde(default)]
        asked_at: Timestamp,
        /// Machines that are alive, with pool and launch.
        alive: BTreeMap<InstanceId, (PoolName, String)>,
        /// Machines that are gone, and why.
        gone: BTreeMap<InstanceId, String>,
        /// Those of them that the cloud admits to have ended.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        taken: BTreeSet<InstanceId>,
        /// Beats of machines.
        beats: BTreeMap<InstanceId, u64>,
    },
    /// A machine that was lost has been dealt with.
    Buried {
        /// The machine.
        instance: InstanceId,
    },
}

/// Share of the watched machines that must fall silent at once for the fault to be looked for on our side.
const MASS_SILENCE: usize = 2;
/// How many times the limit many machines may be silent together. After that it does not matter any more whose fault it
/// is: an agent that cannot beat has ended its job long before (`spec/hazards.md` C9), and somebody waits for the jobs.
const MASS_PATIENCE: u32 = 4;

impl Fleet {
    fn machine(&mut self, pool: &PoolName, instance: &InstanceId, now: Timestamp) -> &mut Machine {
        self.pools.entry(pool.clone()).or_default().machines.entry(instance.clone()).or_insert_with(|| Machine {
            state: MachineState::Booting,
            since: now,
            launched_at: now,
            launch: String::new(),
            attempt: None,
            seq: 0,
            late: false,
            taken: false,
            beat: None,
        })
    }

    fn event(
        &mut self,
        pool: &PoolName,
        instance: &InstanceId,
        seq: u64,
        state: MachineState,
        attempt: Option<AttemptId>,
        now: Timestamp,
    ) {
        let known = self.pools.get(pool).is_some_and(|p| p.machines.contains_key(instance));
        // An event of a machine that was buried already makes no new one: only a machine that comes up or claims is new.
        if !known && matches!(state, MachineState::Closing | MachineState::Idle) && seq > 1 {
            return;
        }
        let machine = self.machine(pool, instance, now);
        if seq <= machine.seq {
            return;
        }
        machine.seq = seq;
        if matches!(machine.state, MachineState::Lost(_)) {
            // It stays lost, but what it took in its last moments is lost with it and must not be forgotten.
            if attempt.is_some() && machine.attempt != attempt {
                machine.attempt = attempt;
                machine.late = true;
            }
            return;
        }
        machine.state = state;
        machine.since = now;
        machine.attempt = attempt;
    }

    /// Folds one input in.
    pub fn fold(&mut self, input: Input, policy: &Policy, now: Timestamp) {
        match input {
            Input::Up { instance, pool, seq } => {
                self.event(&pool, &instance, seq, MachineState::Idle, None, now);
            }
            Input::Claimed { instance, pool, attempt, seq } => {
                self.pools.entry(pool.clone()).or_default().tickets.retain(|t| t.attempt != attempt);
                self.event(&pool, &instance, seq, MachineState::Busy, Some(attempt), now);
            }
            Input::Freed { instance, pool, seq } => {
                self.event(&pool, &instance, seq, MachineState::Idle, None, now);
            }
            Input::Closing { instance, pool, seq } => {
                self.event(&pool, &instance, seq, MachineState::Closing, None, now);
            }
            Input::Void { pool, attempt } => {
                if let Some(pool) = self.pools.get_mut(&pool) {
                    pool.tickets.retain(|t| t.attempt != attempt);
                }
            }
            Input::Launched { pool, token, instances } => {
                let entry = self.pools.entry(pool.clone()).or_default();
                // The launch may be settled already: two processes make the same call, and the one that is told that there is
                // nothing speaks first. Machines that exist are capacity, whatever was said of them.
                let launch = entry.launches.iter().position(|l| l.token == token).map(|at| entry.launches.remove(at));
                let launched_at = launch.map_or(now, |launch| launch.at);
                entry.no_capacity = None;
                for instance in instances {
                    let machine = self.machine(&pool, &instance, launched_at);
                    if machine.launch != token {
                        machine.launch = token.clone();
                        machine.launched_at = launched_at;
                    }
                }
            }
            Input::NoCapacity { pool, token, why } => {
                let Some(entry) = self.pools.get_mut(&pool) else {
                    return;
                };
                let before = entry.launches.len();
                entry.launches.retain(|l| l.token != token);
                if entry.launches.len() == before {
                    return;
                }

                entry.launch_after = now + policy.no_capacity;
                entry.no_capacity = Some(why);
            }
            Input::Unanswered { pool, token, ask_after } => {
                let launches = self.pools.get_mut(&pool).map(|p| &mut p.launches);
                for launch in launches.into_iter().flatten().filter(|l| l.token == token) {
                    launch.ask_after = ask_after;
                }
            }
            Input::Sent { pool, attempts } => {
                let Some(entry) = self.pools.get_mut(&pool) else {
                    return;
                };
                for ticket in &mut entry.tickets {
                    if attempts.contains(&ticket.attempt) {
                        ticket.sent = true;
                        ticket.at = now;
                    }
                }
            }
            Input::Unsent { pool, attempts } => {
                let tickets = self.pools.get_mut(&pool).map(|p| &mut p.tickets);
                for ticket in tickets.into_iter().flatten().filter(|t| attempts.contains(&t.attempt)) {
                    ticket.sent = false;
                }
            }
            Input::Seen { asked_at, alive, gone, taken, beats } => {
                self.seen(&alive, &gone, &taken, &beats, policy, asked_at);
            }
            Input::Buried { instance } => {
                for pool in self.pools.values_mut() {
                    match pool.machines.get_mut(&instance) {
                        Some(machine) if machine.late => machine.late = false,
                        Some(Machine { state: MachineState::Lost(_), .. }) => {
                            pool.machines.remove(&instance);
                        }
                        Some(_) | None => {}
                    }
                }
            }
        }
    }

    fn seen(
        &mut self,
        alive: &BTreeMap<InstanceId, (PoolName, String)>,
        gone: &BTreeMap<InstanceId, String>,
        taken: &BTreeSet<InstanceId>,
        beats: &BTreeMap<InstanceId, u64>,
        policy: &Policy,
        now: Timestamp,
    ) {
        // Who asked may have slept before it said so. What was gone then is gone; what was not there yet, or had not beaten
        // lately, may be there and beating now.
        if self.audited_at.is_some_and(|at| now < at) {
            for (instance, why) in gone {
                let machines = self.pools.values_mut().filter_map(|p| p.machines.get_mut(instance));
                for machine in machines.filter(|m| !matches!(m.state, MachineState::Lost(_))) {
                    lose(machine, why.clone(), now);
                }
            }
            return;
        }
        // Machines of ours that the record does not know: a launch whose answer was lost.
        for (instance, (pool, launch)) in alive {
            if !self.pools.values().any(|p| p.machines.contains_key(instance)) {
                self.machine(pool, instance, now).launch.clone_from(launch);
            }
        }
        // Nobody looked for a while (we were down): everybody gets the full limit again.
        let gap = self.audited_at.is_none_or(|at| now.since(at) > policy.silence / 2);
        self.audited_at = Some(now);
        if gap {
            self.watching_since = now;
        }
        let watching_since = self.watching_since;
        let mut silent: Vec<(PoolName, InstanceId)> = Vec::new();
        let mut watched = 0;
        let mut longest = Duration::ZERO;
        for (name, pool) in &mut self.pools {
            for (instance, machine) in &mut pool.machines {
                if matches!(machine.state, MachineState::Lost(_)) {
                    continue;
                }
                if let Some(why) = gone.get(instance) {
                    lose(machine, why.clone(), now);
                    machine.taken = taken.contains(instance);
                    continue;
                }
                if !alive.contains_key(instance) && now.since(machine.launched_at) > UNRESOLVED {
                    lose(machine, "the machine is gone".to_owned(), now);
                    continue;
                }
                if machine.state == MachineState::Booting && !beats.contains_key(instance) {
                    if now.since(machine.launched_at.max(watching_since)) > policy.boot {
                        let limit = policy.boot.as_secs();
                        lose(machine, format!("the machine did not come up within {limit} s of its launch"), now);
                    }
                    continue;
                }
                watched += 1;
                // Who has work and never beat, or whose beats are gone, is as silent as who beats no more.
                let counter = beats.get(instance).copied();
                let heard = match (counter, machine.beat) {
                    (Some(counter), Some((known, at))) if counter == known => at,
                    (Some(counter), _) => {
                        machine.beat = Some((counter, now));
                        now
                    }
                    (None, Some((_, at))) => at,
                    (None, None) => machine.since,
                };
                let span = now.since(heard.max(watching_since));
                if span > policy.silence {
                    silent.push((name.clone(), instance.clone()));
                    longest = longest.max(span);
                }
            }
        }
        // Many at once: that is our fault, not theirs (`spec/hazards.md` H3). One alone has nobody to compare with.
        let many = silent.len() > 1 && silent.len() * MASS_SILENCE > watched;
        if many && longest <= policy.silence * MASS_PATIENCE {
            return;
        }
        let limit = policy.silence.as_secs();
        for (pool, instance) in silent {
            if let Some(machine) = self.pools.get_mut(&pool).and_then(|p| p.machines.get_mut(&instance)) {
                lose(machine, format!("the machine has been silent for more than {limit} s"), now);
            }
        }
    }
}

fn lose(machine: &mut Machine, why: String, now: Timestamp) {
    machine.state = MachineState::Lost(why);
    machine.since = now;
}

impl Pool {
    /// Puts an attempt among the tickets. Giving it out twice changes nothing. Returns whether it is new there.
    pub(super) fn give_out(&mut self, attempt: AttemptId, now: Timestamp) -> bool {
        let new = !self.tickets.iter().any(|t| t.attempt == attempt);
        if new {
            self.tickets.push(Ticket { attempt, at: now, sent: false });
        }
        new
    }
}
