//! What the fleet is told, and what that changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Fleet, Machine, MachineState, Policy, Pool, Ticket};
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
    /// These tickets' messages were sent.
    Sent {
        /// The pool.
        pool: PoolName,
        /// The attempts.
        attempts: Vec<AttemptId>,
    },
    /// Everything that the cloud knows to be alive, or gone with a reason, and the last beats. Machines that the cloud
    /// does not name are gone too, once they are older than its descriptions may be late.
    Seen {
        /// Machines that are alive, with pool and launch.
        alive: BTreeMap<InstanceId, (PoolName, String)>,
        /// Machines that are gone, and why.
        gone: BTreeMap<InstanceId, String>,
        /// Beats of machines.
        beats: BTreeMap<InstanceId, u64>,
    },
    /// A machine that was lost has been dealt with.
    Buried {
        /// The machine.
        instance: InstanceId,
    },
}

/// How late the cloud's descriptions may be: a machine younger than this is not gone because it is not described.
const DESCRIBE_LAG: std::time::Duration = std::time::Duration::from_secs(120);
/// Share of the watched machines that must fall silent at once for the fault to be looked for on our side.
const MASS_SILENCE: usize = 2;

impl Fleet {
    fn machine(&mut self, pool: &PoolName, instance: &InstanceId, now: Timestamp) -> &mut Machine {
        self.pools.entry(pool.clone()).or_default().machines.entry(instance.clone()).or_insert_with(|| Machine {
            state: MachineState::Booting,
            since: now,
            launched_at: now,
            launch: String::new(),
            attempt: None,
            seq: 0,
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
        if seq <= machine.seq || matches!(machine.state, MachineState::Lost(_)) {
            return;
        }
        machine.seq = seq;
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
                let Some(entry) = self.pools.get_mut(&pool) else {
                    return;
                };
                let Some(place) = entry.launches.iter().position(|l| l.token == token) else {
                    return;
                };
                let launch = entry.launches.remove(place);
                entry.no_capacity = None;
                for instance in instances {
                    let machine = self.machine(&pool, &instance, launch.at);
                    machine.launch = token.clone();
                    machine.launched_at = launch.at;
                }
            }
            Input::NoCapacity { pool, token, why } => {
                let Some(entry) = self.pools.get_mut(&pool) else {
                    return;
                };
                entry.launches.retain(|l| l.token != token);
                entry.launch_after = now + policy.no_capacity;
                entry.no_capacity = Some(why);
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
            Input::Seen { alive, gone, beats } => self.seen(&alive, &gone, &beats, policy, now),
            Input::Buried { instance } => {
                for pool in self.pools.values_mut() {
                    if pool.machines.get(&instance).is_some_and(|m| matches!(m.state, MachineState::Lost(_))) {
                        pool.machines.remove(&instance);
                    }
                }
            }
        }
    }

    fn seen(
        &mut self,
        alive: &BTreeMap<InstanceId, (PoolName, String)>,
        gone: &BTreeMap<InstanceId, String>,
        beats: &BTreeMap<InstanceId, u64>,
        policy: &Policy,
        now: Timestamp,
    ) {
        // Machines of ours that the record does not know: a launch whose answer was lost.
        for (instance, (pool, launch)) in alive {
            if !self.pools.values().any(|p| p.machines.contains_key(instance)) {
                self.machine(pool, instance, now).launch.clone_from(launch);
            }
        }
        // Nobody looked for a while (we were down): everybody gets the full limit again.
        let gap = self.audited_at.is_none_or(|at| now.since(at) > policy.silence / 2);
        self.audited_at = Some(now);
        let mut silent: Vec<(PoolName, InstanceId)> = Vec::new();
        let mut watched = 0;
        for (name, pool) in &mut self.pools {
            for (instance, machine) in &mut pool.machines {
                if matches!(machine.state, MachineState::Lost(_)) {
                    continue;
                }
                if let Some(why) = gone.get(instance) {
                    lose(machine, why.clone(), now);
                    continue;
                }
                if !alive.contains_key(instance) && now.since(machine.launched_at) > DESCRIBE_LAG {
                    lose(machine, "the machine is gone".to_owned(), now);
                    continue;
                }
                let counter = beats.get(instance).copied();
                match (counter, machine.beat) {
                    (Some(counter), Some((known, at))) if counter == known => {
                        watched += 1;
                        if gap {
                            machine.beat = Some((counter, now));
                        } else if now.since(at) > policy.silence {
                            silent.push((name.clone(), instance.clone()));
                        }
                    }
                    (Some(counter), _) => {
                        watched += 1;
                        machine.beat = Some((counter, now));
                    }
                    (None, _) => {
                        if machine.state == MachineState::Booting && now.since(machine.launched_at) > policy.boot {
                            let limit = policy.boot.as_secs();
                            lose(machine, format!("the machine did not come up within {limit} s of its launch"), now);
                        }
                    }
                }
            }
        }
        // Many at once: that is our fault, not theirs (`spec/hazards.md` H3). One alone has nobody to compare with.
        if silent.len() > 1 && silent.len() * MASS_SILENCE > watched {
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
    /// Puts an attempt among the tickets. Giving it out twice changes nothing.
    pub(super) fn give_out(&mut self, attempt: AttemptId, now: Timestamp) {
        if !self.tickets.iter().any(|t| t.attempt == attempt) {
            self.tickets.push(Ticket { attempt, at: now, sent: false });
        }
    }
}
