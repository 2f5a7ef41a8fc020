//! A `git cat-file --batch` that stays: reading a file at a commit costs two writes to a pipe and no process.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use tidegate_engine::ports::PortError;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::command;

/// Reading from a local disk takes no longer, unless something is broken.
const LIMIT: Duration = Duration::from_secs(30);

/// What a name stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Object {
    /// Nothing, or something outside of the repository.
    Missing,
    /// A file.
    Blob(Bytes),
    /// A file over the limit, with its size.
    TooLarge(u64),
    /// A directory, a commit.
    Other,
}

/// The first line of an answer.
#[derive(Debug, Eq, PartialEq)]
enum Header {
    Missing,
    /// An object and its size.
    Object {
        blob: bool,
        size: u64,
    },
    /// A link that leads nowhere, with the size of an explanation.
    Nowhere {
        size: u64,
    },
}

#[derive(Debug)]
pub(super) struct CatFile {
    _child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl CatFile {
    pub(super) fn start(mirror: &Path) -> Result<Self, PortError> {
        // Links within the repository are followed: a pipeline file may be one.
        let mut command = command::git(Some(mirror), &["cat-file", "--batch", "--follow-symlinks"]);
        command.stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| command::not_run(&error))?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(PortError::retry("cannot talk to git"));
        };
        Ok(Self { _child: child, questions, answers: BufReader::new(answers) })
    }

    /// Asks for an object, of which at most `most` bytes are wanted. After an error, or [`Object::TooLarge`], this
    /// process is of no more use.
    ///
    /// `name` has no line break.
    pub(super) async fn ask(&mut self, name: &str, most: u64) -> Result<Object, PortError> {
        let answered = tokio::time::timeout(LIMIT, self.exchange(name, most)).await;
        match answered {
            Ok(Ok(object)) => Ok(object),
            Ok(Err(error)) => Err(PortError::retry(format!("git cat-file failed: {error}"))),
            Err(_) => Err(PortError::retry("git cat-file does not answer")),
        }
    }

    async fn exchange(&mut self, name: &str, most: u64) -> std::io::Result<Object> {
        self.questions.write_all(format!("{name}\n").as_bytes()).await?;
        self.questions.flush().await?;
        let mut line = Vec::new();
        self.answers.read_until(b'\n', &mut line).await?;
        let header = parse_header(&line).ok_or_else(|| {
            std::io::Error::other(format!("it answered `{}`", String::from_utf8_lossy(&line).trim_end()))
        })?;
        Ok(match header {
            Header::Missing => Object::Missing,
            Header::Nowhere { size } => {
                self.body(size).await?;
                Object::Missing
            }
            Header::Object { size, blob } if size > most => {
                if blob {
                    Object::TooLarge(size)
                } else {
                    return Err(std::io::Error::other("it answered with a very large directory"));
                }
            }
            Header::Object { size, blob } => {
                let body = self.body(size).await?;
                if blob { Object::Blob(body) } else { Object::Other }
            }
        })
    }

    /// The rest of an answer: so many bytes and a line break.
    async fn body(&mut self, size: u64) -> std::io::Result<Bytes> {
        let size = usize::try_from(size).map_err(std::io::Error::other)?;
        let mut body = vec![0; size + 1];
        self.answers.read_exact(&mut body).await?;
        body.pop();
        Ok(Bytes::from(body))
    }
}

/// Reads the first line of an answer (git-cat-file(1), "Batch output").
fn parse_header(line: &[u8]) -> Option<Header> {
    let line = String::from_utf8_lossy(line.strip_suffix(b"\n")?);
    if line.ends_with(" missing") || line.ends_with(" ambiguous") {
        return Some(Header::Missing);
    }
    let mut words = line.split(' ');
    let (first, second) = (words.next()?, words.next()?);
    if let ("symlink" | "dangling" | "loop" | "notdir", Ok(size)) = (first, second.parse()) {
        return Some(Header::Nowhere { size });
    }
    let size = words.next()?.parse().ok()?;
    Some(Header::Object { blob: second == "blob", size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        for (line, expected) in [
            ("8e110c7a blob 12\n", Some(Header::Object { blob: true, size: 12 })),
            ("8e110c7a tree 29\n", Some(Header::Object { blob: false, size: 29 })),
            ("HEAD:a b missing\n", Some(Header::Missing)),
            ("abcd ambiguous\n", Some(Header::Missing)),
            ("symlink 11\n", Some(Header::Nowhere { size: 11 })),
            ("dangling 9\n", Some(Header::Nowhere { size: 9 })),
            ("notdir 9\n", Some(Header::Nowhere { size: 9 })),
            ("", None),
            ("half a line", None),
            ("x\n", None),
        ] {
            assert_eq!(parse_header(line.as_bytes()), expected, "{line:?}");
        }
    }
}
