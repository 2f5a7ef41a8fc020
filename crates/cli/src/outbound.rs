//! Requests to addresses that pipelines and owners name, for notifications.
//!
//! Whoever can push to a repository can name an address. So that nobody reaches what only this machine reaches (the cloud's
//! metadata service, for example), addresses of private networks are refused unless the owner allows them, and what was
//! checked is what is connected to. Redirects are not followed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::{StatusCode, Url, redirect};
use tidegate_engine::ports::{Outbound, PortError};

/// Posts over HTTP.
pub(crate) struct HttpOutbound {
    /// Addresses of private networks may be posted to.
    pub(crate) allow_private: bool,
}

impl fmt::Debug for HttpOutbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOutbound").field("allow_private", &self.allow_private).finish()
    }
}

/// Whether an address is one that everybody reaches.
fn is_public(address: IpAddr) -> bool {
    let v4 = |a: Ipv4Addr| {
        let [first, second, ..] = a.octets();
        let shared = first == 100 && (64..128).contains(&second);
        !(a.is_loopback()
            || a.is_private()
            || a.is_link_local()
            || a.is_unspecified()
            || a.is_multicast()
            || a.is_broadcast()
            || a.is_documentation()
            || shared
            || first == 0)
    };
    match address {
        IpAddr::V4(a) => v4(a),
        IpAddr::V6(a) => match a.to_ipv4() {
            Some(a) => v4(a),
            None => {
                let first = a.segments()[0];
                let unique_local = first & 0xfe00 == 0xfc00;
                let link_local = first & 0xffc0 == 0xfe80;
                !(a.is_loopback() || a.is_unspecified() || a.is_multicast() || unique_local || link_local)
            }
        },
    }
}

impl HttpOutbound {
    /// The host and where it is.
    async fn locate(&self, url: &Url) -> Result<(String, Vec<SocketAddr>), PortError> {
        if !matches!(url.scheme(), "https" | "http") {
            return Err(PortError::reject("the address is not one of the web"));
        }
        let host = url.host_str().ok_or_else(|| PortError::reject("the address names no host"))?.to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::net::lookup_host((bare, port))
            .await
            .map_err(|error| PortError::retry(format!("`{host}` cannot be found: {error}")))?;
        let addresses: Vec<SocketAddr> =
            found.filter(|address| self.allow_private || is_public(address.ip())).collect();
        if addresses.is_empty() {
            return Err(PortError::reject(format!(
                "`{host}` is in a private network: `[notify] allow_private = true` lets requests go there"
            )));
        }
        Ok((host, addresses))
    }
}

#[async_trait]
impl Outbound for HttpOutbound {
    async fn post(&self, url: &str, headers: Vec<(String, String)>, body: Bytes) -> Result<(), PortError> {
        let url = Url::parse(url).map_err(|_| PortError::reject("the address cannot be read"))?;
        let (host, addresses) = self.locate(&url).await?;
        let client = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(15))
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .resolve_to_addrs(&host, &addresses)
            .build()
            .map_err(|error| PortError::retry(error.without_url().to_string()))?;
        let mut request = client.post(url).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| {
            let why = if error.is_timeout() { "does not answer in time" } else { "cannot be reached" };
            PortError::retry(format!("`{host}` {why}"))
        })?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status @ (StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS) => {
                Err(PortError::retry(format!("`{host}` answers {status}")))
            }
            status if status.is_server_error() => Err(PortError::retry(format!("`{host}` answers {status}"))),
            status => Err(PortError::reject(format!("`{host}` answers {status}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        for (text, public) in [
            ("93.184.216.34", true),
            ("2606:2800:220:1::1", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.100.0.1", false),
            ("0.0.0.0", false),
            ("::1", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("::ffff:169.254.169.254", false),
        ] {
            let address: Result<IpAddr, _> = text.parse();
            assert_eq!(address.map(is_public), Ok(public), "{text}");
        }
    }
}
