#![doc = include_str!("../README.md")]

mod auth;
mod deliveries;
mod hub;
mod limits;
mod people;
mod rest;
#[cfg(feature = "serve")]
mod serve;

pub use auth::AppCredentials;
pub use deliveries::{Delivery, Outgoing};
pub use hub::{Annotation, CheckRun, Fault, Hub, Issue, Pull, Repository, Status};
pub use limits::{Limits, Usage};
pub use people::{Head, Shown};
pub use rest::{Answer, Request, Seen};
#[cfg(feature = "serve")]
pub use serve::Server;
