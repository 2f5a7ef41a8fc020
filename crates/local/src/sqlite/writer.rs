//! The one thread that writes.
//!
//! It takes everything that waits and commits it together, so that a hundred writers pay for one flush to disk, and a
//! lone writer does not wait for company. Nobody gets an answer before the commit that holds his write is done, and those
//! whose write has to outlive a power failure not before it is on disk.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tidegate_engine::ports::PortError;
use tokio::sync::oneshot;

use super::database::sql_error;

/// Most jobs in one commit: bounds how long the first of them waits for the others.
const BATCH: usize = 256;

/// Why a job did not write.
#[derive(Debug)]
pub(super) enum Refused {
    /// The answer is this error. The job has changed nothing.
    Port(PortError),
    /// The database failed; what the job changed has to be rolled back.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Refused::Sql(error)
    }
}

impl From<PortError> for Refused {
    fn from(error: PortError) -> Self {
        Refused::Port(error)
    }
}

/// Something to do in a transaction. It may be run again, in another transaction, when the first was rolled back.
trait Job: Send {
    fn lasting(&self) -> Lasting;
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, failed: Option<PortError>);
}

/// What a write has to outlive once it is answered.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Lasting {
    /// The end of this process, however it comes. A power failure may take it back, together with all that were answered
    /// after it and did not ask for more.
    Process,
    /// A power failure, too: costs a flush to disk.
    Power,
}

struct Asked<T, F> {
    lasting: Lasting,
    work: F,
    outcome: Option<Result<T, PortError>>,
    reply: Option<oneshot::Sender<Result<T, PortError>>>,
}

impl<T, F> Job for Asked<T, F>
where
    T: Send,
    F: FnMut(&Connection) -> Result<T, Refused> + Send,
{
    fn lasting(&self) -> Lasting {
        self.lasting
    }

    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.outcome = match (self.work)(connection) {
            Ok(value) => Some(Ok(value)),
            Err(Refused::Port(error)) => Some(Err(error)),
            Err(Refused::Sql(error)) => return Err(error),
        };
        Ok(())
    }

    fn answer(mut self: Box<Self>, failed: Option<PortError>) {
        let outcome = match (failed, self.outcome.take()) {
            (Some(error), _) => Err(error),
            (None, Some(outcome)) => outcome,
            (None, None) => Err(PortError::fatal("the database writer skipped a write")),
        };
        if let Some(reply) = self.reply.take() {
            // Who does not wait any more is not interested; the write stands.
            let _not_interested = reply.send(outcome);
        }
    }
}

/// The way to the writing thread.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    jobs: Sender<Box<dyn Job>>,
}

impl std::fmt::Debug for dyn Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Job")
    }
}

impl Writer {
    /// Starts the thread. It ends when the last `Writer` is dropped, after what was asked until then.
    pub(super) fn start(connection: Connection) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, waiting) = channel();
        let thread = std::thread::Builder::new()
            .name("tidegate-db".to_owned())
            .spawn(move || write_all(connection, &waiting))?;
        Ok((Self { jobs }, thread))
    }

    /// Runs `work` in a transaction and answers once it is done. `work` may be called more than once, each time in a
    /// transaction that knows nothing of the time before.
    pub(super) async fn write<T, F>(&self, lasting: Lasting, work: F) -> Result<T, PortError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Refused> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.ask(lasting, work, Some(reply))?;
        answer.await.map_err(|_| stopped())?
    }

    /// As [`Writer::write`], for those who cannot wait. Outlives the process, no more.
    pub(super) fn write_later<F>(&self, work: F)
    where
        F: FnMut(&Connection) -> Result<(), Refused> + Send + 'static,
    {
        // Without a writer there is nobody left who could be helped.
        let _stopped = self.ask(Lasting::Process, work, None);
    }

    fn ask<T, F>(
        &self,
        lasting: Lasting,
        work: F,
        reply: Option<oneshot::Sender<Result<T, PortError>>>,
    ) -> Result<(), PortError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Refused> + Send + 'static,
    {
        let job = Asked { lasting, work, outcome: None, reply };
        self.jobs.send(Box::new(job)).map_err(|_| stopped())
    }
}

fn stopped() -> PortError {
    PortError::fatal("the database writer has stopped")
}

fn write_all(connection: Connection, waiting: &Receiver<Box<dyn Job>>) {
    let mut writing = Writing { connection, flushing: None };
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        batch.extend(waiting.try_iter().take(BATCH - 1));
        if batch.len() > 1 && writing.commit(&mut batch).is_err() {
            // One of them failed and took the others with it: each on its own, so that each gets the answer it deserves.
            for job in batch {
                writing.commit_and_answer(vec![job]);
            }
        } else if batch.len() > 1 {
            answer(batch, None);
        } else {
            writing.commit_and_answer(batch);
        }
    }
}

fn answer(batch: Vec<Box<dyn Job>>, failed: Option<PortError>) {
    for job in batch {
        job.answer(failed.clone());
    }
}

/// The connection that writes, and how its commits are flushed now.
struct Writing {
    connection: Connection,
    flushing: Option<Lasting>,
}

impl Writing {
    fn commit_and_answer(&mut self, mut batch: Vec<Box<dyn Job>>) {
        let failed = self.commit(&mut batch).err().map(|error| sql_error("write to the database", &error));
        if let Some(error) = &failed {
            tracing::error!(error = %error, "cannot write to the database");
        }
        answer(batch, failed);
    }

    fn commit(&mut self, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
        let connection = &self.connection;
        // Left open only if a rollback failed.
        if !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK")?;
        }
        let lasting = batch.iter().map(|job| job.lasting()).max();
        if lasting != self.flushing {
            // A flushed commit takes along those before it that were not: they are in the same log.
            let level = if lasting == Some(Lasting::Power) { "full" } else { "normal" };
            connection.pragma_update(None, "synchronous", level)?;
            self.flushing = lasting;
        }
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let written = batch
            .iter_mut()
            .try_for_each(|job| job.run(connection))
            .and_then(|()| connection.prepare_cached("COMMIT")?.execute([]));
        match written {
            Ok(_) => Ok(()),
            Err(error) => {
                // SQLite rolls back by itself after some failures (a full disk is one): then nothing is left to roll back.
                if !connection.is_autocommit() {
                    connection.execute_batch("ROLLBACK")?;
                }
                Err(error)
            }
        }
    }
}
