//! What is asked for, and the answer.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};

use super::Server;
use super::auth::Admission;
use super::peers::Peer;
use super::scraper::{Asked, NoAnswer};
use crate::metrics::Format;

const PLAIN: &str = "text/plain; charset=utf-8";
const PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><title>fwctl</title></head><body><h1>fwctl</h1><ul>\n\
    <li><a href=\"/metrics\">/metrics</a>: counters for Prometheus</li>\n\
    <li><a href=\"/healthz\">/healthz</a>: whether packets are filtered</li>\n</ul></body></html>\n";

type Body = Response<Full<Bytes>>;

pub(super) async fn answer(
    server: &Server,
    peer: &Peer,
    request: Request<Incoming>,
) -> Result<Body, Infallible> {
    let response = made(server, peer, &request).await;
    server.scraper.daemon().answered(response.status().as_u16());
    Ok(response)
}

async fn made(server: &Server, peer: &Peer, request: &Request<Incoming>) -> Body {
    if let Some(web) = &server.web {
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        match web.current(&server.notes).users.admit(header, peer.address()).await {
            Admission::Admitted => {}
            Admission::Refused => {
                let mut response =
                    response(StatusCode::UNAUTHORIZED, PLAIN, "a user and a password are needed\n");
                let realm = HeaderValue::from_static("Basic realm=\"fwctl\", charset=\"UTF-8\"");
                response.headers_mut().insert(WWW_AUTHENTICATE, realm);
                return response;
            }
            Admission::Later(wait) => {
                server.notes.guesses(peer.name());
                let text = "too many passwords were tried, come again later\n";
                let mut response = response(StatusCode::TOO_MANY_REQUESTS, PLAIN, text);
                let seconds = HeaderValue::from(wait.as_secs_f64().ceil() as u64);
                response.headers_mut().insert(RETRY_AFTER, seconds);
                return response;
            }
        }
    }
    let asked = match request.uri().path() {
        "/metrics" => Some(Asked::Metrics(negotiated(request.headers()))),
        "/healthz" => Some(Asked::Health),
        "/" => None,
        _ => return response(StatusCode::NOT_FOUND, PLAIN, "there are /metrics and /healthz\n"),
    };
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "GET and HEAD are allowed\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let Some(asked) = asked else {
        return response(StatusCode::OK, "text/html; charset=utf-8", PAGE);
    };
    let content_type = match asked {
        Asked::Metrics(format) => format.content_type(),
        Asked::Health => PLAIN,
    };
    let answer = server.scraper.answer(asked).await;
    if let Some(why) = server.scraper.daemon().unreadable() {
        server.notes.trouble("unreadable", &why);
    }
    match answer {
        Ok(text) => response(StatusCode::OK, content_type, text),
        Err(NoAnswer::TimedOut) => {
            server.notes.trouble("timeout", "what is loaded could not be read in time");
            let text = "what is loaded could not be read in time\n";
            response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, text)
        }
        Err(NoAnswer::Failed(why)) => {
            let status = match asked {
                Asked::Metrics(_) => StatusCode::INTERNAL_SERVER_ERROR,
                Asked::Health => StatusCode::SERVICE_UNAVAILABLE,
            };
            response(status, PLAIN, format!("{why}\n"))
        }
    }
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Body {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The format that is wanted most, the first of those that are wanted equally; the text format for whoever wants neither.
fn negotiated(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges = accepted.flat_map(|value| value.split(',')).filter_map(wanted);
    let best = ranges.fold(None, |best: Option<(Format, f32)>, (format, quality)| match best {
        Some((_, most)) if most >= quality => best,
        _ => Some((format, quality)),
    });
    best.map_or(Format::Text, |(format, _)| format)
}

/// A media range that is one of our formats, and how much it is wanted; `None` of others.
fn wanted(range: &str) -> Option<(Format, f32)> {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    let (mut quality, mut version) = (1.0, None);
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        match key.trim().to_ascii_lowercase().as_str() {
            "q" => quality = value.trim().parse().unwrap_or(0.0),
            "version" => version = Some(value.trim().trim_matches('"')),
            _ => {}
        }
    }
    let format = match (kind.as_str(), version) {
        ("application/openmetrics-text", None | Some("1.0.0")) => Format::OpenMetrics,
        ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Format::Text,
        _ => return None,
    };
    (quality > 0.0).then_some((format, quality))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_is_wanted_most() {
        let of = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            negotiated(&headers)
        };
        // Prometheus 2.5x and 3.
        let asks_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let asks_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
            text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for accept in [asks_2, asks_3, "Application/OpenMetrics-Text; Version=\"1.0.0\""] {
            assert_eq!(of(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html,*/*;q=0.8",
            "text/plain",
            "text/plain;version=0.0.4,application/openmetrics-text",
            "application/openmetrics-text;version=2.0.0,text/plain;q=0.1",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=x",
            "image/png",
            ";;;,,,=",
        ] {
            assert_eq!(of(accept), Format::Text, "{accept}");
        }
        assert_eq!(negotiated(&HeaderMap::new()), Format::Text);
    }
}
