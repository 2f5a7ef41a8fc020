//! `tidegate github rotate-secret`.

use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde_json::json;

use super::app_of;
use crate::args::{Global, RotateSecret};
use crate::commands::deliver::{Delivery, fresh_guid, webhook_url};
use crate::commands::load;
use crate::exit::{self, Expected};
use crate::out;

/// How long the server may take to accept a new secret.
const PATIENCE: Duration = Duration::from_secs(30);

/// Changes the secret so that at every moment the server accepts what GitHub signs with: the server first, then GitHub, and the
/// old one is accepted on.
pub(super) async fn run(global: &Global, arguments: &RotateSecret) -> anyhow::Result<u8> {
    let config = load(global)?;
    let files = config.webhook.as_ref().and_then(|webhook| webhook.files.clone()).ok_or_else(|| {
        Expected::usage(
            "the webhook secret stands in the configuration: move it to a file, and name that with `secret_file`",
        )
    })?;
    if arguments.finish {
        let was = files.forget_previous()?;
        let words = if was { "the old secret is not accepted any more" } else { "there is no old secret" };
        say(global, json!({ "state": "finished", "removed": was }), words)?;
        return Ok(exit::DONE);
    }
    let app = app_of(&config)?;
    let fresh = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
    let secret = files.propose(SecretString::from(fresh))?;
    wait_until_accepted(global, &secret).await?;
    app.set_hook_secret(&secret).await?;
    files.adopt()?;
    let words = format!(
        "the webhook secret is changed, here and at GitHub; no delivery was refused meanwhile.\n\
         Deliveries that are still on their way may be signed with the old one, which is kept in `{}` and accepted.\n\
         `tidegate github rotate-secret --finish` ends that, in an hour or whenever you like.",
        files.previous.display()
    );
    say(
        global,
        json!({ "state": "changed", "secret_file": files.current, "previous_secret_file": files.previous }),
        &words,
    )?;
    Ok(exit::DONE)
}

fn say(global: &Global, value: serde_json::Value, words: &str) -> anyhow::Result<()> {
    if global.json { out::json(&value) } else { out::line(words) }
}

/// Greets the server as GitHub would, until it knows the secret.
async fn wait_until_accepted(global: &Global, secret: &SecretString) -> anyhow::Result<()> {
    let url = webhook_url(global).await?;
    let body = json!({ "zen": "Is the new secret known?", "hook_id": 1 }).to_string().into_bytes();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let guid = fresh_guid();
        let delivery = Delivery { url: &url, event: "ping", guid: &guid, body: body.clone() };
        if (200..300).contains(&delivery.send(secret).await?.status) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Expected::unreachable(format!(
                "the server at {url} does not accept the new secret: does it read the same `secret_file`? GitHub has been told \
                 nothing, and goes on with the old one"
            )));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
