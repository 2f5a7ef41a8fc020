//! Repositories through the git command.

mod cat_file;
mod command;
mod mirror;
mod names;
mod repositories;
mod words;

pub use repositories::GitRepositories;
