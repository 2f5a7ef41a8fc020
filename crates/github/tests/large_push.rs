//! A payload as large as GitHub sends costs next to nothing beyond its own bytes.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tidegate_core::event::EventKind;
use tidegate_core::time::Timestamp;
use tidegate_github::webhook::{Headers, LOCAL_LIMIT, Secrets, decide, sign};

/// The system's allocator, counting. This file holds one test, so nobody else allocates while it measures.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "only an allocator sees what is allocated; both calls are passed on unchanged")]
// SAFETY: every call goes to the system's allocator with the arguments that came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_largest_push_is_reduced_in_little_memory() {
    // 2,048 commits with lists of files, 25 MiB in all.
    let paths: Vec<String> = (0..250).map(|n| format!("src/deeply/nested/module_{n}/é_file.rs")).collect();
    let mut payload: serde_json::Value = serde_json::from_slice(include_bytes!("../../../events/push.json")).unwrap();
    let mut commit = payload["commits"][0].clone();
    commit["modified"] = paths.into();
    payload["commits"] = vec![commit; 2_048].into();
    let mut body = payload.to_string();
    drop(payload);
    assert!(body.len() < LOCAL_LIMIT, "{}", body.len());
    body.push_str(&" ".repeat(LOCAL_LIMIT - body.len()));

    let secrets = Secrets::new("s".into(), None).unwrap();
    let signature = sign(&"s".into(), body.as_bytes());
    let headers = Headers {
        event: Some("push"),
        delivery: Some("d"),
        signature: Some(&signature),
        content_type: Some("application/json"),
    };
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let decision = decide(headers, body.as_bytes(), LOCAL_LIMIT, &secrets, Timestamp(1));
    let peak = PEAK.load(Relaxed) - before;

    let event = decision.event.unwrap();
    assert!(matches!(event.kind, EventKind::Push(_)), "{event:?}");
    assert!(peak < 64 * 1024, "{peak} bytes at once");
}
