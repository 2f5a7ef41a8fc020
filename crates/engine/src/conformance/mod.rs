//! What every adapter of a port has to keep, as functions that try it (feature `conformance`).
//!
//! There is one function for each property, and a `suite` for each port that runs them all. A property holds for the
//! worst that the port's documentation allows: messages come twice and in any order, answers are lost, machines appear
//! late. So the same suite runs against the embedded adapters, the simulated ones with all faults on, and AWS; what an
//! adapter did that was legal but unpleasant is counted in the [`Report`], and a stricter adapter's test asserts that the
//! count is zero.
//!
//! A suite repeats a call that answers [`PortError::Retry`](crate::ports::PortError::Retry), as every caller has to. It
//! needs no empty world: it uses names of its own, made from the name of the [`Trial`].

#[macro_use]
mod trial;

pub mod blobs;
pub mod clock;
pub mod fleet;
pub mod parts;
pub mod queue;
pub mod repositories;
pub mod secrets;
pub mod store;

pub use trial::{Report, Trial, Violation};
