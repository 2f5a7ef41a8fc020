//! Blobs as files, and signed loopback URLs to them.

mod dir;
mod keys;
mod list;
mod parts;
mod routes;
mod sign;
mod upload;

pub use dir::DirBlobs;
pub use routes::blob_routes;
