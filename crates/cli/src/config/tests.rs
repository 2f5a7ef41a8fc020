#![expect(clippy::unwrap_used, reason = "tests")]

use secrecy::ExposeSecret as _;

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
    insta::assert_snapshot!(wrong("[[repository]]\nfull_name = \"a/b\"\nid = 1\nclone_url = \"https://u:p@h/x\""), @"tidegate.toml:4:13: the address holds a password: give `token_file` instead, or use a git credential helper");
    insta::assert_snapshot!(wrong("[[repository]]\nfull_name = \"a/b\"\nid = 1\nclone_url = \"http://h/x\"\ntoken = \"hush\""), @"tidegate.toml:5:9: everybody on the way could read the token: write `https` in the address `http://h/x`");
    insta::assert_snapshot!(wrong("[[repository]]\nfull_name = \"a/b\"\nid = 1\nclone_url = \"git@h:x\"\ntoken = \"hush\""), @"tidegate.toml:5:9: a token is of use over HTTP only, and the address is `git@h:x`");
    insta::assert_snapshot!(wrong("[limits]\nsilence = \"2s\""), @"tidegate.toml:2:11: `silence` must be at least five times `beat`, or instances are given up for nothing");
    insta::assert_snapshot!(wrong("[[pool]]\nname = \"a\"\nwidth = 1\nidle = \"soon\""), @r#"tidegate.toml:4:8: invalid value: string "soon", expected a span such as "30s", "5m", "4h" or a number of seconds"#);
}

#[test]
fn a_pool_forbids_what_it_says_and_else_what_is_said_for_all() {
    let forbidden = |hooks: &str, pool: &str| {
        let text =
            format!("[[pool]]\nname = \"a\"\nwidth = 1\n{pool}\n[[pool]]\nname = \"b\"\nwidth = 1\n[hooks]\n{hooks}");
        let config = parse(&text).unwrap();
        let of = |pool: &str| {
            let Forbidden { command_eval, local_hooks, plugins } = config.forbidden[&PoolName::new(pool).unwrap()];
            [command_eval, local_hooks, plugins].map(u8::from)
        };
        (of("a"), of("b"))
    };
    assert_eq!(forbidden("", ""), ([0, 0, 0], [0, 0, 0]));
    assert_eq!(forbidden("", "no_plugins = true"), ([0, 0, 1], [0, 0, 0]));
    assert_eq!(forbidden("no_local_hooks = true", "no_local_hooks = false"), ([0, 0, 0], [0, 1, 1]));
    assert_eq!(forbidden("no_command_eval = true", "no_plugins = false"), ([1, 0, 0], [1, 0, 1]));
    // Also where no pool is written down.
    let config = parse("[hooks]\nno_plugins = true").unwrap();
    assert!(config.forbidden.values().all(|forbidden| forbidden.plugins) && config.forbidden.len() == 1);
}

#[test]
fn no_error_repeats_a_secret() {
    let text = "[webhook]\nsecret = \"hunter2hunter2\"\nsecret_file = \"x\"";
    assert!(!parse(text).unwrap_err().contains("hunter2"));
    let config = parse("[webhook]\nsecret = \"hunter2hunter2\"").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_token_of_the_api_reads_what_is_there_and_nothing_elsewhere() {
    let read = |api: &str, url: &str, own: &str| {
        let text = format!(
            "[github]\ntoken = \"shared\"\napi_url = \"{api}\"\n[[repository]]\nfull_name = \"a/b\"\nid = 1\n\
             clone_url = \"{url}\"\n{own}"
        );
        let tokens = parse(&text).unwrap().tokens;
        tokens.first().map(|(_, token)| match token {
            Token::Text(text) => text.expose_secret().to_owned(),
            Token::File(path) => path.display().to_string(),
        })
    };
    let (public, own) = ("https://api.github.com", "https://ghe.example.com/api/v3");
    for (api, url, token, given) in [
        (public, "https://github.com/a/b.git", "", Some("shared")),
        (public, "https://github.com/a/b.git", "token = \"its\"", Some("its")),
        (public, "https://github.com.example.com/a/b.git", "", None),
        (public, "git@github.com:a/b.git", "", None),
        (public, "http://github.com/a/b.git", "", None),
        (public, "http://127.0.0.1:80/a/b.git", "token = \"its\"", Some("its")),
        (public, "/srv/a/b.git", "", None),
        (own, "https://ghe.example.com/a/b.git", "", Some("shared")),
        (own, "https://github.com/a/b.git", "", None),
    ] {
        assert_eq!(read(api, url, token).as_deref(), given, "{api} {url}");
    }
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

#[test]
fn every_cap_on_pipelines_can_be_set() {
    let defaults = serde_json::to_value(tidegate_pipeline::Limits::default()).unwrap();
    let names: Vec<&String> = defaults.as_object().unwrap().keys().collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let config = parse(&format!("[limits]\n{name} = 7\n")).unwrap();
        assert_eq!(serde_json::to_value(config.settings().pipeline).unwrap()[name], 7, "{name}");
        let wrong = parse(&format!("[limits]\n{name} = 0\n")).unwrap_err();
        assert!(
            wrong.starts_with(&format!("tidegate.toml:2:{}: `{name}` is 0: write 1 to ", name.len() + 4)),
            "{wrong}"
        );
        assert!(parse(&format!("[limits]\n{name} = 9223372036854775807\n")).is_err(), "{name}");
    }
    let limits = parse("[limits]\njobs = 700\nbuild_jobs = 800\nbuild_uploads = 9\n").unwrap().settings().limits;
    assert_eq!((limits.upload_jobs, limits.jobs, limits.uploads), (700, 800, 9));
}

#[test]
fn limits_are_read_without_secrets() {
    let text = "[webhook]\nsecret_file = \"not-there\"\n[limits]\njobs = 600\n";
    assert!(parse(text).is_err());
    let local = file::local_of(Path::new("tidegate.toml"), text).unwrap();
    assert_eq!(local.limits.pipeline.jobs, 600);
    let wrong = file::local_of(Path::new("tidegate.toml"), "[limits]\nmatrix_job = 1").unwrap_err();
    insta::assert_snapshot!(wrong, @"tidegate.toml:2:1: unknown key `matrix_job`: did you mean `matrix_jobs`?");
}

#[test]
fn the_example_shows_the_defaults() {
    // What is commented out, taken in.
    let limits: String = EXAMPLE
        .lines()
        .skip_while(|line| *line != "# [limits]")
        .filter_map(|line| line.strip_prefix("# "))
        .take_while(|line| !line.starts_with("How long builds are kept"))
        .filter(|line| line.contains(" = ") || line.starts_with('['))
        .map(|line| format!("{line}\n"))
        .collect();
    let limits = file::local_of(Path::new("tidegate.toml"), &limits)
        .map(|local| local.limits)
        .map_err(|error| format!("{error}: {limits}"));
    assert_eq!(limits, Ok(LimitSettings::default()));
    let names = serde_json::to_value(tidegate_pipeline::Limits::default()).unwrap();
    for name in names.as_object().unwrap().keys() {
        assert!(EXAMPLE.contains(&format!("\n# {name} = ")), "{name}");
    }
}
