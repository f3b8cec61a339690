//! Which requests go through which proxy. Ignition leaves it to Go's `golang.org/x/net/http/httpproxy`,
//! whose rules these are.

use std::net::IpAddr;

use hardway_ignition::operation::Fetching;

use crate::url::Url;

/// The proxy that a URL is asked through; `None`: directly.
pub(crate) fn choose(fetching: &Fetching, url: &Url) -> Option<Url> {
    let proxy = match url.scheme.as_str() {
        "https" => fetching.https_proxy.as_deref(),
        _ => fetching.http_proxy.as_deref(),
    };
    let proxy = proxy.filter(|proxy| !proxy.is_empty())?;
    if is_direct(&fetching.no_proxy, &url.host, url.port_or_default()) {
        return None;
    }
    // A proxy without a scheme is an http proxy.
    Url::parse(proxy).or_else(|| Url::parse(&format!("http://{proxy}")))
}

/// This machine itself is always asked directly.
fn is_direct(exceptions: &[String], host: &str, port: u16) -> bool {
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    exceptions
        .iter()
        .flat_map(|item| item.split(','))
        .map(|item| item.trim().to_ascii_lowercase())
        .any(|item| matches(&item, host, address, port))
}

/// An exception is `*`, a network, an address or a domain; the latter two with or without a port.
fn matches(exception: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if exception == "*" {
        return true;
    }
    if let Some((network, bits)) = network(exception) {
        return address.is_some_and(|address| is_in(address, network, bits));
    }
    let Some((name, wanted_port)) = split_port(exception) else {
        return false;
    };
    if wanted_port.is_some_and(|wanted| wanted != port.to_string()) {
        return false;
    }
    match (name.parse::<IpAddr>(), address) {
        (Ok(excepted), address) => address == Some(excepted),
        (Err(_), Some(_)) => false,
        (Err(_), None) => is_in_domain(host, name),
    }
}

/// `a.b` is the host itself and all below it; `.a.b` and `*.a.b` only what is below.
fn is_in_domain(host: &str, domain: &str) -> bool {
    let below = domain.strip_prefix('*').unwrap_or(domain);
    match below.strip_prefix('.') {
        Some(parent) => !parent.is_empty() && host.ends_with(below),
        None if below.is_empty() => false,
        None => host == below || host.ends_with(&format!(".{below}")),
    }
}

/// The port that follows a name, an IPv4 address, or an IPv6 address in brackets.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']')? {
            (name, "") => (name, None),
            (name, after) => (name, Some(after.strip_prefix(':')?)),
        },
        None => match text.split_once(':') {
            Some((_, rest)) if rest.contains(':') => (text, None),
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    (!name.is_empty()).then_some((name, port.filter(|port| !port.is_empty())))
}

fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.parse().ok().filter(|bits| *bits <= longest)?;
    Some((address, bits))
}

fn is_in(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let differ = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (address.to_bits() ^ network.to_bits()).leading_zeros()
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            (address.to_bits() ^ network.to_bits()).leading_zeros()
        }
        _ => return false,
    };
    differ >= bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(exceptions: &[&str], url: &str, expected: Option<&str>) {
        let fetching = Fetching {
            http_proxy: Some("http://plain:3128".into()),
            https_proxy: Some("secure:3128".into()),
            no_proxy: exceptions.iter().map(|item| item.to_string()).collect(),
            ..Fetching::default()
        };
        let proxy = choose(&fetching, &Url::parse(url).expect("a URL"));
        let host = proxy.map(|proxy| proxy.host);
        assert_eq!(host.as_deref(), expected, "{url} with {exceptions:?}");
    }

    #[test]
    fn the_scheme_chooses_the_proxy() {
        check(&[], "http://example.com/", Some("plain"));
        check(&[], "https://example.com/", Some("secure"));
    }

    #[test]
    fn this_machine_is_never_asked_through_a_proxy() {
        for url in [
            "http://localhost/",
            "http://127.3.4.5:80/",
            "https://[::1]/",
        ] {
            check(&[], url, None);
        }
    }

    #[test]
    fn exceptions_are_asked_directly() {
        for (exception, url, is_direct) in [
            ("*", "http://example.com/", true),
            ("example.com", "http://example.com/", true),
            ("Example.Com ", "http://EXAMPLE.com/", true),
            ("example.com", "http://www.example.com/", true),
            ("example.com", "http://badexample.com/", false),
            (".example.com", "http://example.com/", false),
            (".example.com", "http://www.example.com/", true),
            ("*.example.com", "http://www.example.com/", true),
            ("*.example.com", "http://example.com/", false),
            ("example.com:80", "http://example.com/", true),
            ("example.com:80", "https://example.com/", false),
            ("a, b,example.com", "http://example.com/", true),
            ("10.0.0.1", "http://10.0.0.1/", true),
            ("10.0.0.1:81", "http://10.0.0.1/", false),
            ("10.0.0.1:81", "http://10.0.0.1:81/", true),
            ("10.0.0.0/8", "http://10.9.8.7/", true),
            ("10.0.0.0/8", "http://11.9.8.7/", false),
            ("10.0.0.0/33", "http://10.0.0.0/", false),
            ("fd00::/8", "http://[fd12::1]/", true),
            ("fd12::1", "http://[fd12::1]/", true),
            ("[fd12::1]:80", "http://[fd12::1]/", true),
            ("[fd12::1]:81", "http://[fd12::1]/", false),
            ("0.1", "http://10.0.0.1/", false),
            ("", "http://example.com/", false),
            (":80", "http://example.com/", false),
        ] {
            let proxy = if url.starts_with("https") {
                "secure"
            } else {
                "plain"
            };
            check(&[exception], url, (!is_direct).then_some(proxy));
        }
    }
}
