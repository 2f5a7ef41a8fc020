//! What a job's output passes through on its way to the log.

use super::escape::Escapes;
use super::redact::Redactor;

/// Escape sequences go first, then secrets: a sequence that is dropped could hide a secret in two halves. Fed any pieces of a
/// stream, it gives what the whole stream would give, and never shows a secret that it was told of before.
#[derive(Clone, Debug, Default)]
pub struct Sieve {
    escapes: Escapes,
    redactor: Redactor,
    /// Between the two: kept for its memory.
    clean: Vec<u8>,
}

impl Sieve {
    /// Hides these from here on, in all the forms in which tools write them. Texts of less than 6 bytes are not hidden.
    pub fn hide<'a>(&mut self, secrets: impl IntoIterator<Item = &'a str>) {
        self.redactor.add(secrets);
    }

    /// Appends what may be shown of what a job wrote. The end may be held back, if it may be the beginning of a secret.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) {
        self.escapes.filter(input, &mut self.clean);
        self.redactor.feed(&self.clean, out);
        self.clean.clear();
    }

    /// As [`Sieve::feed`], for a line of the agent's own, in which sequences stay.
    pub(crate) fn feed_own(&mut self, line: &[u8], out: &mut Vec<u8>) {
        self.redactor.feed(line, out);
        self.redactor.finish(out);
    }

    /// Ends the stream here: what is held back is no longer the beginning of anything.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.escapes.finish(&mut self.clean);
        self.redactor.feed(&self.clean, out);
        self.redactor.finish(out);
        self.clean.clear();
    }
}
