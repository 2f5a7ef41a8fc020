//! What git's words mean. Git has one exit status for all failures, so its messages (in the C locale) decide.

/// The kind of a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    /// The other side has no such commit or ref.
    Missing,
    /// The other side does not hand out commits by id.
    Unadvertised,
    /// No such repository, no access, a URL that git does not use.
    Refused,
    /// The mirror is not what git wrote.
    Damaged,
    /// No room on this machine's disk.
    DiskFull,
    /// The network, servers, and what is not known.
    Passing,
}

/// In this order: what says that a machine is at fault comes with a second line that sounds final ("Could not read from
/// remote repository").
const PHRASES: &[(Trouble, &[&str])] = &[
    (Trouble::DiskFull, &["no space left on device", "disk quota exceeded", "unable to write file: disk full"]),
    (
        Trouble::Passing,
        &[
            "could not resolve host",
            "temporary failure in name resolution",
            "connection refused",
            "connection reset",
            "connection closed",
            "connection timed out",
            "operation timed out",
            "operation too slow",
            "network is unreachable",
            "no route to host",
            "the requested url returned error: 429",
            "the requested url returned error: 5",
            "early eof",
            "the remote end hung up",
            "unexpected disconnect",
        ],
    ),
    (Trouble::Unadvertised, &["does not allow request for unadvertised object"]),
    (Trouble::Missing, &["not our ref", "couldn't find remote ref", "no such remote ref"]),
    (
        Trouble::Refused,
        &[
            "repository not found",
            "does not appear to be a git repository",
            "authentication failed",
            "could not read username",
            "could not read password",
            "terminal prompts disabled",
            "permission denied",
            "permission to ",
            "access denied",
            "the requested url returned error: 4",
            "host key verification failed",
            "' not allowed",
            "unable to find remote helper",
            "unsupported protocol",
            "dubious ownership",
            "url rejected",
            "told us to quit",
            "no path specified",
            "strange hostname",
            "strange pathname",
            "mismatched algorithms",
        ],
    ),
    (
        Trouble::Damaged,
        &[
            "not a git repository",
            "bad object",
            "loose object",
            "object file",
            "packfile",
            "pack has",
            "corrupt",
            "inflate",
            "did not send all necessary objects",
            "bad config",
            "invalid sha1 pointer",
            "bad signature",
            "unable to read",
            "index-pack",
            "unresolved deltas",
            "broken link",
        ],
    ),
];

/// Judges the text of a failure.
pub fn judge(message: &str) -> Trouble {
    let message = message.to_ascii_lowercase();
    // `fatal: repository '<path or url>' does not exist`, or `… not found`.
    let no_repository = message
        .lines()
        .any(|line| line.contains("repository '") && (line.ends_with("does not exist") || line.ends_with("not found")));
    let kind = PHRASES.iter().find(|(_, phrases)| phrases.iter().any(|phrase| message.contains(phrase)));
    match kind {
        Some((Trouble::DiskFull, _)) => Trouble::DiskFull,
        _ if no_repository => Trouble::Refused,
        Some((kind, _)) => *kind,
        None => Trouble::Passing,
    }
}

/// What a person should read of what git printed: no hints, no progress, no credentials, nothing that acts on a terminal.
pub fn readable(printed: &str) -> String {
    const MOST: usize = 1_000;
    let lines = printed.split(['\n', '\r']).map(str::trim).filter(|line| {
        let boring = [
            "hint:",
            "warning: redirecting",
            "please make sure you have the correct access rights",
            "and the repository exists.",
            "fatal: could not read from remote repository.",
            "from ",
            "remote: enumerating",
            "remote: counting",
            "remote: compressing",
        ];
        let low = line.to_ascii_lowercase();
        !line.is_empty() && !boring.iter().any(|start| low.starts_with(start))
    });
    let mut text = lines.map(without_credentials).collect::<Vec<_>>().join("; ");
    if text.is_empty() {
        text = without_credentials(printed.trim());
    }
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Removes what stands before the host in URLs.
fn without_credentials(line: &str) -> String {
    let mut clean = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        let end = after.find(['/', ' ', '\'', '"']).unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        clean.push_str(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
        rest = tail;
    }
    clean.push_str(rest);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_gits_words() {
        use Trouble::*;
        for (words, kind) in [
            ("fatal: repository '/srv/x.git' does not exist", Refused),
            (
                "fatal: '/srv/x.git' does not appear to be a git repository\nfatal: Could not read from remote \
                 repository.",
                Refused,
            ),
            ("remote: Repository not found.\nfatal: repository 'https://github.com/o/r/' not found", Refused),
            ("fatal: could not read Username for 'https://github.com': terminal prompts disabled", Refused),
            ("git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.", Refused),
            ("fatal: Authentication failed for 'https://github.com/o/r/'", Refused),
            ("fatal: transport 'ext' not allowed", Refused),
            ("fatal: unable to access 'https://x/': The requested URL returned error: 403", Refused),
            ("Host key verification failed.\nfatal: Could not read from remote repository.", Refused),
            ("fatal: remote error: upload-pack: not our ref 1234", Missing),
            ("fatal: couldn't find remote ref refs/heads/gone", Missing),
            ("error: Server does not allow request for unadvertised object 1234", Unadvertised),
            ("fatal: unable to access 'https://x/': The requested URL returned error: 503", Passing),
            ("fatal: unable to access 'https://x/': The requested URL returned error: 429", Passing),
            ("fatal: unable to access 'https://x/': Could not resolve host: x", Passing),
            (
                "ssh: connect to host x port 22: Connection refused\nfatal: Could not read from remote repository.",
                Passing,
            ),
            ("error: RPC failed; curl 56 GnuTLS recv error\nfatal: early EOF\nfatal: index-pack failed", Passing),
            ("fatal: not a git repository: '/m/7.git'", Damaged),
            ("error: object file .git/objects/ab/cd is empty", Damaged),
            ("fatal: write error: No space left on device\nfatal: index-pack failed", DiskFull),
            ("something nobody has seen yet", Passing),
        ] {
            assert_eq!(judge(words), kind, "{words}");
        }
    }

    #[test]
    fn credentials_hints_and_progress_are_not_shown() {
        let printed = "From https://x/\nremote: Counting objects: 1%\rhint: try\nfatal: unable to access \
                       'https://me:hush@host.example/a@b/': \x1b[31mno\n\n";
        assert_eq!(readable(printed), "fatal: unable to access 'https://host.example/a@b/': [31mno");
        assert_eq!(without_credentials("a://b@c and d://e:f@g:1/h"), "a://c and d://g:1/h");
        let only = "fatal: Could not read from remote repository.";
        assert_eq!(readable(only), only);
        assert_eq!(readable(&"x".repeat(2_000)).chars().count(), 1_001);
    }
}
