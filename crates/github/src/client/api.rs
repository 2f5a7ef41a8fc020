//! Requests to GitHub's REST API: where they go, what they carry, which redirects are followed.

use std::fmt;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LINK, LOCATION, USER_AGENT};
use reqwest::{Method, StatusCode, Url, redirect};
use serde::de::DeserializeOwned;
use tidegate_engine::ports::{PortError, RepositorySource};

use super::SetUpError;
use super::answer::{Refusal, Wish, causes, header};

/// The version of the API that this client is written for.
const API_VERSION: &str = "2022-11-28";
/// How many redirects are followed.
const REDIRECTS: usize = 3;
/// Largest answer that is read, in bytes: a hundred deliveries or check runs are far below.
const ANSWER_LIMIT: usize = 16 << 20;

/// An API at a configured address.
#[derive(Clone)]
pub(crate) struct Api {
    base: Url,
    client: reqwest::Client,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// A request, ready to be sent with any credential.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: Method,
    url: Url,
    body: Option<Vec<u8>>,
}

impl Call {
    /// With this body.
    pub(crate) fn json(mut self, body: &impl serde::Serialize) -> Result<Self, PortError> {
        self.body = Some(serde_json::to_vec(body).map_err(|error| PortError::fatal(error.to_string()))?);
        Ok(self)
    }
}

impl Call {
    /// With this in the query.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }
}

impl Api {
    pub(crate) fn new(base: Url) -> Result<Self, SetUpError> {
        let clean = matches!(base.scheme(), "http" | "https")
            && base.has_host()
            && base.username().is_empty()
            && base.password().is_none()
            && base.query().is_none()
            && base.fragment().is_none();
        if !clean {
            let mut named = base;
            // Both fail only for addresses that can hold neither.
            let _ = named.set_username("");
            let _ = named.set_password(None);
            return Err(SetUpError::Base(named.to_string()));
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION"))));
        headers.insert("x-github-api-version", HeaderValue::from_static(API_VERSION));
        let client = reqwest::Client::builder()
            .default_headers(headers)
            // Followed by hand: which ones may be depends on the method.
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(20))
            .build()?;
        Ok(Self { base, client })
    }

    /// A request below the base; segments are escaped.
    pub(crate) fn call(&self, method: Method, segments: &[&str]) -> Call {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Call { method, url, body: None }
    }

    /// A request about a repository.
    pub(crate) fn of_repository(
        &self,
        method: Method,
        repository: &RepositorySource,
        segments: &[&str],
    ) -> Result<Call, PortError> {
        let Some((owner, name)) = repository.full_name.as_str().split_once('/') else {
            return Err(PortError::reject(format!("`{}` is not `owner/name`", repository.full_name)));
        };
        let mut path = vec!["repos", owner, name];
        path.extend(segments);
        Ok(self.call(method, &path))
    }

    /// Sends it, with an authorization unless that is empty; `Ok(Err(_))` is an answer other than success. Redirects are followed on this host only, and only those that
    /// keep the method (`spec/security.md` S6): 301 and 302 turn a POST into a GET, so only a GET follows them.
    pub(crate) async fn send(
        &self,
        wish: Wish<'_>,
        call: Call,
        authorization: &HeaderValue,
    ) -> Result<Result<reqwest::Response, Refusal>, PortError> {
        let mut url = call.url;
        for hop in 0.. {
            let mut request = self.client.request(call.method.clone(), url.clone());
            if !authorization.is_empty() {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            if let Some(body) = &call.body {
                request = request
                    .header(reqwest::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
                    .body(body.clone());
            }
            let answer = request.send().await.map_err(|error| {
                PortError::retry(format!("{}: GitHub was not reached: {}", wish.what, causes(&error)))
            })?;
            if answer.status().is_success() {
                return Ok(Ok(answer));
            }
            match followed(&call.method, &answer).filter(|_| hop < REDIRECTS) {
                Some(to) => url = to,
                None => return Ok(Err(Refusal::read(answer).await)),
            }
        }
        Err(PortError::fatal("no request was sent"))
    }

    /// The body of an answer.
    pub(crate) async fn read<T: DeserializeOwned>(
        wish: Wish<'_>,
        mut answer: reqwest::Response,
    ) -> Result<T, PortError> {
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_LIMIT => body.extend_from_slice(&chunk),
                Ok(Some(_)) => return Err(PortError::reject(format!("{}: the answer is too large", wish.what))),
                Ok(None) => break,
                Err(error) => {
                    return Err(PortError::retry(format!("{}: the answer broke off: {}", wish.what, causes(&error))));
                }
            }
        }
        serde_json::from_slice(&body)
            .map_err(|error| PortError::reject(format!("{}: GitHub's answer cannot be read: {error}", wish.what)))
    }
}

/// Where an answer points to, if we may go there.
fn followed(method: &Method, answer: &reqwest::Response) -> Option<Url> {
    let keeps_method = match answer.status() {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => *method == Method::GET,
        _ => false,
    };
    let mut to = answer.url().join(header(answer.headers(), LOCATION.as_str())?).ok()?;
    if to.query().is_none() {
        // Which page, for one: the new address is that of the thing.
        to.set_query(answer.url().query());
    }
    (keeps_method && to.origin() == answer.url().origin()).then_some(to)
}

/// By what the next page of a list is asked for: the value of this parameter in the address of `rel="next"`.
pub(crate) fn next_page(headers: &HeaderMap, parameter: &str) -> Option<String> {
    let links = header(headers, LINK.as_str())?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    let address = next.split_once('<')?.1.split_once('>')?.0;
    // Only this is taken of it: addresses are made here.
    let url = Url::parse(address).ok()?;
    url.query_pairs().find(|(name, _)| name == parameter).map(|(_, value)| value.into_owned())
}
