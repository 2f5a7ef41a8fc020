//! How fast a job's output passes through the escape filter and the redactor, in CPU time of one core: `sieve [MEGABYTES]` prints one
//! JSON object. The output is that of a build: lines with colours, a few links, words that begin as secrets do.
#![expect(clippy::print_stdout, reason = "the figure is the answer")]

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use tidegate_agent::Sieve;

/// As many as a job has that uses secrets: each is searched for in some ten forms.
const SECRETS: [&str; 5] = [
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "correct horse battery staple",
    "AKIAIOSFODNN7EXAMPLE/wJalrXUtnFEMI/K7MDENG",
    "p4ss'w\"ord with $igns",
    "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw\nggSjAgEAAoIBAQC7VJTUt9Us8cKj\n-----END KEY-----",
];

/// What one read of the pipe gives.
const PIECE: usize = 64 * 1024;

fn main() {
    let megabytes = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(200);
    let output = output(4 << 20);
    let mut sieve = Sieve::default();
    sieve.hide(SECRETS);
    let (mut shown, mut read, mut hidden, mut kept) = (Vec::with_capacity(2 * PIECE), 0usize, 0usize, 0usize);
    let began = cpu_micros();
    while read < megabytes * 1_000_000 {
        for piece in output.chunks(PIECE) {
            sieve.feed(piece, &mut shown);
            read += piece.len();
            kept += shown.len();
            hidden += usize::from(shown.windows(10).any(|part| part == b"[REDACTED]"));
            shown.clear();
        }
    }
    let seconds = (cpu_micros() - began) as f64 / 1e6;
    let rate = read as f64 / 1e6 / seconds;
    println!(
        "{{\"megabytes\":{},\"cpu_seconds\":{seconds:.3},\"megabytes_per_second\":{rate:.1},\"kept\":{kept},\"pieces_with_secrets\":{hidden}}}",
        read / 1_000_000
    );
}

/// What this process has used of a core: what else runs on the machine makes no difference.
fn cpu_micros() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF).map_or(0, |used| (used.user_time() + used.system_time()).num_microseconds())
}

/// Some output, always the same.
fn output(size: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(size + 200);
    let mut seed: u32 = 1;
    while text.len() < size {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let line = match seed >> 28 {
            0 => format!(
                "\x1b[32m   Compiling\x1b[0m crate-{} v0.{}.0 (./crates/c{})\n",
                seed % 997,
                seed % 31,
                seed % 97
            ),
            1 => format!("\x1b]8;;https://example.com/{seed}\x1b\\report\x1b]8;;\x1b\\ of run {seed}\n"),
            2 => format!("{}%\r{}%\r100%\n", seed % 50, 50 + seed % 50),
            3 => "correct horse and cart, ghp_ and AKIA and p4ss: words that begin as secrets do\n".to_owned(),
            _ => format!(
                "test module_{}::tests::case_{} ... ok, {} assertions in {}.{:03} s\n",
                seed % 53,
                seed % 1009,
                seed % 17,
                seed % 3,
                seed % 1000
            ),
        };
        text.extend_from_slice(line.as_bytes());
        if seed.is_multiple_of(5_003) {
            text.extend_from_slice(format!("token={}\n", SECRETS[0]).as_bytes());
        }
    }
    text
}
