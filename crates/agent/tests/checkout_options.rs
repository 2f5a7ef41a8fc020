//! Checkouts by what the pipeline wants: little history, few files, submodules, large files; and several at once.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use support::*;
use tidegate_core::attempt::Cause;
use tidegate_core::wire::gate::{CheckoutOptions, Outcome};
use tidegate_git::testing::HttpGit;

/// Three commits and a branch beside them.
struct Origin {
    repo: repo::Repo,
    server: HttpGit,
    commits: Vec<String>,
}

impl Origin {
    fn new(world: &World) -> Self {
        let repo = repo::Repo::new(world.path("origins/web"));
        repo.git(&["config", "uploadpack.allowFilter", "true"]);
        let mut commits = vec![repo.commit("dir/old", "old\n"), repo.commit("other/file", "one\n")];
        repo.git(&["branch", "beside"]);
        commits.push(repo.commit("dir/new", "two\n"));
        Self { server: HttpGit::start(&world.path("origins")), repo, commits }
    }

    fn url(&self) -> String {
        self.server.url("web/.git")
    }
}

fn run(world: &World, url: &str, commit: &str, options: CheckoutOptions, command: &str) -> Outcome {
    world.gate.with(|m| {
        m.leave = false;
        m.results.clear();
        m.objects.clear();
        m.started.clear();
    });
    let mut assignment = job(command);
    let mut wanted = checkout(Path::new(url), commit).unwrap();
    wanted.options = options;
    assignment.checkout = Some(wanted);
    world.run(assignment).outcome
}

/// What a job printed after its commands were shown.
fn printed(world: &World) -> String {
    let log = world.gate.log(&attempt(1));
    log.split_once("---8<---\n").map_or_else(|| panic!("{log}"), |(_, rest)| rest.to_owned())
}

fn depth(depth: u32) -> CheckoutOptions {
    CheckoutOptions { depth: Some(depth), ..CheckoutOptions::default() }
}

fn has_mirror(world: &World) -> bool {
    world.path("mirrors/7.git").exists()
}

#[test]
fn a_shallow_checkout_is_the_same_from_server_and_mirror() {
    let world = World::new();
    let origin = Origin::new(&world);
    let (url, path) = (origin.url(), origin.repo.path.display().to_string());
    let show = "printf '%s\\n' '---8<---'; cat dir/*; git rev-parse --is-shallow-repository; git rev-list --count HEAD; \
                git for-each-ref --format='%(refname) %(objectname)'; git status --porcelain; git fsck --connectivity-only --no-dangling";
    let tip = origin.commits[2].clone();
    let expected = |count: u32| format!("two\nold\ntrue\n{count}\nrefs/remotes/origin/main {tip}\n");
    for warm in [false, true] {
        for url in [&url, &path] {
            for count in [1, 2] {
                let outcome = run(&world, url, &tip, depth(count), show);
                assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
                assert_eq!(printed(&world), expected(count), "warm {warm}, {url}");
                assert_eq!(has_mirror(&world), warm);
            }
        }
        // More than there is.
        let all = run(&world, &url, &tip, depth(50), "printf '%s\\n' '---8<---'; git rev-list --count HEAD");
        assert_eq!((all.exit_status, printed(&world).as_str()), (Some(0), "3\n"));
        // A commit that is not the newest.
        let older =
            run(&world, &url, &origin.commits[1], depth(1), "printf '%s\\n' '---8<---'; ls dir; git log --format=%s");
        assert_eq!(older.exit_status, Some(0), "{}", older.tail);
        assert_eq!(printed(&world), "old\nother/file\n");
        if !warm {
            // Makes the mirror.
            assert_eq!(run(&world, &url, &tip, CheckoutOptions::default(), "true").exit_status, Some(0));
        }
    }
}

#[test]
fn a_server_that_hands_out_no_commits_by_id_is_asked_for_everything() {
    let mut world = World::new();
    let config = world.path("gitconfig");
    std::fs::write(&config, "[protocol]\n\tversion = 0\n").unwrap();
    world.env.push(("GIT_CONFIG_GLOBAL".to_owned(), config.display().to_string()));
    let origin = Origin::new(&world);
    let outcome = run(&world, &origin.url(), &origin.commits[0], depth(1), "ls dir");
    assert!(outcome.tail.ends_with("old"), "{}", outcome.tail);
    assert!(has_mirror(&world));
}

#[test]
fn a_partial_clone_fetches_what_it_needs_when_it_needs_it() {
    let world = World::new();
    let origin = Origin::new(&world);
    let options =
        CheckoutOptions { clone_flags: "-v --filter=blob:none --shared".to_owned(), ..CheckoutOptions::default() };
    let show = "printf '%s\\n' '---8<---'; cat other/file; \
                git rev-list --objects --missing=print HEAD | grep -c '^?' || true; git rev-list --count HEAD; \
                git rev-parse -q --verify origin/beside >/dev/null && git show HEAD~2:dir/old";
    origin.repo.commit("other/file", "three\n");
    let tip = origin.repo.git(&["rev-parse", "HEAD"]);
    let outcome = run(&world, &origin.url(), &tip, options, show);
    assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
    assert!(!has_mirror(&world));
    let log = world.gate.log(&attempt(1));
    assert!(log.contains("These flags for git have no effect here: --shared\n"), "{log}");
    // The contents that the file had before are not there.
    assert_eq!(printed(&world), "three\n1\n4\nold\n");
}

#[test]
fn only_some_directories() {
    let world = World::new();
    let origin = Origin::new(&world);
    for commands in ["ls -A; cat dir/new", "cat other/file 2>/dev/null || echo none; git status --porcelain"] {
        let sparse = vec!["dir".to_owned()];
        let options = CheckoutOptions { sparse, ..CheckoutOptions::default() };
        let show = format!("printf '%s\\n' '---8<---'; {commands}");
        let outcome = run(&world, &origin.url(), &origin.commits[2], options, &show);
        assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
        let expected = if commands.starts_with("ls") { ".git\ndir\ntwo\n" } else { "none\n" };
        assert_eq!(printed(&world), expected);
    }
}

#[test]
fn submodules_of_submodules_come_from_their_servers() {
    let world = World::new();
    let origin = Origin::new(&world);
    let inner = repo::Repo::new(world.path("origins/inner"));
    inner.commit("inside", "deepest\n");
    let middle = repo::Repo::new(world.path("origins/middle"));
    middle.git(&[
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        &origin.server.url("inner/.git"),
        "in",
    ]);
    middle.commit("file", "middle\n");
    // By a relative URL, too.
    let repo = &origin.repo;
    repo.git(&["submodule", "--quiet", "add", &origin.server.url("middle/.git"), "sub"]);
    repo.git(&["config", "--file", ".gitmodules", "submodule.sub.url", "../../middle/.git"]);
    let tip = repo.commit("file", "outer\n");
    let show = "printf '%s\\n' '---8<---'; cat sub/file sub/in/inside; git submodule status --recursive | grep -c '^ '";
    // Cold, warm, shallow.
    for options in [CheckoutOptions::default(), CheckoutOptions::default(), depth(1)] {
        let outcome = run(&world, &origin.url(), &tip, options, show);
        assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
        assert_eq!(printed(&world), "middle\ndeepest\n2\n");
    }
    let without = CheckoutOptions { submodules: Some(false), ..CheckoutOptions::default() };
    let outcome = run(&world, &origin.url(), &tip, without, "printf '%s\\n' '---8<---'; ls -A sub");
    assert_eq!((outcome.exit_status, printed(&world).as_str()), (Some(0), ""));
}

/// Stands for `git-lfs`: writes down what it is asked.
fn fake_lfs(world: &mut World) -> std::path::PathBuf {
    let (bin, seen) = (world.path("lfs-bin"), world.path("lfs-seen"));
    std::fs::create_dir(&bin).unwrap();
    let program = bin.join("git-lfs");
    let script = format!("#!/bin/sh\necho \"$* skip=$GIT_LFS_SKIP_SMUDGE\" >> '{}'\n", seen.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    world.env.push(("PATH".to_owned(), format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())));
    seen
}

/// A `PATH` with git and without git-lfs.
fn no_lfs(world: &mut World) {
    let bin = world.path("no-lfs-bin");
    std::fs::create_dir(&bin).unwrap();
    let path = std::env::var("PATH").unwrap();
    for program in ["git", "sh", "bash", "cat", "env"] {
        let real = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file()).unwrap();
        std::os::unix::fs::symlink(real, bin.join(program)).unwrap();
    }
    world.env.push(("PATH".to_owned(), bin.display().to_string()));
}

#[test]
fn large_files_are_pulled_where_the_machine_can() {
    let mut world = World::new();
    let origin = Origin::new(&world);
    let seen = fake_lfs(&mut world);
    let lfs = |lfs| CheckoutOptions { lfs: Some(lfs), ..CheckoutOptions::default() };
    let outcome = run(&world, &origin.url(), &origin.commits[2], lfs(true), "true");
    assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
    assert_eq!(std::fs::read_to_string(&seen).unwrap(), "install --local --skip-repo skip=1\npull skip=1\n");
    assert_eq!(run(&world, &origin.url(), &origin.commits[2], lfs(false), "true").exit_status, Some(0));
    assert_eq!(std::fs::read_to_string(&seen).unwrap().lines().count(), 2, "not asked for");
}

#[test]
fn large_files_on_a_machine_that_cannot_are_said() {
    let mut world = World::new();
    let origin = Origin::new(&world);
    no_lfs(&mut world);
    let tip = origin.repo.commit(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    let outcome = run(&world, &origin.url(), &tip, CheckoutOptions::default(), "true");
    assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
    let log = world.gate.log(&attempt(1));
    assert!(log.contains("this machine has no `git-lfs`: they are here as pointers only"), "{log}");
    let wanted = CheckoutOptions { lfs: Some(true), ..CheckoutOptions::default() };
    let outcome = run(&world, &origin.url(), &tip, wanted, "true");
    assert_eq!((outcome.cause, outcome.permanent), (Cause::CheckoutFailed, true));
    assert!(outcome.detail.unwrap().contains("install it on the machine"));
}

#[test]
fn head_is_what_the_branch_points_at_and_the_build_is_told() {
    let world = World::new();
    let origin = Origin::new(&world);
    let tip = &origin.commits[2];
    let show = "printf '%s\\n' '---8<---'; git rev-parse HEAD; echo $BUILDKITE_COMMIT $BUILDKITE_COMMIT_RESOLVED";
    let outcome = run(&world, &origin.url(), "HEAD", CheckoutOptions::default(), show);
    assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
    assert_eq!(printed(&world), format!("{tip}\n{tip} true\n"));
    assert_eq!(world.gate.with(|m| m.meta_data.get("buildkite:git:commit").cloned()), Some(tip.clone()));
    // It has moved meanwhile.
    let moved = origin.repo.commit("file", "x\n");
    run(&world, &origin.url(), "HEAD", CheckoutOptions::default(), show);
    assert_eq!(printed(&world), format!("{moved}\n{moved} true\n"));
    origin.repo.git(&["checkout", "--quiet", "-b", "elsewhere"]);
    origin.repo.git(&["branch", "--quiet", "-D", "main"]);
    let outcome = run(&world, &origin.url(), "HEAD", CheckoutOptions::default(), show);
    assert_eq!((outcome.cause, outcome.permanent), (Cause::CheckoutFailed, true));
    assert!(outcome.detail.unwrap().contains("couldn't find remote ref refs/heads/main"));
}

#[test]
fn two_agents_make_one_mirror() {
    let worlds = [World::new(), World::new()];
    let shared = tempfile::tempdir().unwrap();
    let mirrors = shared.path().join("mirrors").display().to_string();
    let worlds = worlds.map(|world| world.set("mirrors_dir", mirrors.clone()));
    let origin = Origin::new(&worlds[0]);
    let mut agents: Vec<Agent> = worlds.iter().map(World::agent).collect();
    for round in 0..3 {
        let commit =
            if round == 0 { origin.commits[2].clone() } else { origin.repo.commit("file", &format!("{round}\n")) };
        let fetches = || origin.server.requests().iter().filter(|r| r.starts_with("POST")).count();
        let before = fetches();
        for world in &worlds {
            let mut assignment = job("git rev-parse HEAD");
            assignment.attempt = attempt(round + 1);
            assignment.checkout = checkout(Path::new(&origin.url()), &commit);
            world.gate.give(assignment);
        }
        for world in &worlds {
            let outcome = world.gate.result(usize::try_from(round).unwrap()).outcome;
            assert_eq!(outcome.exit_status, Some(0), "{}", outcome.tail);
            assert!(outcome.tail.ends_with(&commit), "{}", outcome.tail);
        }
        // Asking for the list and for the objects is two requests: one of the agents did it, the other waited.
        assert_eq!(fetches() - before, 2, "{:?}", origin.server.requests());
    }
    for (world, agent) in worlds.iter().zip(&mut agents) {
        world.gate.with(|m| m.leave = true);
        assert!(agent.ends());
    }
}

#[test]
fn every_job_has_a_clean_directory() {
    let world = World::new();
    let origin = Origin::new(&world);
    let mut agent = world.agent();
    for number in 1..=3 {
        let mut assignment = job(
            "printf '%s\\n' '---8<---'; git status --porcelain --ignored; ls -A; touch new dir/ignored; echo x >> dir/new; \
             mkdir -p deep/er; chmod 500 deep; git config core.pager evil; git stash -q",
        );
        assignment.attempt = attempt(number);
        assignment.checkout = checkout(Path::new(&origin.url()), &origin.commits[2]);
        world.gate.give(assignment);
        world.gate.result(usize::try_from(number).unwrap() - 1);
        let log = world.gate.log(&attempt(number));
        assert_eq!(
            log.split_once("---8<---\n").unwrap().1.split("\nThe command").next().unwrap(),
            ".git\ndir\nother\n"
        );
    }
    world.gate.with(|m| m.leave = true);
    assert!(agent.ends());
    assert_eq!(std::fs::read_dir(world.path("work")).unwrap().count(), 0);
}
