//! Who asks, and what they may do.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::hub::{App, Hook, Hub, Installation};

/// What a person is given when they make an App.
#[derive(Clone, Debug)]
pub struct AppCredentials {
    /// Its id.
    pub id: u64,
    /// Its private key, PEM.
    pub private_key: String,
    /// What its deliveries are signed with.
    pub webhook_secret: String,
}

/// What a token lets its holder do.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    /// The limit that requests count against.
    pub(crate) lane: String,
    pub(crate) by: By,
    /// In seconds.
    pub(crate) expires: i64,
}

#[derive(Clone, Debug)]
pub(crate) enum By {
    /// An App for itself: the JSON web token.
    App(u64),
    Installation {
        app: u64,
        installation: u64,
        repositories: BTreeSet<u64>,
        permissions: BTreeMap<String, String>,
    },
    Person(String),
}

/// Why a credential is refused, in GitHub's words.
pub(crate) struct Refused(pub(crate) u16, pub(crate) &'static str);

const UNDECODABLE: Refused = Refused(401, "A JSON web token could not be decoded");

/// Longest that a JSON web token may be valid, in seconds.
const LONGEST: i64 = 600;

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + "-----END PRIVATE KEY-----\n"
}

impl Hub {
    /// A person makes an App. Making a key takes some tenths of a second.
    ///
    /// # Panics
    /// No key can be made.
    pub fn make_app(&mut self, owner: &str, name: &str, hook_url: &str, wanted: &Value) -> AppCredentials {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap_or_else(|_| panic!("no RSA key can be made"));
        let der: Pkcs8V1Der<'_> = key.as_der().unwrap_or_else(|_| panic!("an RSA key cannot be written"));
        let private_key = pem(der.as_ref());
        let (id, hook) = (self.fresh(), self.fresh());
        let webhook_secret = format!("hook-secret-{id:x}-of-{name}");
        let permissions = wanted["default_permissions"].as_object().map(|map| {
            map.iter().map(|(name, level)| (name.clone(), level.as_str().unwrap_or_default().to_owned())).collect()
        });
        let events: Vec<String> = wanted["default_events"]
            .as_array()
            .map_or_else(Vec::new, |all| all.iter().filter_map(|event| event.as_str().map(str::to_owned)).collect());
        let mut permissions: BTreeMap<String, String> = permissions.unwrap_or_default();
        permissions.insert("metadata".to_owned(), "read".to_owned());
        let app = App {
            id,
            slug: name.to_ascii_lowercase().replace(' ', "-"),
            name: name.to_owned(),
            client_id: format!("Iv23li{id:08x}"),
            owner: owner.to_owned(),
            public_key: key.public_key().as_ref().to_vec(),
            permissions,
            events: events.clone(),
            hook,
        };
        self.person(owner);
        self.apps.insert(id, app);
        self.hooks.insert(
            hook,
            Hook {
                id: hook,
                app: Some(id),
                repository: None,
                url: hook_url.to_owned(),
                secret: webhook_secret.clone(),
                content_type: "json".to_owned(),
                events,
            },
        );
        AppCredentials { id, private_key, webhook_secret }
    }

    /// A person installs an App on some repositories of an account, or on all. Returns the installation.
    pub fn install(&mut self, now: u64, app: u64, account: &str, repositories: Option<&[u64]>) -> u64 {
        let id = self.fresh();
        let permissions = self.apps.get(&app).map(|app| app.permissions.clone()).unwrap_or_default();
        let installation = Installation {
            id,
            app,
            account: account.to_owned(),
            repositories: repositories.map(|all| all.iter().copied().collect()),
            permissions,
            suspended: false,
        };
        self.installations.insert(id, installation);
        self.tell_of_installation(now, id, "created");
        id
    }

    /// A person takes an App away.
    pub fn uninstall(&mut self, now: u64, installation: u64) {
        self.tell_of_installation(now, installation, "deleted");
        self.installations.remove(&installation);
    }

    /// An installation is suspended, or not any more.
    pub fn suspend(&mut self, now: u64, installation: u64, suspended: bool) {
        if let Some(known) = self.installations.get_mut(&installation) {
            known.suspended = suspended;
        }
        self.tell_of_installation(now, installation, if suspended { "suspend" } else { "unsuspend" });
    }

    /// The owner takes a permission from an App, or gives it: `level` is `read` or `write`.
    pub fn permit(&mut self, app: u64, permission: &str, level: Option<&str>) {
        let all = self.installations.values_mut().filter(|i| i.app == app).map(|i| &mut i.permissions);
        for permissions in all.chain(self.apps.get_mut(&app).map(|app| &mut app.permissions)) {
            match level {
                Some(level) => permissions.insert(permission.to_owned(), level.to_owned()),
                None => permissions.remove(permission),
            };
        }
    }

    /// A person makes a token of their own, valid for a year.
    pub fn personal_token(&mut self, now: u64, login: &str) -> String {
        self.person(login);
        let token = format!("ghp_{:036}", self.fresh());
        let grant = Grant {
            lane: format!("person/{login}"),
            by: By::Person(login.to_owned()),
            expires: self.clock(now) + 365 * 24 * 3_600,
        };
        self.tokens.insert(token.clone(), grant);
        token
    }

    /// Every token that was given out so far: none of them may be seen anywhere.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.keys().map(String::as_str)
    }

    /// Revokes every token, as GitHub does when it finds one in public.
    pub fn revoke_tokens(&mut self) {
        self.tokens.clear();
    }

    pub(crate) fn grant(&self, now: u64, authorization: Option<&str>) -> Result<Grant, Refused> {
        let token =
            authorization.and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("token ")));
        let token = token.ok_or(Refused(401, "Requires authentication"))?;
        if token.matches('.').count() == 2 {
            return self.app_of(now, token);
        }
        let known = self.tokens.get(token).filter(|grant| grant.expires > self.clock(now));
        let grant = known.ok_or(Refused(401, "Bad credentials"))?;
        if let By::Installation { installation, .. } = &grant.by {
            let known = self.installations.get(installation).ok_or(Refused(401, "Bad credentials"))?;
            if known.suspended {
                return Err(Refused(403, "This installation has been suspended"));
            }
        }
        Ok(grant.clone())
    }

    fn app_of(&self, now: u64, token: &str) -> Result<Grant, Refused> {
        let decode = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| UNDECODABLE)?;
            serde_json::from_slice::<Value>(&bytes).map_err(|_| UNDECODABLE)
        };
        let (signed, signature) = token.rsplit_once('.').ok_or(UNDECODABLE)?;
        let (head, claims) = signed.split_once('.').ok_or(UNDECODABLE)?;
        let (head, claims) = (decode(head)?, decode(claims)?);
        if head["alg"] != "RS256" {
            return Err(UNDECODABLE);
        }
        let issuer = match &claims["iss"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let app = self.apps.values().find(|app| app.client_id == issuer || app.id.to_string() == issuer);
        let app = app.ok_or(Refused(404, "Integration not found"))?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| UNDECODABLE)?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &app.public_key)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| UNDECODABLE)?;
        let clock = self.clock(now);
        let (Some(issued), Some(expires)) = (claims["iat"].as_i64(), claims["exp"].as_i64()) else {
            return Err(Refused(401, "Missing 'issued at' claim ('iat') in assertion"));
        };
        if issued > clock {
            let why =
                "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued";
            return Err(Refused(401, why));
        }
        if expires <= clock {
            let why = "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the \
                       assertion expires";
            return Err(Refused(401, why));
        }
        if expires > clock + LONGEST {
            return Err(Refused(401, "'Expiration time' claim ('exp') is too far in the future"));
        }
        Ok(Grant { lane: format!("app/{}", app.id), by: By::App(app.id), expires })
    }
}

impl By {
    /// Whether a permission of at least this level was granted. People may whatever their role lets them, and no checks.
    pub(crate) fn may(&self, permission: &str, level: &str) -> bool {
        match self {
            By::App(_) => false,
            By::Person(_) => permission != "checks" || level == "read",
            By::Installation { permissions, .. } => permissions
                .get(permission)
                .is_some_and(|granted| granted == level || granted == "write" || granted == "admin"),
        }
    }
}
