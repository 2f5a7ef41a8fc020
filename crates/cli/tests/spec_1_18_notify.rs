//! `spec/pipeline.md` 1.18: notifications, on the real binary and a service on loopback.
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod world;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use world::{World, text};

/// A request that the service got: its path, its headers in lower case, its body.
#[derive(Clone, Debug)]
struct Request {
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

/// A service that is down for the first request to each path, and well after that.
fn service() -> (String, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let got = Arc::new(Mutex::new(Vec::<Request>::new()));
    let kept = Arc::clone(&got);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            let _ = reader.read_line(&mut line);
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let (mut headers, mut length) = (Vec::new(), 0);
            loop {
                let mut header = String::new();
                if reader.read_line(&mut header).is_err() || header.trim().is_empty() {
                    break;
                }
                let (name, value) = header.trim().split_once(':').unwrap_or_default();
                let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
                if name == "content-length" {
                    length = value.parse().unwrap_or(0);
                }
                headers.push((name, value));
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            let request = Request { path: path.clone(), headers, body: String::from_utf8_lossy(&body).into_owned() };
            let first = {
                let mut got = kept.lock().unwrap();
                let first = !got.iter().any(|known| known.path == path);
                got.push(request);
                first
            };
            let answer = if first { "503 Service Unavailable" } else { "200 OK" };
            let _ = write!(reader.get_mut(), "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (url, got)
}

#[test]
fn services_are_told_once_they_are_up_and_the_build_waits_for_none() {
    let (url, got) = service();
    let mut world = World::empty()
        .config(&format!("[notify]\nwebhook_secret = \"hush\"\nslack_url = \"{url}/slack\"\nallow_private = true\n"));
    world.write(
        ".tidegate/pipeline.yml",
        &format!(
            r##"
notify:
  - webhook: "{url}/hook"
  - webhook: "{url}/never"
    if: build.state == "failed"
  - slack: "#ci"
    if: build.branch == "main"
  - email: nobody@example.com
steps:
  - {{ command: "true", key: a }}
"##
        ),
    );
    world.commit("notify");
    world.start();
    world.push();
    let build = world.finished(1);
    assert_eq!(build["state"], "passed", "{build:#}");
    assert!(build["diagnostics"].to_string().contains("`notify.email` is accepted but not yet acted on"), "{build:#}");
    let build = world.build_until(1, "everybody is told", |build| {
        let notices = build["notices"].as_array();
        notices.is_some_and(|all| all.len() == 2 && all.iter().all(|notice| notice["told"] == true))
    });
    assert!(build["notices"].as_array().unwrap().iter().all(|notice| notice["tries"] == 2), "{build:#}");
    let got = got.lock().unwrap().clone();
    let to = |path: &str| got.iter().filter(|r| r.path == path).cloned().collect::<Vec<_>>();
    let hooks = to("/hook");
    assert_eq!((hooks.len(), to("/slack").len(), to("/never").len()), (2, 2, 0), "{got:#?}");
    assert_eq!(hooks[0].body, hooks[1].body);
    assert_eq!(hooks[0].header("x-tidegate-delivery"), hooks[1].header("x-tidegate-delivery"));
    assert_eq!(hooks[0].header("x-tidegate-event"), "build.finished");
    let body: serde_json::Value = serde_json::from_str(&hooks[0].body).unwrap();
    assert_eq!((&body["event"], &body["build"]["state"]), (&"build.finished".into(), &"passed".into()));
    // The signature is that of openssl.
    let file = world.path().join("body");
    std::fs::write(&file, &hooks[0].body).unwrap();
    let openssl =
        std::process::Command::new("openssl").args(["dgst", "-sha256", "-hmac", "hush", "-r"]).arg(&file).output();
    if let Ok(openssl) = openssl {
        let digest = text(&openssl.stdout).split(' ').next().unwrap_or_default().to_owned();
        assert_eq!(hooks[0].header("x-tidegate-signature-256"), format!("sha256={digest}"));
    }
    let slack: serde_json::Value = serde_json::from_str(&to("/slack")[1].body).unwrap();
    assert_eq!(slack["channel"], "#ci");
    assert!(slack["text"].as_str().unwrap().starts_with("web#1 on main: passed"), "{slack:#}");
}

#[test]
fn an_address_of_a_private_network_is_not_posted_to_unless_the_owner_says_so() {
    let (url, got) = service();
    let mut world = World::empty().config("[notify]\nwebhook_secret = \"hush\"\n");
    world.write(
        ".tidegate/pipeline.yml",
        &format!("notify:\n  - webhook: '{url}/hook'\nsteps:\n  - {{ command: 'true', key: a }}\n"),
    );
    world.commit("notify");
    world.start();
    world.push();
    let build = world.build_until(1, "the notification is given up", |build| build["notices"][0]["given_up"] == true);
    assert!(build["notices"][0]["why"].as_str().unwrap().contains("is in a private network"), "{build:#}");
    assert!(got.lock().unwrap().is_empty());
    let shown = text(&world.run(["build", "show", "1"]).stdout);
    assert!(shown.contains("webhook: not told: `127.0.0.1` is in a private network"), "{shown}");
}
