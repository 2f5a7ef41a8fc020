//! What a build keeps of each job: a few bytes, so that a build of 4,000 jobs stays under 64 KB (`spec/hazards.md` H1).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Timestamp;

/// State of a job. The names are those of `spec/pipeline.md` 1.13, plus `soft_failed` and `backoff`; `assigned` and
/// `running` are read from the attempt and never stored here.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum JobState {
    /// Has dependencies that are not done.
    #[default]
    Waiting = 0,
    /// Something it depends on failed, so it will not run.
    WaitingFailed = 1,
    /// A condition did not hold.
    Broken = 2,
    /// Skipped on purpose.
    Skipped = 3,
    /// Waits for a person.
    Blocked = 4,
    /// A person opened it.
    Unblocked = 5,
    /// Waits for a slot of its concurrency group.
    Limited = 6,
    /// Its attempt waits for a machine or has one.
    Scheduled = 7,
    /// Waits before it is tried again.
    Backoff = 8,
    /// Is being cancelled.
    Canceling = 9,
    /// Ended with exit status 0.
    Passed = 10,
    /// Ended otherwise.
    Failed = 11,
    /// Ended otherwise, and the step says that this counts as passed.
    SoftFailed = 12,
    /// Ended by a person, a newer build, or because the build was failing.
    Canceled = 13,
    /// Ended because its time was over.
    TimedOut = 14,
    /// No machine took it until its deadline.
    Expired = 15,
}

impl JobState {
    /// Every state, each at its own number.
    pub(super) const ALL: [JobState; 16] = [
        JobState::Waiting,
        JobState::WaitingFailed,
        JobState::Broken,
        JobState::Skipped,
        JobState::Blocked,
        JobState::Unblocked,
        JobState::Limited,
        JobState::Scheduled,
        JobState::Backoff,
        JobState::Canceling,
        JobState::Passed,
        JobState::Failed,
        JobState::SoftFailed,
        JobState::Canceled,
        JobState::TimedOut,
        JobState::Expired,
    ];

    /// Whether nothing more happens to the job by itself. `WaitingFailed` is final too: only a retry of what failed
    /// changes it.
    pub fn is_final(self) -> bool {
        match self {
            JobState::Waiting
            | JobState::Blocked
            | JobState::Limited
            | JobState::Scheduled
            | JobState::Backoff
            | JobState::Canceling => false,
            JobState::WaitingFailed
            | JobState::Broken
            | JobState::Skipped
            | JobState::Unblocked
            | JobState::Passed
            | JobState::Failed
            | JobState::SoftFailed
            | JobState::Canceled
            | JobState::TimedOut
            | JobState::Expired => true,
        }
    }

    /// Whether what depends on the job does not run and the build fails (`spec/pipeline.md` 1.7, rules 7 to 9 and 12).
    pub fn is_failure(self) -> bool {
        match self {
            JobState::WaitingFailed
            | JobState::Failed
            | JobState::Canceled
            | JobState::TimedOut
            | JobState::Expired => true,
            JobState::Waiting
            | JobState::Broken
            | JobState::Skipped
            | JobState::Blocked
            | JobState::Unblocked
            | JobState::Limited
            | JobState::Scheduled
            | JobState::Backoff
            | JobState::Canceling
            | JobState::Passed
            | JobState::SoftFailed => false,
        }
    }

    /// Whether the job has an attempt that may still run.
    pub fn has_live_attempt(self) -> bool {
        matches!(self, JobState::Scheduled | JobState::Canceling)
    }

    /// The name in JSON and for people.
    pub fn name(self) -> &'static str {
        match self {
            JobState::Waiting => "waiting",
            JobState::WaitingFailed => "waiting_failed",
            JobState::Broken => "broken",
            JobState::Skipped => "skipped",
            JobState::Blocked => "blocked",
            JobState::Unblocked => "unblocked",
            JobState::Limited => "limited",
            JobState::Scheduled => "scheduled",
            JobState::Backoff => "backoff",
            JobState::Canceling => "canceling",
            JobState::Passed => "passed",
            JobState::Failed => "failed",
            JobState::SoftFailed => "soft_failed",
            JobState::Canceled => "canceled",
            JobState::TimedOut => "timed_out",
            JobState::Expired => "expired",
        }
    }
}

/// What a build keeps of one job.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cell {
    /// Its state.
    pub state: JobState,
    /// Number of the latest attempt; 0 before the first.
    pub attempt: u32,
    /// The latest attempt's record is to be made.
    pub create: bool,
    /// The latest attempt is to be cancelled.
    pub revoke: bool,
    /// The group is to be told that the job wants a slot.
    pub join: bool,
    /// The group is to be told that the job needs none any more.
    pub leave: bool,
    /// It has been in its group since the job became ready, and has not left.
    pub in_group: bool,
    /// A slot of its group has been given to it.
    pub granted: bool,
    /// Counts how often it has joined its group: a grant or a departure of an earlier time means nothing.
    pub round: u32,
    /// Retries by the user's rules or by hand: `BUILDKITE_RETRY_COUNT`.
    pub retries: u32,
    /// Uses of each rule of `retry.automatic`, in the order of the rules.
    pub rule_uses: Vec<u8>,
    /// Infrastructure failures in a row, for the pause before the next try.
    pub losses: u32,
    /// When the first of these `losses` was.
    pub lost_since: Timestamp,
    /// Machines that died silently or ran full under it after its command started.
    pub silent: u32,
    /// Pipeline uploads folded in from the latest attempt.
    pub uploads: u32,
    /// The line that its latest attempt is on, and its number there.
    pub line: u32,
    /// See `line`.
    pub seq: u32,
    /// In `Backoff`: when to try again.
    pub not_before: Timestamp,
}

impl Cell {
    /// Gives up its place in its concurrency group, if it has one.
    pub(super) fn leave_group(&mut self) {
        if self.in_group {
            (self.in_group, self.granted, self.join, self.leave) = (false, false, false, true);
        }
    }
}

/// All cells of a build. Serialised as one compact text: columns of variable-length integers, deflated, base64.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cells(Vec<Cell>);

impl std::ops::Deref for Cells {
    type Target = Vec<Cell>;
    fn deref(&self) -> &Vec<Cell> {
        &self.0
    }
}

impl std::ops::DerefMut for Cells {
    fn deref_mut(&mut self) -> &mut Vec<Cell> {
        &mut self.0
    }
}

/// Most jobs that a stored build may have; a damaged record cannot make a reader allocate without bound.
const MAX_CELLS: u64 = 100_000;

fn write(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let byte = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

fn read(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("it ends too early")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is too long")
}

fn read32(bytes: &mut &[u8]) -> Result<u32, &'static str> {
    u32::try_from(read(bytes)?).map_err(|_| "a number is too large")
}

impl Cells {
    fn pack(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len() * 12);
        write(&mut out, self.len() as u64);
        // Column by column: neighbours are alike, which deflate likes.
        out.extend(self.iter().map(|c| c.state as u8));
        for c in self.iter() {
            let flags = [c.create, c.revoke, c.join, c.leave, c.in_group, c.granted];
            out.push(flags.iter().enumerate().fold(0, |byte, (bit, &set)| byte | (u8::from(set) << bit)));
        }
        let columns: [fn(&Cell) -> u64; 11] = [
            |c| c.attempt.into(),
            |c| c.retries.into(),
            |c| c.losses.into(),
            |c| c.silent.into(),
            |c| c.uploads.into(),
            |c| c.line.into(),
            |c| c.seq.into(),
            |c| c.round.into(),
            |c| c.not_before.0,
            |c| c.lost_since.0,
            |c| c.rule_uses.len() as u64,
        ];
        for column in columns {
            for c in self.iter() {
                write(&mut out, column(c));
            }
        }
        for c in self.iter() {
            out.extend(&c.rule_uses);
        }
        out
    }

    fn unpack(mut bytes: &[u8]) -> Result<Self, &'static str> {
        let b = &mut bytes;
        let count = read(b)?;
        if count > MAX_CELLS {
            return Err("it has too many jobs");
        }
        let count = usize::try_from(count).map_err(|_| "it has too many jobs")?;
        let mut cells = vec![Cell::default(); count];
        let mut take = |n: usize| -> Result<Vec<u8>, &'static str> {
            if b.len() < n {
                return Err("it ends too early");
            }
            let (head, rest) = b.split_at(n);
            *b = rest;
            Ok(head.to_vec())
        };
        for (c, state) in cells.iter_mut().zip(take(count)?) {
            c.state = *JobState::ALL.get(usize::from(state)).ok_or("a job's state is unknown")?;
        }
        for (c, flags) in cells.iter_mut().zip(take(count)?) {
            let set = |bit: u8| flags & (1 << bit) != 0;
            (c.create, c.revoke, c.join, c.leave, c.in_group, c.granted) =
                (set(0), set(1), set(2), set(3), set(4), set(5));
        }
        let columns: [fn(&mut Cell) -> &mut u32; 8] = [
            |c| &mut c.attempt,
            |c| &mut c.retries,
            |c| &mut c.losses,
            |c| &mut c.silent,
            |c| &mut c.uploads,
            |c| &mut c.line,
            |c| &mut c.seq,
            |c| &mut c.round,
        ];
        for column in columns {
            for c in &mut cells {
                *column(c) = read32(b)?;
            }
        }
        for c in &mut cells {
            c.not_before = Timestamp(read(b)?);
        }
        for c in &mut cells {
            c.lost_since = Timestamp(read(b)?);
        }
        let lengths: Vec<usize> = cells
            .iter()
            .map(|_| read(b).and_then(|n| usize::try_from(n).map_err(|_| "too long")))
            .collect::<Result<_, _>>()?;
        for (c, length) in cells.iter_mut().zip(lengths) {
            if b.len() < length {
                return Err("it ends too early");
            }
            let (head, rest) = b.split_at(length);
            c.rule_uses = head.to_vec();
            *b = rest;
        }
        Ok(Self(cells))
    }
}

impl Serialize for Cells {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        use std::io::Write as _;
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        deflate.write_all(&self.pack()).map_err(serde::ser::Error::custom)?;
        let bytes = deflate.finish().map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        use serde::de::Error as _;
        use std::io::Read as _;
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let bytes =
            base64::engine::general_purpose::STANDARD_NO_PAD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        let mut packed = Vec::new();
        // At most 100 bytes a job: a damaged record cannot inflate without bound.
        flate2::read::DeflateDecoder::new(&*bytes)
            .take(MAX_CELLS * 100)
            .read_to_end(&mut packed)
            .map_err(D::Error::custom)?;
        Cells::unpack(&packed).map_err(|why| D::Error::custom(format!("the jobs' states cannot be read: {why}")))
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn cell() -> impl Strategy<Value = Cell> {
        (0usize..16, any::<[bool; 6]>(), any::<[u32; 8]>(), any::<u64>(), proptest::collection::vec(any::<u8>(), 0..4))
            .prop_map(|(state, f, n, at, rule_uses)| Cell {
                state: JobState::ALL[state],
                create: f[0],
                revoke: f[1],
                join: f[2],
                leave: f[3],
                in_group: f[4],
                granted: f[5],
                attempt: n[0],
                retries: n[1],
                losses: n[2],
                silent: n[3],
                uploads: n[4],
                line: n[5],
                seq: n[6],
                round: n[7],
                not_before: Timestamp(at),
                lost_since: Timestamp(at / 3),
                rule_uses,
            })
    }

    proptest! {
        #[test]
        fn cells_round_trip(cells in proptest::collection::vec(cell(), 0..50)) {
            let cells = Cells(cells);
            let json = serde_json::to_string(&cells).unwrap();
            prop_assert_eq!(serde_json::from_str::<Cells>(&json).unwrap(), cells);
        }

        #[test]
        fn damaged_cells_are_an_error_not_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Cells::unpack(&bytes);
        }
    }

    #[test]
    fn four_thousand_jobs_are_small() {
        let cells: Vec<Cell> = (0..4000u32)
            .map(|n| Cell {
                state: JobState::ALL[n as usize % 16],
                attempt: 1 + n % 3,
                seq: n,
                not_before: Timestamp(u64::from(n % 7) * 1_700_000_000_123),
                ..Cell::default()
            })
            .collect();
        let json = serde_json::to_string(&Cells(cells)).unwrap();
        assert!(json.len() < 40_000, "{}", json.len());
    }
}
