//! The ports: what the engine needs of the world. Adapters implement them; no SDK type appears here.
//!
//! Every method may be repeated safely: the caller that did not see an answer asks again with the same arguments.

mod blobs;
mod clock;
mod credentials;
mod error;
mod fleet;
mod forge;
mod outbound;
mod queue;
mod secrets;
mod store;

pub use blobs::{BlobMeta, Blobs, InParts, LEAST_PART, MOST_PARTS, Method, Presigned};
pub use clock::{Clock, Ids};
pub use credentials::{Credential, GitCredentials, NoCredentials};
pub use error::PortError;
pub use fleet::{Fleet, InstanceStatus, InstanceView, LaunchRequest, Launched};
pub use forge::{
    CommitInfo, CommitStatus, DeliveryPage, FileAt, Forge, KnownCheck, ListedDelivery, ListedRef, Permission,
    PullRequest, PullRequestSide, PullRequestState, Repositories, RepositorySource, Shows, StatusState,
};
pub use outbound::Outbound;
pub use queue::{Outgoing, Queue, Received};
pub use secrets::{Found, Secrets};
pub use store::{Expect, Key, Page, Put, Record, Store, Version, Write};
