//! A build while it runs: what changes from look to look, and how people and programs see it.

mod event;
mod follow;
mod lines;
mod reading;
mod screen;
mod view;

pub(crate) use event::Event;
pub(crate) use follow::Follower;
pub(crate) use lines::{Line, Lines};
pub(crate) use reading::Reading;
pub(crate) use view::View;
