//! `pipeline upload`: steps added by a running job. Answered only when it is recorded (invariant I12).

use std::sync::Arc;

use tidegate_core::build::{self, Input};
use tidegate_core::diagnostic::{Diagnostic, Severity};
use tidegate_core::wire::gate::{Upload, UploadAnswer, segment_key};

use super::{Caller, GateError};
use crate::actors::Actor;
use crate::engine::Engine;
use crate::expand::Text;
use crate::keys;
use crate::ports::{Expect, PortError, Write};

impl Engine {
    /// Adds steps to the build of the caller's attempt, all or none.
    ///
    /// # Errors
    /// Refused unless the caller holds the attempt. Findings about the text are an answer, not an error.
    pub async fn upload(&self, caller: &Caller, request: &Upload) -> Result<UploadAnswer, GateError> {
        let id = &request.attempt;
        if uuid_like(&request.uuid).is_none() {
            return Err(GateError::Invalid(format!("`{}` is not a UUID", request.uuid.escape_debug())));
        }
        let blob = segment_key(&id.build, &format!("upload-{}", request.uuid));
        let actor = Actor::Build(id.build.clone());
        loop {
            let known = self.held(caller, &request.boot, id).await?;
            let Some(next) = known.body.upload(&caller.instance, &request.boot, &request.uuid)? else {
                return Ok(UploadAnswer { diagnostics: Vec::new(), accepted: true });
            };
            let Some((build, graph)) = self.load_build(&id.build).await? else {
                return Err(GateError::Invalid("the build is gone".to_owned()));
            };
            let Some(repository) = self.repository(build.facts.repository).await? else {
                return Err(GateError::Invalid("the build's repository is not configured any more".to_owned()));
            };
            let text = Text {
                name: "<pipeline upload>",
                bytes: request.pipeline.as_bytes(),
                env: request.env.clone(),
                interpolate: !request.no_interpolation,
            };
            let (segment, mut diagnostics) = self.expand(text, &build.facts, &repository).await?;
            let Some(segment) = segment else { return Ok(UploadAnswer { diagnostics, accepted: false }) };
            let segment = Arc::new(segment);
            let upload = build::Upload { by: id.job, number: id.number, blob: &blob, replace: request.replace };
            let refusal = if build.cancel.is_some() {
                Some("the build is being canceled".to_owned())
            } else {
                build
                    .check_upload(&graph, &upload, &segment, &self.settings.limits_of(build.facts.trust))
                    .err()
                    .map(|why| why.to_string())
            };
            if let Some(why) = refusal {
                diagnostics.push(Diagnostic::new(Severity::Error, "upload-refused", why));
                return Ok(UploadAnswer { diagnostics, accepted: false });
            }
            self.store_segment(&blob, &segment).await?;
            let input = Input::Uploaded { by: id.job, number: id.number, blob: blob.clone(), replace: request.replace };
            let writes = vec![
                Write::Put(self.put(keys::attempt(id), &next, Expect::Version(known.version))?),
                Write::Put(self.letter(&actor, &input)?),
            ];
            match self.ports.store.transact(writes).await {
                Ok(()) => {
                    self.ring(&actor).await?;
                    return Ok(UploadAnswer { diagnostics, accepted: true });
                }
                Err(PortError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Part of a blob's key, so only what a UUID may hold.
pub(super) fn uuid_like(text: &str) -> Option<()> {
    let valid = text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    valid.then_some(())
}
