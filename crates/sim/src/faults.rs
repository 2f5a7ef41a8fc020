//! Named faults, after `spec/faults.md`.

use std::fmt;
use std::str::FromStr;

macro_rules! faults {
    ($($variant:ident $name:literal $what:literal,)+) => {
        /// Something that goes wrong.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub(crate) enum Fault { $(#[doc = $what] $variant,)+ }

        impl Fault {
            pub(crate) const ALL: &[Fault] = &[$(Fault::$variant,)+];
            pub(crate) fn name(self) -> &'static str {
                match self { $(Fault::$variant => $name,)+ }
            }
            pub(crate) fn what(self) -> &'static str {
                match self { $(Fault::$variant => $what,)+ }
            }
        }
    };
}

faults! {
    Throttle "throttle" "the store asks to come again, without effect",
    LostWrite "lost-write" "the store writes and the answer is lost",
    Pages "pages" "listings come in short and empty pages",
    Duplicate "duplicate" "a message is handed out twice, or again after its deletion",
    Reorder "reorder" "messages come out of order, in groups too",
    Late "late" "messages become visible late",
    QueueError "queue-error" "the queue fails, before or after its effect",
    BlobError "blob-error" "the blob store answers 503, before or after its effect",
    NoCapacity "no-capacity" "no machine can be had for a while, or fewer than asked for",
    LaunchLost "launch-lost" "machines are launched and the answer is lost",
    FleetError "fleet-error" "the cloud fails to launch, describe or terminate",
    Describe "describe" "descriptions are behind",
    BootHang "boot-hang" "a machine boots late or never",
    Interrupt "interrupt" "the cloud takes a machine and says so afterwards",
    Death "death" "a machine dies at any moment, silently",
    Hang "hang" "a machine freezes, and the cloud calls it alive",
    Partition "partition" "a machine cannot reach the gate, for seconds to an hour",
    CallLost "call-lost" "calls of the gate are lost, doubled, or their answers are",
    Crash "crash" "a task of ours is killed at a port call, before or after its effect",
    CrashProcess "crash-process" "a process of ours is killed with all its tasks",
    Stall "stall" "a task of ours is frozen for minutes, then goes on",
    Outage "outage" "a dependency of ours is down for minutes to an hour",
    SweepDown "sweep-down" "no sweep runs for up to an hour",
    Git "git" "repositories cannot be read for a while",
    Forge "forge" "GitHub does not take statuses",
    Services "services" "services that are to be told of builds fail, or their answers are lost",
    Deliveries "deliveries" "deliveries are doubled, delayed, reordered, redelivered",
    Forged "forged" "strangers send deliveries that are not signed",
    Rogue "rogue" "machines ask for what is not theirs",
    People "people" "people cancel and retry at any moment",
}

/// How often things go wrong in a world of [`crate::interrupted`], where nothing else does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    /// Machines that the cloud takes.
    pub(crate) interrupted: f64,
    /// Messages that come twice.
    pub(crate) doubled: f64,
    /// Calls of the store that fail, before or after their effect.
    pub(crate) failing: f64,
}

impl Rates {
    /// The faults that these are rates of.
    pub(crate) fn faults(self) -> Faults {
        let on = |faults: Faults, fault, rate: f64| if rate > 0.0 { faults.with(fault) } else { faults };
        let faults = on(Faults::NONE, Fault::Interrupt, self.interrupted);
        let faults = on(faults, Fault::Duplicate, self.doubled);
        on(on(faults, Fault::Throttle, self.failing), Fault::LostWrite, self.failing)
    }

    /// The rate of one kind of a fault, of which `Duplicate` has two: sent twice, and again after its deletion.
    pub(crate) fn of(self, fault: Fault) -> f64 {
        match fault {
            Fault::Interrupt => self.interrupted,
            Fault::Duplicate => self.doubled / 2.0,
            Fault::Throttle | Fault::LostWrite => self.failing / 2.0,
            _ => 0.0,
        }
    }
}

/// Which faults are on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Faults(u64);

impl Faults {
    pub(crate) const NONE: Faults = Faults(0);

    pub(crate) fn all() -> Self {
        Self(Fault::ALL.iter().fold(0, |bits, f| bits | 1 << *f as u64))
    }

    pub(crate) fn has(self, fault: Fault) -> bool {
        self.0 & (1 << fault as u64) != 0
    }

    pub(crate) fn with(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault as u64)
    }

    pub(crate) fn without(self, fault: Fault) -> Self {
        Self(self.0 & !(1 << fault as u64))
    }

    pub(crate) fn list(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.iter().copied().filter(move |f| self.has(*f))
    }
}

impl FromStr for Faults {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => return Ok(Self::all()),
            "none" | "" => return Ok(Self::NONE),
            _ => {}
        }
        text.split(',').try_fold(Self::NONE, |faults, name| match Fault::ALL.iter().find(|f| f.name() == name.trim()) {
            Some(fault) => Ok(faults.with(*fault)),
            None => {
                let known: Vec<&str> = Fault::ALL.iter().map(|f| f.name()).collect();
                Err(format!("`{name}` is not a fault: write `all`, `none` or a list of {}", known.join(", ")))
            }
        })
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::all() {
            return f.write_str("all");
        }
        let names: Vec<&str> = self.list().map(Fault::name).collect();
        f.write_str(&if names.is_empty() { "none".to_owned() } else { names.join(",") })
    }
}
