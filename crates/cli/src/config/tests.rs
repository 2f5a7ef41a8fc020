#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("tidegate.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn the_example_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("webhook.secret"), "s3cret\n").unwrap();
    let config = Config::parse(&dir.path().join("tidegate.toml"), EXAMPLE).unwrap();
    assert_eq!(config.repositories[0].clone_url, "https://github.com/octo-org/web.git");
    assert_eq!(config.slugs()[0].as_str(), "web");
    assert_eq!(config.pools[0].width, 4);
}

#[test]
fn an_empty_file_is_valid() {
    let config = parse("").unwrap();
    assert_eq!(config.pools.len(), 1);
    assert!(config.webhook.is_none());
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let wrong = |text: &str| parse(text).unwrap_err();
    insta::assert_snapshot!(wrong("lisen = \"x\""), @"tidegate.toml:1:1: unknown key `lisen`: did you mean `listen`?");
    insta::assert_snapshot!(wrong("\n[webhook]\nsecrte = \"x\""), @"tidegate.toml:3:1: unknown key `secrte`: did you mean `secret`?");
    insta::assert_snapshot!(wrong("listen = \"here\""), @r#"tidegate.toml:1:10: `here` is not an address: write IP and port, such as "127.0.0.1:8920""#);
    insta::assert_snapshot!(wrong("[webhook]\nsecret = \"\""), @"tidegate.toml:2:10: `secret` is empty: anybody could sign with it");
    insta::assert_snapshot!(wrong("[[pool]]\nname = \"a b\"\nwidth = 1"), @"tidegate.toml:2:8: `a b` is not a valid pool name: letters, digits, `-`, `_` and `.`, at most 64 characters");
    insta::assert_snapshot!(wrong("[[repository]]\nfull_name = \"a/b\"\nid = 1\n[[pipeline]]\nslug = \"x\"\nrepository = \"a/c\""), @"tidegate.toml:6:14: there is no [[repository]] `a/c`: did you mean `a/b`?");
    insta::assert_snapshot!(wrong("[[repository]]\nfull_name = \"a/b\"\nid = 1\nclone_url = \"https://u:p@h/x\""), @"tidegate.toml:4:13: the address holds a password: use a git credential helper instead");
    insta::assert_snapshot!(wrong("[limits]\nsilence = \"2s\""), @"tidegate.toml:2:11: `silence` must be at least five times `beat`, or instances are given up for nothing");
    insta::assert_snapshot!(wrong("[[pool]]\nname = \"a\"\nwidth = 1\nidle = \"soon\""), @r#"tidegate.toml:4:8: invalid value: string "soon", expected a span such as "30s", "5m", "4h" or a number of seconds"#);
}

#[test]
fn no_error_repeats_a_secret() {
    let text = "[webhook]\nsecret = \"hunter2hunter2\"\nsecret_file = \"x\"";
    assert!(!parse(text).unwrap_err().contains("hunter2"));
    let config = parse("[webhook]\nsecret = \"hunter2hunter2\"").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn spans() {
    for (text, seconds) in [("30s", 30), ("5m", 300), ("4h", 14_400), ("2d", 172_800), ("7", 7)] {
        assert_eq!(duration::parse(text), Some(Duration::from_secs(seconds)), "{text}");
    }
    assert_eq!(duration::parse("250ms"), Some(Duration::from_millis(250)));
    for text in ["", "s", "5 weeks", "-3s", "99999999999999999999s"] {
        assert_eq!(duration::parse(text), None, "{text}");
    }
}
