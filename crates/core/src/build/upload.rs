//! Steps that a job adds to its build (`spec/pipeline.md` 1.17).

use std::collections::HashSet;
use std::sync::Arc;

use super::{Build, Folded, Graph, JobState, Limits, SegmentRef, StepRef};
use crate::ids::JobIndex;
use crate::plan::{Segment, SegmentRefusal};

/// Who uploads, and how.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    /// The uploading job.
    pub by: JobIndex,
    /// Its attempt.
    pub number: u32,
    /// Where the segment is, or will be.
    pub blob: &'a str,
    /// Drop what has not started after the uploading step.
    pub replace: bool,
}

impl Build {
    pub(super) fn uploaded(&mut self, upload: &Upload<'_>, segment: Option<&Segment>, graph: &Graph) -> Folded {
        if self.segments.iter().any(|known| known.blob == upload.blob) || self.cells.len() <= upload.by.0 as usize {
            return Folded::Done;
        }
        let Some(segment) = segment else {
            // It is recorded, and the build must not pass without it (invariant I12).
            return Folded::Later;
        };
        for job in self.dropped_by(upload, graph) {
            let cell = &mut self.cells[job.0 as usize];
            cell.state = JobState::Broken;
            cell.leave_group();
        }
        for known in &mut self.segments {
            known.lost &= known.by != Some(upload.by) || known.number >= upload.number;
        }
        if let Some(cell) = self.cells.get_mut(upload.by.0 as usize)
            && cell.attempt == upload.number
        {
            cell.uploads += 1;
        }
        let room = 50usize.saturating_sub(self.diagnostics.len());
        self.diagnostics.extend(segment.diagnostics.iter().take(room).cloned());
        let reference = SegmentRef {
            blob: upload.blob.to_owned(),
            jobs: 0,
            by: Some(upload.by),
            number: upload.number,
            lost: false,
            replace: upload.replace,
        };
        self.append(reference, segment);
        self.touch();
        Folded::Done
    }

    /// Jobs that an upload takes out of the build. With `replace`: those after the uploading step that never had an
    /// attempt. In any case: what an earlier attempt of the same job uploaded that was lost to us, because the attempt is
    /// made again and uploads it again; none of it can have started before its uploader was done.
    fn dropped_by(&self, upload: &Upload<'_>, graph: &Graph) -> Vec<JobIndex> {
        let mut jobs: Vec<JobIndex> = Vec::new();
        let place = |step: StepRef| graph.order.iter().position(|&s| s == step);
        let own = graph.owner(upload.by).and_then(place);
        let mut first = 0u32;
        for known in &self.segments {
            let range = first..first.saturating_add(known.jobs);
            first = range.end;
            let lost = known.lost && known.by == Some(upload.by) && known.number < upload.number;
            // Uploaded a moment ago: the graph does not know it yet.
            let unknown_after = upload.replace
                && range.start as usize >= graph.job_count()
                && known.by.and_then(|j| graph.owner(j)).and_then(place) >= own;
            if lost || unknown_after {
                jobs.extend(range.map(JobIndex));
            }
        }
        if let (true, Some(own)) = (upload.replace, own) {
            jobs.extend(graph.order[own + 1..].iter().flat_map(|&s| {
                let node = &graph.steps[s];
                (node.first..node.first + node.count).map(JobIndex)
            }));
        }
        jobs.retain(|job| {
            self.cells.get(job.0 as usize).is_some_and(|cell| {
                cell.attempt == 0 && (!cell.state.is_final() || cell.state == JobState::WaitingFailed)
            })
        });
        jobs
    }

    /// Checks that a segment may be added to the build: its keys are new (`spec/pipeline.md` 1.3), no step would wait for
    /// itself (1.7, rule 10), and the build stays within `limits` (1.21). `graph` must have every segment of the record.
    ///
    /// # Errors
    /// Names the first rule that would be broken.
    pub fn check_upload(
        &self,
        graph: &Graph,
        upload: &Upload<'_>,
        segment: &Arc<Segment>,
        limits: &Limits,
    ) -> Result<(), SegmentRefusal> {
        limits.check_jobs(self.cells.len(), segment)?;
        if self.segments.iter().filter(|s| s.by.is_some()).count() >= limits.uploads {
            return Err(SegmentRefusal::TooManyUploads { limit: limits.uploads });
        }
        let dropped: HashSet<JobIndex> = self.dropped_by(upload, graph).into_iter().collect();
        let is_gone = |step: StepRef| {
            let node = &graph.steps[step];
            let mut jobs = (node.first..node.first + node.count).map(JobIndex);
            self.is_dropped(graph, step) || (node.count > 0 && jobs.all(|job| dropped.contains(&job)))
        };
        let taken = |key: &&String| graph.with_key(key).iter().any(|&step| !is_gone(step));
        if let Some(key) = keys(segment).find(taken) {
            return Err(SegmentRefusal::KeyTaken(key.clone()));
        }
        let reference = SegmentRef {
            blob: upload.blob.to_owned(),
            jobs: 0,
            by: Some(upload.by),
            number: upload.number,
            lost: false,
            replace: upload.replace,
        };
        let references: Vec<_> = self.segments.iter().cloned().chain([reference]).collect();
        let segments = graph.segments().iter().cloned().chain([segment.clone()]).collect();
        let whole = Graph::new(&references, segments);
        let past = |step: StepRef| {
            let node = &whole.steps[step];
            let mut jobs = node.first..node.first + node.count;
            step < graph.steps.len()
                && (is_gone(step)
                    || jobs.all(|job| {
                        let state = self.cells.get(job as usize).map(|c| c.state);
                        !matches!(state, Some(JobState::Waiting | JobState::WaitingFailed))
                    }))
        };
        match whole.circle_but_for(past) {
            Some(circle) => {
                let names: Vec<&str> = circle.iter().map(|&s| whole.name(s)).collect();
                Err(SegmentRefusal::Circle(names.join("` -> `")))
            }
            None => Ok(()),
        }
    }
}

impl Limits {
    /// Whether a build that has `before` jobs may get those of a segment (`spec/pipeline.md` 1.21).
    ///
    /// # Errors
    /// Names the limit that would be broken.
    pub fn check_jobs(&self, before: usize, segment: &Segment) -> Result<(), SegmentRefusal> {
        let jobs: usize = segment.steps.iter().map(|s| s.job_count()).sum();
        if jobs > self.upload_jobs {
            return Err(SegmentRefusal::UploadTooLarge { jobs, limit: self.upload_jobs });
        }
        if before + jobs > self.jobs {
            return Err(SegmentRefusal::TooManyJobs { jobs: before + jobs, limit: self.jobs });
        }
        Ok(())
    }
}

fn keys(segment: &Segment) -> impl Iterator<Item = &String> {
    let steps = segment.steps.iter().filter_map(|s| s.key.as_ref());
    steps.chain(segment.groups.iter().filter_map(|g| g.key.as_ref()))
}
