//! A repository that not everybody may read.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use tidegate_git::testing::HttpGit;
use world::World;

const SECRET: &str = "ghs_nobodyshallseethis4711";
/// `Basic`, and `x-access-token:` with the secret.
const BASIC: &str = "Basic eC1hY2Nlc3MtdG9rZW46Z2hzX25vYm9keXNoYWxsc2VldGhpczQ3MTE=";

const PIPELINE: &str = "steps: [{ key: fetch, command: sh asks.sh }]\n";

const ASKS: &str = r#"set -e
cat README
git fetch --quiet origin
ask() { printf 'protocol=http\nhost=%s\npath=%s\n' "$1" "$2" | tidegate-agent git-credentials-helper get 2>&1; }
host=$(git remote get-url origin | cut -d/ -f3)
echo "other: $(ask "$host" other/.git)"
echo "elsewhere: $(ask elsewhere.example repo/.git)"
echo "own: $(ask "$host" repo/.git)"
"#;

fn world() -> World {
    let world = World::empty();
    world.write(".tidegate/pipeline.yml", PIPELINE);
    world.write("asks.sh", ASKS);
    world.commit("first");
    world
}

#[test]
fn server_and_job_read_it_and_the_job_no_other_one() {
    let world = world();
    let server = HttpGit::start(world.path());
    server.demand(BASIC);
    let url = server.url("repo/.git");
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), format!("{SECRET}\n")).unwrap();
    let mut world = world.cloned_from(&url, &format!("token_file = \"{}\"", token.path().display()));
    world.start();
    world.push();
    let build =
        world.build_until(1, "the build is over", |build| matches!(build["state"].as_str(), Some("passed" | "failed")));
    let logs = world.run(["logs", "1", "fetch"]);
    let log = String::from_utf8_lossy(&logs.stdout).into_owned();
    assert_eq!(build["state"], "passed", "{build:#}\n{log}");
    assert!(log.contains("hello"), "{log}");
    for refused in ["other: no credential: ", "elsewhere: no credential: "] {
        assert!(
            log.contains(&format!("{refused}a job of `story/web` gets a credential for its own repository only")),
            "{log}"
        );
    }
    assert!(log.contains("own: username=x-access-token"), "{log}");
    assert!(log.contains("password=[REDACTED]"), "{log}");
    assert!(!log.contains(SECRET) && !world.log().contains(SECRET));
    // Nothing of it is on the disk of the server.
    let found = std::process::Command::new("grep").args(["-rlF", SECRET]).arg(world.state()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    assert!(server.presented().iter().all(|value| value == BASIC));
}

#[test]
fn a_token_that_is_wrong_is_said_on_the_build() {
    let world = world();
    let server = HttpGit::start(world.path());
    server.demand(BASIC);
    let url = server.url("repo/.git");
    let mut world = world.cloned_from(&url, "token = \"wrong\"");
    world.start();
    world.push();
    let build = world.build_until(1, "the build is over", |build| build["state"] == "failed");
    assert!(build.to_string().contains("Authentication failed for"), "{build:#}");
}
