//! Shallow and partial checkouts from the server itself, on a machine that has no mirror of the repository: what a
//! pipeline with `depth` or `--filter` wants is not to wait for all of it.

use super::persistence::Persistence;
use super::{CheckoutError, TryTo, workspace};
use tidegate_git::words::{Trouble, judge};

impl TryTo<'_> {
    /// From the server, without a mirror.
    pub(super) async fn directly(&self) -> Result<(), CheckoutError> {
        let checkout = &self.git.dir.checkout;
        self.git.log.say(format!("Fetching {}", self.wanted.url)).await;
        let mut persistence = Persistence::new(self.git.log, &self.wanted.url);
        loop {
            let Err(why) = self.once().await else {
                return Ok(());
            };
            workspace::clear(checkout)
                .map_err(|e| CheckoutError::Failed(format!("cannot clear `{}`: {e}", checkout.display())))?;
            persistence.after(why).await?;
        }
    }

    async fn once(&self) -> Result<(), String> {
        let checkout = &self.git.dir.checkout;
        let setup = self.setup();
        workspace::prepare(checkout, &setup).map_err(|e| format!("cannot prepare `{}`: {e}", checkout.display()))?;
        let depth = self.options.depth;
        let filter = self.options.filter.as_deref();
        // Named `origin`, so that git knows where to get what the filter left out.
        if depth.is_none() {
            let everything = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
            self.fetch("origin", &everything, None, filter).await?;
        }
        match self.fetch("origin", &[self.commit.as_str()], depth, filter).await {
            Ok(()) => {}
            Err(why) if judge(&why) == Trouble::Unadvertised => {
                let Some(name) = self.wanted.git_ref.as_deref() else {
                    return Err(why);
                };
                // By its ref, which may have moved on: then the commit is not within the depth.
                self.fetch("origin", &[name], depth, filter).await?;
                let object = format!("{}^{{commit}}", self.commit);
                self.git.run(checkout, &["cat-file", "-e", &object]).await.map_err(|_| why)?;
            }
            Err(why) => return Err(why),
        }
        if depth.is_some() {
            workspace::only_ref(checkout, &setup)
                .map_err(|e| format!("cannot write to `{}`: {e}", checkout.display()))?;
        }
        self.files().await
    }

    /// Fetches into the workspace.
    pub(super) async fn fetch(
        &self,
        source: &str,
        refs: &[&str],
        depth: Option<u32>,
        filter: Option<&str>,
    ) -> Result<(), String> {
        let mut args: Vec<String> =
            ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"].map(str::to_owned).into();
        args.extend(depth.map(|depth| format!("--depth={depth}")));
        args.extend(filter.map(|filter| format!("--filter={filter}")));
        let url = if source == "origin" { &self.wanted.url } else { source };
        if tidegate_git::names::is_local(url) {
            // A directory of this machine may belong to somebody else, and is asked for a commit by its id.
            let config = "-c 'safe.directory=*' -c uploadpack.allowAnySHA1InWant=true -c uploadpack.allowFilter=true";
            args.push(format!("--upload-pack=git {config} upload-pack"));
        }
        args.extend(["--".to_owned(), source.to_owned()]);
        args.extend(refs.iter().map(|&name| name.to_owned()));
        self.git.run(&self.git.dir.checkout, &args).await.map(drop)
    }
}
