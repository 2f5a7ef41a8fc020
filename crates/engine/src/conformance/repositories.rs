//! Properties of [`Repositories`].

use bytes::Bytes;
use tidegate_core::ids::CommitSha;

use super::{Report, Trial, Violation};
use crate::ports::{Repositories, RepositorySource};

/// A repository to try, as its test has made it.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The adapter.
    pub repositories: &'a dyn Repositories,
    /// The repository.
    pub source: RepositorySource,
    /// A repository that is not there.
    pub missing: RepositorySource,
    /// A branch with two commits.
    pub branch: String,
    /// A tag of the first commit, with a message of its own (an annotated one).
    pub tag: String,
    /// Its first commit, with a file `dir/kept` (content `kept\n`), a file `changed` (`one\n`), a file `large` of over
    /// 1 MiB, and a file `binary` with the bytes 0, 255, 10, 13.
    pub first: CommitSha,
    /// Its second commit: `changed` is `two\n`, and `added` is new.
    pub second: CommitSha,
}

/// Runs all properties of this module.
pub async fn suite(trial: &Trial<'_>, subject: &Subject<'_>) -> Result<Report, Violation> {
    run!(
        trial,
        subject,
        [
            files_are_those_of_the_commit,
            what_is_no_file_is_none,
            large_files_are_refused,
            commits_say_what_they_are,
            names_are_resolved,
            changes_are_found,
            what_is_not_there_is_refused_for_good,
        ]
    )
}

impl Subject<'_> {
    async fn content(
        &self,
        trial: &Trial<'_>,
        commit: &CommitSha,
        paths: &[&str],
    ) -> Result<Vec<Option<Bytes>>, Violation> {
        let git_ref = format!("refs/heads/{}", self.branch);
        let files = trial
            .done("reading files", || self.repositories.files(&self.source, commit, Some(&git_ref), paths))
            .await?;
        ensure!(
            trial,
            files.iter().map(|file| file.path.as_str()).eq(paths.iter().copied()),
            "{paths:?} were asked for, not {files:?}"
        );
        Ok(files.into_iter().map(|file| file.content).collect())
    }
}

/// Files are read as they are in the commit that is asked for, in the order asked for, as often as asked for.
pub async fn files_are_those_of_the_commit(trial: &Trial<'_>, subject: &Subject<'_>) -> Result<(), Violation> {
    let text = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
    for _ in 0..2 {
        for (commit, changed, added) in
            [(&subject.first, text("one\n"), None), (&subject.second, text("two\n"), text("new\n"))]
        {
            let paths = ["added", "changed", "dir/kept", "changed", "binary"];
            let found = subject.content(trial, commit, &paths).await?;
            let binary = Some(Bytes::from_static(&[0, 255, 10, 13]));
            let expected = vec![added, changed.clone(), text("kept\n"), changed, binary];
            ensure!(trial, found == expected, "commit {commit} should hold {expected:?}, not {found:?}");
        }
    }
    Ok(())
}

/// A path that is not there, that is a directory, or that leads out of the repository is no file.
pub async fn what_is_no_file_is_none(trial: &Trial<'_>, subject: &Subject<'_>) -> Result<(), Violation> {
    for path in ["none", "dir", "dir/", "dir/none", "changed/below", "../changed", "/etc/passwd", "-", "a b\"c", "é"] {
        let found = subject.content(trial, &subject.first, &[path, "changed"]).await?;
        ensure!(trial, found[0].is_none(), "`{path}` should be no file, not {:?}", found[0]);
        ensure!(trial, found[1].is_some(), "after `{path}` the next file is missing");
    }
    Ok(())
}

/// A file over 1 MiB is refused, and the next question is answered.
pub async fn large_files_are_refused(trial: &Trial<'_>, subject: &Subject<'_>) -> Result<(), Violation> {
    for _ in 0..2 {
        trial
            .rejected("a file over 1 MiB", || {
                subject.repositories.files(&subject.source, &subject.first, None, &["changed", "large"])
            })
            .await?;
        subject.content(trial, &subject.first, &["changed"]).await?;
    }
    Ok(())
}

/// A commit has a message and an author.
pub async fn commits_say_what_they_are(trial: &Trial<'_>, subject: &Subject<'_>) -> Result<(), Violation> {
    let Subject { repositories, source, first, .. } = subject;
    let branch = format!("refs/heads/{}", subject.branch);
    let found = trial.done("reading a commit", || repositories.commit(source, first, Some(&branch))).await?;
    ensure!(
        trial,
        !found.message.is_empty() && !found.author_name.is_empty() && found.author_email.contains('@'),
        "the commit {first} should say who wrote it and why, not {found:?}"
    );
    ensure!(trial, !found.message.ends_with('\n'), "the message ends with a line end: {found:?}");
    Ok(())
}

/// Branches, tags (to the commit behind them), full refs and commit ids have a commit; other names have none.
pub async fn names_are_resolved(trial: &Trial<'_>, subject: &Subject<'_>) -> Result<(), Violation> {
    let (branch, tag) = (&subject.branch, &subject.tag);
    for (name, expected) in [
        (branch.clone(), Some(&subject.second)),
        (format!("refs/heads/{branch}"), Some(&subject.second)),
        (tag.clone(), Some(&subject.first)),
        (format!("refs/tags/{tag}"), Some(&subject.first)),
        (subject.first.to_string(), Some(&subject.first)),
        ("no-such-branch".to_owned(), None),
        ("refs/heads/no-such-branch".to_owned(), None),
        ("0123456789012345678901234567890123456789".to_owned(), None),
        ("*".to_owned(), None),
        ("-".to_owned(), None),
        ("--upload-pack=x".to_owned(), None),
        (String::new(), None),
    ] {
        let found =
            trial.done(&format!("resolving `{name}`"), || subject.repositories.resolve(&subject.source, &name)).await?;
        ensure!(trial, found.as_ref() == expected, "`{name}` should be {expected:?}, not {found:?}");
    }
    Ok(())
}

/// The paths that differ from where the histories parted, and those of the last commit where they did not.
pub async fn changes_are_found(trial: &Trial<'_>, subject: &Subject<'_>) -> Result<(), Violation> {
    let Subject { repositories, source, first, second, .. } = subject;
    let all = ["binary", "changed", "dir/kept", "large"];
    for (base, head, expected) in [
        (first, second, &["added", "changed"][..]),
        (second, second, &["added", "changed"]),
        (second, first, &all),
        (first, first, &all),
    ] {
        let mut found = trial.done("a comparison", || repositories.changed_files(source, base, head)).await?;
        found.sort();
        ensure!(trial, found == expected, "{expected:?} changed from {base} to {head}, not {found:?}");
    }
    Ok(())
}

/// No such commit, no such repository: asking again is no use, and the words say what is missing.
pub async fn what_is_not_there_is_refused_for_good(trial: &Trial<'_>, subject: &Subject<'_>) -> Result<(), Violation> {
    let Subject { repositories, source, missing, first, .. } = subject;
    let none = CommitSha::new("0123456789".repeat(4)).map_err(|error| trial.broken(error.to_string()))?;
    let branch = format!("refs/heads/{}", subject.branch);
    trial.rejected("a commit that is not there", || repositories.files(source, &none, None, &["changed"])).await?;
    trial
        .rejected("a commit that is not there", || repositories.files(source, &none, Some(&branch), &["changed"]))
        .await?;
    trial.rejected("a commit that is not there", || repositories.commit(source, &none, None)).await?;
    trial.rejected("a comparison with no commit", || repositories.changed_files(source, &none, first)).await?;
    trial.rejected("a repository that is not there", || repositories.files(missing, first, None, &["changed"])).await?;
    trial.rejected("a repository that is not there", || repositories.resolve(missing, "main")).await
}
