//! Credentials for git over HTTP, by the protocol of credential helpers (gitcredentials(7), git-credential(1)).
//!
//! Git asks only when a server demands one, so that a repository which everybody may read is read without. The settings
//! are for one repository: of another one on the same host git does not ask here.

use std::process::Command;

/// The user that GitHub, and whoever follows it, wants beside a token.
pub const TOKEN_USER: &str = "x-access-token";

/// How the server's own git is given a credential: through its environment, by a helper that is a line of shell.
const USERNAME: &str = "TIDEGATE_GIT_USERNAME";
const PASSWORD: &str = "TIDEGATE_GIT_PASSWORD";
const FROM_ENVIRONMENT: &str =
    "!printf 'username=%s\\npassword=%s\\n' \"$TIDEGATE_GIT_USERNAME\" \"$TIDEGATE_GIT_PASSWORD\"; :";

/// Where git would send a credential.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Asked {
    /// `https` or `http`.
    pub protocol: String,
    /// The host, with its port if one is given.
    pub host: String,
    /// The path of the repository, without the slash at its beginning.
    pub path: String,
}

impl Asked {
    /// Reads what git writes to a helper: lines of `name=value` up to an empty one. What is not known is passed over.
    pub fn parse(text: &str) -> Self {
        let mut asked = Self::default();
        for line in text.lines().take_while(|line| !line.is_empty()) {
            match line.split_once('=') {
                Some(("protocol", value)) => value.clone_into(&mut asked.protocol),
                Some(("host", value)) => value.clone_into(&mut asked.host),
                Some(("path", value)) => value.clone_into(&mut asked.path),
                _ => {}
            }
        }
        asked
    }

    /// Whether this is the repository of a clone URL, or the storage of its large files (`…/info/lfs`).
    pub fn is_of(&self, clone_url: &str) -> bool {
        let Some((protocol, host, path)) = parts(clone_url) else {
            return false;
        };
        let asked = self.path.strip_suffix("/info/lfs").unwrap_or(&self.path);
        self.protocol.eq_ignore_ascii_case(protocol)
            && self.host.eq_ignore_ascii_case(host)
            && !bare(path).is_empty()
            && bare(asked) == bare(path)
    }
}

/// Whether nobody on the way to an address could read what is sent there: it is encrypted, or it does not leave this machine.
pub fn is_unread(url: &str) -> bool {
    let Some((protocol, host, _)) = parts(url) else { return false };
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let host = host.rsplit_once(':').filter(|(_, port)| digits(port)).map_or(host, |(host, _)| host);
    let own = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    own || protocol.eq_ignore_ascii_case("https")
}

/// Whether a URL is one for which git may need a credential of this kind.
pub fn is_http(url: &str) -> bool {
    parts(url).is_some()
}

/// The host of an HTTP URL, with its port if one is given.
pub fn host(url: &str) -> Option<&str> {
    parts(url).map(|(_, host, _)| host)
}

/// Scheme, host with port, and path of an HTTP URL. A user before the host is left out.
fn parts(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some((scheme, host, path))
}

/// `o/r.git/` and `o/r` are one repository.
fn bare(path: &str) -> &str {
    let path = path.trim_matches('/');
    path.strip_suffix(".git").unwrap_or(path)
}

/// The settings, each a name and a value, by which git asks this helper for the repository of a URL, and nobody else.
pub fn settings(url: &str, helper: &str) -> [(String, String); 3] {
    let name = |what: &str| format!("credential.{url}.{what}");
    [
        // An empty one takes back those of the owner: they would be told to keep what is not theirs.
        (name("helper"), String::new()),
        (name("helper"), helper.to_owned()),
        (name("useHttpPath"), "true".to_owned()),
    ]
}

/// Gives a command of git settings, through its environment: on its command line a `=` in a name would end the name.
pub fn configure(command: &mut Command, settings: &[(String, String)]) {
    if settings.is_empty() {
        return;
    }
    command.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (number, (name, value)) in settings.iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{number}"), name).env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
}

/// Gives a command of git a credential for the repository of a URL, in the environment of this one process. For a process
/// whose environment nobody may read but who knows the credential anyway.
pub fn lend(command: &mut Command, url: &str, username: &str, password: &str) {
    configure(command, &settings(url, FROM_ENVIRONMENT));
    command.env(USERNAME, username).env(PASSWORD, password);
}

/// Quotes a word for the shell that runs helpers.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_repository_is_meant() {
        let asked = |protocol: &str, host: &str, path: &str| Asked {
            protocol: protocol.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
        };
        let url = "https://Example.com:8443/o/r.git";
        for (is, asked) in [
            (true, asked("https", "example.com:8443", "o/r.git")),
            (true, asked("https", "example.com:8443", "o/r")),
            (true, asked("https", "example.com:8443", "o/r.git/")),
            (true, asked("https", "example.com:8443", "o/r.git/info/lfs")),
            (false, asked("http", "example.com:8443", "o/r.git")),
            (false, asked("https", "example.com", "o/r.git")),
            (false, asked("https", "example.com.evil:8443", "o/r.git")),
            (false, asked("https", "example.com:8443", "o/other.git")),
            (false, asked("https", "example.com:8443", "o/R.git")),
            (false, asked("https", "example.com:8443", "o")),
            (false, asked("https", "example.com:8443", "")),
            (false, asked("https", "example.com:8443", "o/r.git/../x")),
            (false, asked("", "", "")),
        ] {
            assert_eq!(asked.is_of(url), is, "{asked:?}");
        }
        for none in ["/srv/r", "git@example.com:o/r.git", "ssh://example.com/o/r", "https://", "https://x/"] {
            assert!(!asked("https", "x", "").is_of(none), "{none}");
        }
        assert!(asked("https", "x", "o/r").is_of("https://me@x/o/r"));
    }

    #[test]
    fn reads_what_git_writes() {
        let text = "protocol=https\nhost=x:1\npath=o/r=1.git\nwwwauth[]=Basic realm=\"=\"\n\nhost=evil\n";
        let asked = Asked::parse(text);
        assert_eq!(asked, Asked { protocol: "https".into(), host: "x:1".into(), path: "o/r=1.git".into() });
        assert_eq!(Asked::parse("nonsense"), Asked::default());
    }

    #[test]
    fn words_stay_one_word_for_the_shell() {
        assert_eq!(quote("/it's/a dir"), r"'/it'\''s/a dir'");
    }
}
