//! What `tidegate github` and `tidegate deliveries` take.

use clap::{Args, Subcommand};
use tidegate_core::ids::DeliveryId;

#[derive(Debug, Subcommand)]
pub(crate) enum GitHubCommand {
    /// Make an App at GitHub: opens a page with what it needs, and keeps its id, key and secret
    Setup(Setup),
    /// Look whether everything at GitHub is right, and say what to do where it is not
    Doctor,
    /// Change the webhook secret, here and at GitHub, so that no delivery is refused
    RotateSecret(RotateSecret),
}

#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// What the App is called; GitHub wants a name that nobody else has
    #[arg(long, value_name = "NAME", default_value = "Tidegate")]
    pub(crate) name: String,
    /// The organization that owns it [default: yourself]
    #[arg(long, value_name = "ORG")]
    pub(crate) org: Option<String>,
    /// Where GitHub reaches this server; without it there are no webhooks, and only moved branches are noticed
    #[arg(long, value_name = "URL")]
    pub(crate) webhook_url: Option<String>,
    /// The API of an enterprise server, `https://HOST/api/v3` [default: the configuration's, or GitHub's]
    #[arg(long, value_name = "URL")]
    pub(crate) api_url: Option<String>,
    /// The port of the page on loopback [default: any]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub(crate) port: u16,
    /// Only print the page's address
    #[arg(long)]
    pub(crate) no_browser: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Deliveries {
    /// List those of the last three days, newest first
    List {
        /// How many
        #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        /// Only those that did not arrive
        #[arg(long)]
        failed: bool,
    },
    /// Show one of them
    Show {
        /// `X-GitHub-Delivery`, as GitHub and the log show it
        guid: DeliveryId,
    },
    /// Ask GitHub for one that did not arrive. The server does so by itself every five minutes
    Replay {
        /// `X-GitHub-Delivery`, as GitHub and the log show it
        guid: DeliveryId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RotateSecret {
    /// Do not accept the secret before this one any more
    #[arg(long)]
    pub(crate) finish: bool,
}
