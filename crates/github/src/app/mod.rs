//! Authentication as a GitHub App: JSON web tokens for the App itself, tokens of installations for everything else.

mod credentials;
mod inspect;
mod key;
mod tokens;

pub use credentials::AppCredentials;
pub use inspect::{About, Account, EVENTS, Hook, Installed, NewApp, PERMISSIONS, Rate, exchange};
pub use key::{AppKey, KeyError};
pub use tokens::App;
pub(crate) use tokens::{Purpose, Scope};
