//! Repositories through the git command.

mod cat_file;
mod command;
mod mirror;
mod repositories;

pub use repositories::GitRepositories;
