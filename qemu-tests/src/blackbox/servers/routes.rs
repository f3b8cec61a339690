//! What the HTTP server on port 8080 serves: a config, contents, certificates, and which request
//! headers it insists on.

use std::sync::Arc;

use super::super::certificates::{Authorities, gzip};
use super::super::corpus::Behaviour;
use super::http::{Request, Response};

/// The newest stable spec asks for itself; what is older or newer is taken, too.
const ACCEPTED: &str = "application/vnd.coreos.ignition+json;version=3.6.0, */*;q=0.1";
/// What a program in Ignition's place calls itself starts so.
const AGENT: &str = "Ignition/";

/// The bodies.
pub struct Routes {
    config: Vec<u8>,
    contents: Vec<u8>,
    certificates: Vec<u8>,
    bundle: Vec<u8>,
}

impl Routes {
    /// As the corpus describes them, with our certificates.
    pub fn new(described: &Behaviour, authorities: &Arc<Authorities>) -> Self {
        let [first, _] = &authorities.authorities;
        Self {
            config: described.config_body.clone().into(),
            contents: described.contents_body.clone().into(),
            certificates: first.pem.clone().into(),
            bundle: authorities.bundle().into(),
        }
    }

    /// Answers one request.
    pub fn answer(&self, request: &Request) -> Response {
        let path = request.target.trim_start_matches('/');
        let (name, variant) = path.split_once('_').unwrap_or((path, ""));
        let body = match name {
            "config" => &self.config,
            "contents" | "contents2" => &self.contents,
            "certificates" => &self.certificates,
            "caBundle" if variant.is_empty() => &self.bundle,
            _ => return Response::status(404),
        };
        let is_right = match variant {
            "" => true,
            "compressed" => return Response::ok(gzip(body)),
            "headers" => has_usual_headers(request),
            "headers_redirect" => {
                let there = format!("http://127.0.0.1:8080/{name}_headers_redirected");
                return Response {
                    location: Some(there),
                    ..Response::status(302)
                };
            }
            "headers_redirected" => {
                request.header("X-Auth").is_none() && request.header("Keep-Alive").is_none()
            }
            "headers_overwrite" => has_overwritten_headers(request),
            _ => return Response::status(404),
        };
        match is_right {
            true => Response::ok(body.clone()),
            false => Response::status(400),
        }
    }
}

fn has_usual_headers(request: &Request) -> bool {
    request.header("X-Auth") == Some("r8ewap98gfh4d8")
        && request.header("Keep-Alive") == Some("300")
        && request.header("Accept") == Some(ACCEPTED)
        && request.header("Accept-Encoding") == Some("identity")
        && request
            .header("User-Agent")
            .is_some_and(|agent| agent.starts_with(AGENT))
}

fn has_overwritten_headers(request: &Request) -> bool {
    request.header("Keep-Alive") == Some("1000")
        && request.header("Accept") == Some("application/json")
        && request.header("Accept-Encoding") == Some("identity, compress")
        && request.header("User-Agent") == Some("MyUA")
}

#[cfg(test)]
mod tests {
    use super::super::super::corpus::Fixtures;
    use super::*;

    #[test]
    fn bodies_and_headers() {
        let authorities = Arc::new(Authorities::new(&Fixtures::default()).unwrap());
        let described = Behaviour {
            config_body: "{}".to_owned(),
            contents_body: "a\nb".to_owned(),
        };
        let routes = Routes::new(&described, &authorities);
        let ask =
            |path: &str, headers: &[(&str, &str)]| routes.answer(&Request::new(path, headers));
        assert_eq!(ask("/config", &[]), Response::ok("{}"));
        assert_eq!(ask("/contents2", &[]), Response::ok("a\nb"));
        assert_eq!(ask("/caBundle", &[]), Response::ok(authorities.bundle()));
        assert_eq!(ask("/asdf", &[]).status, 404);
        assert_eq!(ask("/config_headers", &[]).status, 400);
        let usual = [
            ("x-auth", "r8ewap98gfh4d8"),
            ("keep-alive", "300"),
            ("accept", ACCEPTED),
            ("accept-encoding", "identity"),
            ("user-agent", "Ignition/2.26.0"),
        ];
        assert_eq!(ask("/config_headers", &usual), Response::ok("{}"));
        assert_eq!(ask("/config_headers_redirect", &[]).status, 302);
        assert_eq!(ask("/config_headers_redirected", &usual).status, 400);
        assert_eq!(ask("/config_headers_redirected", &[]).status, 200);
        assert_eq!(ask("/config_headers_overwrite", &usual).status, 400);
    }
}
