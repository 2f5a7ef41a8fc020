//! What has to hold of every input. Used by the fuzz targets and by the tests that replay what they found; whoever includes
//! this has `Sieve` in scope.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::Sieve;

/// Long and short, one within another, overlapping, of several lines, with everything that some tool quotes.
const SECRETS: [&str; 7] = [
    "hunter2-hunter",
    "hunter2",
    "ter2-hush-ter2-h",
    "ab/+ab'\"ab <&> \\ab",
    "ünïcode-sëcret",
    "the first line of a key\nthe second line of a key",
    "aaaaaab",
];

/// The forms of each secret.
fn forms() -> &'static [Vec<Vec<u8>>] {
    static FORMS: OnceLock<Vec<Vec<Vec<u8>>>> = OnceLock::new();
    FORMS.get_or_init(|| SECRETS.iter().map(|secret| written(secret)).collect())
}

/// How a secret is written by somebody.
fn written(secret: &str) -> Vec<Vec<u8>> {
    let json = serde_json::Value::from(secret).to_string();
    let percent: String = secret
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect();
    let mut all = vec![secret.to_owned(), json[1..json.len() - 1].to_owned(), percent, secret.replace('\'', r"'\''")];
    for before in ["", "x", "xy"] {
        // Without what depends on its neighbours.
        let padded = format!("{before}{secret}");
        for text in [STANDARD.encode(&padded), URL_SAFE.encode(&padded)] {
            let text = text.trim_end_matches('=');
            let (from, to) = ((before.len() * 8).div_ceil(6), padded.len() * 8 / 6);
            all.push(text[from..to.min(text.len())].to_owned());
        }
    }
    all.into_iter().map(String::into_bytes).collect()
}

/// The input says how output is put together of secrets and other bytes, and where it is cut.
fn script(data: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let (mut output, mut cuts) = (Vec::new(), Vec::new());
    let mut rest = data;
    while let Some((op, after)) = rest.split_first() {
        rest = after;
        match op {
            // A secret, or its beginning, in some form.
            0xf0..=0xff => {
                let which = rest.first().copied().unwrap_or(0) as usize;
                let length = rest.get(1).copied().unwrap_or(255) as usize;
                rest = rest.get(2..).unwrap_or(&[]);
                let forms = &forms()[which % SECRETS.len()];
                let form = &forms[(which / SECRETS.len()) % forms.len()];
                output.extend_from_slice(&form[..length.min(form.len())]);
            }
            0xe0..=0xef => cuts.push(output.len()),
            other => output.push(*other),
        }
    }
    (output, cuts)
}

fn through(output: &[u8], cuts: &[usize]) -> Vec<u8> {
    static KNOWING: OnceLock<Sieve> = OnceLock::new();
    let mut sieve = KNOWING
        .get_or_init(|| {
            let mut sieve = Sieve::default();
            sieve.hide(SECRETS);
            sieve
        })
        .clone();
    let (mut shown, mut from) = (Vec::new(), 0);
    for cut in cuts.iter().copied().chain([output.len()]) {
        sieve.feed(&output[from..cut], &mut shown);
        from = cut;
    }
    sieve.finish(&mut shown);
    shown
}

fn holds(text: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(text, wanted).is_some()
}

/// No split of any output shows a secret in any form, and the split makes no difference.
pub fn sieve(data: &[u8]) {
    let (output, cuts) = script(data);
    let shown = through(&output, &cuts);
    for (secret, forms) in SECRETS.iter().zip(forms()) {
        for form in forms {
            assert!(
                !holds(&shown, form),
                "`{}` of {secret:?} is shown in {:?}",
                String::from_utf8_lossy(form),
                String::from_utf8_lossy(&shown)
            );
        }
    }
    assert_eq!(shown, through(&output, &[]), "the cuts {cuts:?} made a difference");
}

/// What passes steers no terminal: of escape sequences only colours, erasing in the line, and links to http and https.
pub fn escape(data: &[u8]) {
    let mut sieve = Sieve::default();
    let mut shown = Vec::new();
    for byte in data {
        sieve.feed(&[*byte], &mut shown);
    }
    sieve.finish(&mut shown);
    let mut whole = Vec::new();
    let mut at_once = Sieve::default();
    at_once.feed(data, &mut whole);
    at_once.finish(&mut whole);
    assert_eq!(shown, whole, "byte by byte it is something else");
    for (at, byte) in shown.iter().enumerate() {
        let rest = &shown[at + 1..];
        match byte {
            0x1b => {
                let end = rest.iter().position(|b| !matches!(b, b'[' | b'0'..=b'9' | b';' | b':'));
                let colour = rest.starts_with(b"[") && end.is_some_and(|end| matches!(rest[end], b'm' | b'K'));
                let link = [&b"]8;;http://"[..], b"]8;;https://", b"]8;;\x1b\\"]
                    .iter()
                    .any(|begin| rest.len() >= begin.len() && rest[..begin.len()].eq_ignore_ascii_case(begin));
                let end_of_link = rest.starts_with(b"\\");
                assert!(colour || link || end_of_link, "{:?}", String::from_utf8_lossy(rest));
            }
            0x0e => panic!("a shift to other characters"),
            0xc2 => assert!(!matches!(rest.first(), Some(0x80..=0x9f)), "a C1 control"),
            _ => {}
        }
    }
    let mut again = Vec::new();
    let mut sieve = Sieve::default();
    sieve.feed(&shown, &mut again);
    sieve.finish(&mut again);
    assert_eq!(again, shown, "filtering twice changes something");
}
