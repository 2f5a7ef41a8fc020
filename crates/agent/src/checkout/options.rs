//! What is wanted of a checkout: the `checkout` attribute, and the variables of the reference for the same
//! (`spec/pipeline.md` 1.4 and 1.16). The attribute wins.

use tidegate_core::wire::gate::CheckoutOptions;

use crate::job::JobEnv;

/// What is acted on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Options {
    /// So many commits of history.
    pub(crate) depth: Option<u32>,
    /// What is fetched only when it is needed, as `git fetch --filter` has it.
    pub(crate) filter: Option<String>,
    pub(crate) submodules: bool,
    /// With the contents of files in Git LFS; `None` as git on the machine is configured.
    pub(crate) lfs: Option<bool>,
    /// Only these directories.
    pub(crate) sparse: Vec<String>,
    /// Flags that have no effect, for the log.
    pub(crate) unused: Vec<String>,
}

/// Flags that mean what is done anyway, or only change what git prints.
const IDLE: [&str; 16] = [
    "-f",
    "--force",
    "-v",
    "--verbose",
    "-q",
    "--quiet",
    "--progress",
    "--no-progress",
    "-p",
    "--prune",
    "-t",
    "--tags",
    "--no-tags",
    "--single-branch",
    "--no-single-branch",
    "--recurse-submodules",
];

impl Options {
    /// Puts attribute and variables together.
    pub(crate) fn of(wanted: &CheckoutOptions, env: &JobEnv) -> Self {
        let mut options = Self {
            submodules: wanted.submodules.unwrap_or_else(|| !env.is_off("BUILDKITE_GIT_SUBMODULES")),
            lfs: wanted.lfs.or_else(|| env.is_on("BUILDKITE_GIT_LFS_ENABLED").then_some(true)),
            sparse: wanted.sparse.iter().map(|path| path.trim().to_owned()).filter(|path| !path.is_empty()).collect(),
            ..Self::default()
        };
        for (flags, variable) in [
            (&wanted.clone_flags, "BUILDKITE_GIT_CLONE_FLAGS"),
            (&wanted.fetch_flags, "BUILDKITE_GIT_FETCH_FLAGS"),
            (&wanted.checkout_flags, "BUILDKITE_GIT_CHECKOUT_FLAGS"),
        ] {
            let flags = if flags.is_empty() { env.get(variable).unwrap_or_default() } else { flags };
            options.read_flags(flags);
        }
        if let Some(depth) = wanted.depth {
            options.depth = Some(depth);
        }
        options.depth = options.depth.filter(|depth| *depth > 0);
        options
    }

    fn read_flags(&mut self, flags: &str) {
        let mut words = flags.split_whitespace();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            match name {
                "--depth" => match value.or_else(|| words.next()).and_then(|depth| depth.parse().ok()) {
                    Some(depth) => self.depth = Some(depth),
                    None => self.unused.push(word.to_owned()),
                },
                "--filter" => match value.or_else(|| words.next()).filter(|filter| is_filter(filter)) {
                    Some(filter) => self.filter = Some(filter.to_owned()),
                    None => self.unused.push(word.to_owned()),
                },
                _ if value.is_none() && IDLE.contains(&name) => {}
                _ => self.unused.push(word.to_owned()),
            }
        }
    }
}

/// `blob:none`, `tree:0`, `blob:limit=1m`, and combinations of these.
fn is_filter(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '=' | '+' | '-' | '%' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(wanted: &CheckoutOptions, env: &[(&str, &str)]) -> Options {
        let mut job = JobEnv::default();
        for (name, value) in env {
            job.set(*name, *value);
        }
        Options::of(wanted, &job)
    }

    fn usual() -> Options {
        Options { submodules: true, ..Options::default() }
    }

    #[test]
    fn the_attribute_wins_over_the_variables() {
        let nothing = CheckoutOptions::default();
        assert_eq!(of(&nothing, &[]), usual());
        let env = [
            ("BUILDKITE_GIT_CLONE_FLAGS", "-v --depth 5 --filter=blob:none"),
            ("BUILDKITE_GIT_SUBMODULES", "false"),
            ("BUILDKITE_GIT_LFS_ENABLED", "true"),
        ];
        let by_env = Options {
            depth: Some(5),
            filter: Some("blob:none".to_owned()),
            submodules: false,
            lfs: Some(true),
            ..usual()
        };
        assert_eq!(of(&nothing, &env), by_env);
        let wanted = CheckoutOptions {
            depth: Some(1),
            submodules: Some(true),
            lfs: Some(false),
            clone_flags: "--depth=7".to_owned(),
            sparse: vec![" a ".to_owned(), String::new()],
            ..nothing
        };
        let sparse = vec!["a".to_owned()];
        assert_eq!(of(&wanted, &env), Options { depth: Some(1), lfs: Some(false), sparse, ..usual() });
    }

    #[test]
    fn flags_that_would_do_something_else_have_no_effect_and_are_named() {
        let wanted = CheckoutOptions {
            clone_flags: "--upload-pack=evil --depth x --filter=--evil -c core.sshCommand=evil".to_owned(),
            fetch_flags: "--depth=0 --prune --prune=1".to_owned(),
            ..CheckoutOptions::default()
        };
        let options = of(&wanted, &[]);
        let unused = ["--upload-pack=evil", "--depth", "--filter=--evil", "-c", "core.sshCommand=evil", "--prune=1"];
        assert_eq!(options, Options { unused: unused.map(str::to_owned).into(), ..usual() });
    }
}
