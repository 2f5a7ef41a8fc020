//! Blobs as files, and signed loopback URLs to them.

mod dir;
mod keys;
mod list;
mod routes;
mod sign;

pub use dir::DirBlobs;
pub use routes::blob_routes;
