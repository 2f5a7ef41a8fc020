//! What git's words mean. Git has one exit status for all failures, so its messages (in the C locale) decide.

/// The kind of a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trouble {
    /// No such repository, commit or ref; no access; a URL that git will not use.
    Permanent,
    /// The mirror is not what git wrote.
    Damaged,
    /// No room on the disk.
    DiskFull,
    /// Anything else: network, servers, what we do not know.
    Passing,
}

const DISK_FULL: [&str; 3] = ["no space left on device", "disk quota exceeded", "unable to write file: disk full"];

/// Of a server that will recover. Looked at first: some come with a second line that sounds final.
const PASSING: [&str; 10] = [
    "could not resolve host",
    "connection refused",
    "connection reset",
    "connection timed out",
    "operation timed out",
    "network is unreachable",
    "temporary failure in name resolution",
    "the requested url returned error: 5",
    "the requested url returned error: 429",
    "early eof",
];

const PERMANENT: [&str; 24] = [
    "repository not found",
    "does not appear to be a git repository",
    "authentication failed",
    "could not read username",
    "could not read password",
    "permission denied (publickey",
    "permission to ",
    "access denied",
    "the requested url returned error: 400",
    "the requested url returned error: 401",
    "the requested url returned error: 403",
    "the requested url returned error: 404",
    "not our ref",
    "couldn't find remote ref",
    "server does not allow request for unadvertised object",
    "host key verification failed",
    "not allowed",
    "is unable to find remote helper",
    "unable to find remote helper",
    "unsupported protocol",
    "dubious ownership",
    "url rejected",
    "no path specified",
    "strange hostname",
];

const DAMAGED: [&str; 16] = [
    "not a git repository",
    "bad object",
    "loose object",
    "object file",
    "packfile",
    "pack has",
    "corrupt",
    "inflate",
    "unable to read",
    "did not send all necessary objects",
    "bad config line",
    "invalid sha1 pointer",
    "broken",
    "bad signature",
    "index-pack",
    "unresolved deltas",
];

/// Judges the text of a failure.
pub(crate) fn judge(message: &str) -> Trouble {
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    // `fatal: repository '<path or url>' does not exist` and `… not found`.
    let no_repository = message
        .lines()
        .any(|line| line.contains("repository '") && (line.contains("does not exist") || line.contains("not found")));
    if says(&DISK_FULL) {
        Trouble::DiskFull
    } else if says(&PASSING) {
        Trouble::Passing
    } else if no_repository || says(&PERMANENT) {
        Trouble::Permanent
    } else if says(&DAMAGED) {
        Trouble::Damaged
    } else {
        Trouble::Passing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_gits_words() {
        use Trouble::*;
        for (words, kind) in [
            ("fatal: repository '/srv/x.git' does not exist", Permanent),
            (
                "fatal: '/srv/x.git' does not appear to be a git repository\nfatal: Could not read from remote repository.",
                Permanent,
            ),
            ("remote: Repository not found.\nfatal: repository 'https://github.com/o/r/' not found", Permanent),
            ("fatal: could not read Username for 'https://github.com': terminal prompts disabled", Permanent),
            (
                "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                Permanent,
            ),
            ("fatal: remote error: upload-pack: not our ref 1234", Permanent),
            ("fatal: couldn't find remote ref refs/heads/gone", Permanent),
            ("fatal: transport 'ext' not allowed", Permanent),
            ("fatal: unable to access 'https://x/': The requested URL returned error: 403", Permanent),
            ("fatal: unable to access 'https://x/': The requested URL returned error: 503", Passing),
            ("fatal: unable to access 'https://x/': Could not resolve host: x", Passing),
            (
                "ssh: connect to host x port 22: Connection refused\nfatal: Could not read from remote repository.",
                Passing,
            ),
            ("error: RPC failed; curl 56 GnuTLS recv error\nfatal: early EOF\nfatal: index-pack failed", Passing),
            ("fatal: not a git repository: '/m/7.git'", Damaged),
            ("error: object file .git/objects/ab/cd is empty", Damaged),
            ("error: inflate: data stream error (incorrect data check)", Damaged),
            ("fatal: write error: No space left on device\nfatal: index-pack failed", DiskFull),
            ("something nobody has seen yet", Passing),
        ] {
            assert_eq!(judge(words), kind, "{words}");
        }
    }
}
