//! How far the work of an event is trusted. Computed once, at ingress, from numeric ids; it never rises afterwards.
//! `docs/trust.md` has a table of cases.

use serde::{Deserialize, Serialize};

/// A trust class. The order is that of trust: `Untrusted < Trusted`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Forks, unless policy read from the default branch says otherwise.
    Untrusted,
    /// Branches and tags of the repository itself, pushed by people with write access, and what an operator starts.
    Trusted,
}

/// What becomes of pull requests from forks. The order is that of what is let through.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forks {
    /// They are not built.
    Never,
    /// Each commit is built when somebody with write access has approved it.
    Approved,
    /// They are built.
    Always,
}

/// What the policy of a repository says (`.tidegate/policy.yml` of its default branch).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    /// What becomes of forks; nothing said is `None`.
    pub forks: Option<Forks>,
    /// Numeric ids of people whose pull requests from forks are trusted, in a repository that not everybody may read.
    pub people: Vec<u64>,
}

/// A pull request, as far as its trust depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin {
    /// It comes from another repository, by numeric ids.
    pub fork: bool,
    /// That repository is not there any more.
    pub gone: bool,
    /// Not everybody may read the repository that it is for.
    pub private: bool,
    /// Who opened it, by numeric id.
    pub author: u64,
    /// Who moved it last, by numeric id.
    pub sender: u64,
}

/// What becomes of a pull request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is built.
    Build(Trust),
    /// It is built when somebody has approved the commit; also then it is not trusted.
    Hold,
    /// It is not built, for this reason.
    Refuse(&'static str),
}

/// What becomes of a pull request, by what the owner of the server has `configured` for forks and what the `policy` of the
/// repository says. Each can only narrow what the other lets through; where neither says anything, forks need approval.
pub fn judge(origin: Origin, configured: Option<Forks>, policy: &Policy) -> Verdict {
    if !origin.fork {
        return Verdict::Build(Trust::Trusted);
    }
    if origin.gone {
        return Verdict::Refuse("the fork that the pull request came from is gone");
    }
    let forks = match (configured, policy.forks) {
        (Some(a), Some(b)) => a.min(b),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => Forks::Approved,
    };
    // Id 0 is nobody: what a payload without a person leads to.
    let known = |id: u64| id != 0 && policy.people.contains(&id);
    match forks {
        Forks::Never => Verdict::Refuse("pull requests from forks are not built here"),
        // Both: who opened a pull request does not answer for what others push to it.
        Forks::Approved | Forks::Always if origin.private && known(origin.author) && known(origin.sender) => {
            Verdict::Build(Trust::Trusted)
        }
        Forks::Approved => Verdict::Hold,
        Forks::Always => Verdict::Build(Trust::Untrusted),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORK: Origin = Origin { fork: true, gone: false, private: true, author: 7, sender: 7 };

    #[test]
    fn each_of_owner_and_repository_can_only_narrow() {
        let policy = |forks| Policy { forks, people: Vec::new() };
        for (configured, said, verdict) in [
            (None, None, Verdict::Hold),
            (Some(Forks::Always), None, Verdict::Build(Trust::Untrusted)),
            (None, Some(Forks::Always), Verdict::Build(Trust::Untrusted)),
            (Some(Forks::Always), Some(Forks::Approved), Verdict::Hold),
            (Some(Forks::Approved), Some(Forks::Always), Verdict::Hold),
        ] {
            assert_eq!(judge(FORK, configured, &policy(said)), verdict, "{configured:?} {said:?}");
        }
        for (configured, said) in [(Some(Forks::Never), Some(Forks::Always)), (None, Some(Forks::Never))] {
            assert!(matches!(judge(FORK, configured, &policy(said)), Verdict::Refuse(_)));
        }
    }

    #[test]
    fn people_are_trusted_by_their_ids_both_of_them_and_in_private() {
        let policy = Policy { forks: None, people: vec![7] };
        assert_eq!(judge(FORK, None, &policy), Verdict::Build(Trust::Trusted));
        for other in [
            Origin { author: 8, ..FORK },
            Origin { sender: 8, ..FORK },
            Origin { private: false, ..FORK },
            Origin { author: 0, sender: 0, ..FORK },
        ] {
            assert_eq!(judge(other, None, &policy), Verdict::Hold, "{other:?}");
        }
        assert!(matches!(judge(FORK, Some(Forks::Never), &policy), Verdict::Refuse(_)));
    }

    fn forks() -> impl Strategy<Value = Option<Forks>> {
        proptest::option::of(prop_oneof![Just(Forks::Never), Just(Forks::Approved), Just(Forks::Always)])
    }

    proptest! {
        #[test]
        fn a_fork_is_trusted_only_by_name(
            (gone, private) in any::<(bool, bool)>(),
            (author, sender) in (0..4u64, 0..4u64),
            configured in forks(),
            said in forks(),
            people in proptest::collection::vec(0..4u64, 0..3),
        ) {
            let policy = Policy { forks: said, people };
            let verdict = judge(Origin { fork: true, gone, private, author, sender }, configured, &policy);
            if verdict == Verdict::Build(Trust::Trusted) {
                prop_assert!(private && !gone && author != 0 && sender != 0);
                prop_assert!(policy.people.contains(&author) && policy.people.contains(&sender));
            }
            // Without a policy nothing more is let through than the owner has said.
            if configured.is_none_or(|c| c < Forks::Always) && policy.forks != Some(Forks::Always) {
                prop_assert!(verdict != Verdict::Build(Trust::Untrusted));
            }
        }
    }
}
