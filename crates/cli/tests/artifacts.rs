//! What jobs keep, from the machine to whoever wants it.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use std::fs;
use std::os::unix::fs::symlink;

use world::{World, text};

#[test]
fn a_large_artifact_passes_in_parts_and_a_download_follows_no_link_out_of_its_directory() {
    // More than twice a part, and not a multiple of one.
    let size = 40_000_001;
    let mut world = World::new(&format!(
        r#"
steps:
  - command: |
      mkdir -p out/deep
      head -c {size} /dev/urandom > out/big.bin
      sha256sum < out/big.bin > out/deep/sum.txt
    artifact_paths: "out/**/*"
  - wait
  - command: |
      buildkite-agent artifact download 'out/**/*' .
      [ "$$(sha256sum < out/big.bin)" = "$$(cat out/deep/sum.txt)" ]
"#
    ));
    world.start();
    world.push();
    assert_eq!(world.finished(1)["state"], "passed", "{}", world.logs("1"));
    let left = |name: &str| fs::read_dir(world.state().join("blobs").join(name)).unwrap().count();
    assert_eq!((left("tmp"), left("parts")), (0, 0), "an upload leaves something");

    let (to, outside) = (world.path().join("to"), world.path().join("outside"));
    fs::create_dir_all(to.join("out")).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, to.join("out/deep")).unwrap();
    symlink(outside.join("victim"), to.join("out/big.bin")).unwrap();
    let download = |pattern: &str| {
        let to = to.to_str().unwrap();
        world.run(["artifact", "download", "1", pattern, "--to", to])
    };
    let refused = download("out/deep/sum.txt");
    assert_eq!(refused.status.code(), Some(1));
    let why = text(&refused.stderr);
    assert!(
        why.contains("cannot download `out/deep/sum.txt`: a link at `out/deep` leads out of the directory"),
        "{why}"
    );
    // What has the name of the file is replaced, whatever it is.
    let done = download("out/big.bin");
    assert!(done.status.success(), "{}", text(&done.stderr));
    let meta = to.join("out/big.bin").symlink_metadata().unwrap();
    assert_eq!((meta.is_file(), meta.len()), (true, size));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}
