//! Protection against other pages: headers of every answer, the origin of every change, and the target after
//! sign-in.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

const CSP: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'",
);
const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Puts the headers on every answer, and refuses changes that another site's page sends.
pub async fn guard(request: Request, next: Next) -> Response {
    let mut response = if is_change(request.method()) && is_foreign(request.headers(), request.uri()) {
        (StatusCode::FORBIDDEN, "The request comes from a page of another site.\n").into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, CSP);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // Not to other sites; a page of our own that shows where a form came from is fine.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(OPENER, HeaderValue::from_static("same-origin"));
    headers.insert(RESOURCE, HeaderValue::from_static("same-origin"));
    headers.insert(PERMISSIONS, HeaderValue::from_static("camera=(), geolocation=(), microphone=()"));
    // Only signed-in readers may see pages, and the browser's history must not show a created key again.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn is_change(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// Whether the browser reports that another site's page made the request. Programs report nothing; they have
/// no cookie that a page could misuse.
pub fn is_foreign(headers: &HeaderMap, uri: &Uri) -> bool {
    if headers.get(FETCH_SITE).is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")) {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    // HTTP/2 has the host in the URL.
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(Authority::as_str));
    let (Ok(origin), Some(host)) = (origin.to_str(), host) else { return true };
    origin.split_once("://").is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host))
}

/// The target after sign-in: a page of the dashboard, or its start.
pub fn next_page(asked: Option<&str>) -> &str {
    let is_ours = |path: &&str| {
        let rest = path.strip_prefix("/ui");
        let is_page = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        is_page
            && !path.contains("//")
            && !path.contains('\\')
            && path.bytes().all(|byte| byte.is_ascii_graphic())
            && !path.starts_with("/ui/login")
            && !path.starts_with("/ui/logout")
    };
    asked.filter(is_ours).unwrap_or("/ui")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sign_in_leads_only_to_our_own_pages() {
        for ours in ["/ui", "/ui/requests?q=model:x", "/ui/projects/a"] {
            assert_eq!(next_page(Some(ours)), ours);
        }
        for other in [
            "https://evil.example/",
            "//evil.example",
            "/\\evil.example",
            "/ui//evil.example",
            "/uix",
            "/ui.evil.example",
            "/ui/\\evil",
            "/ui/\n",
            "/v1/models",
            "javascript:alert(1)",
            "",
            "/ui/login?next=/ui",
            "/ui/logout",
        ] {
            assert_eq!(next_page(Some(other)), "/ui", "{other:?}");
        }
        assert_eq!(next_page(None), "/ui");
    }

    #[test]
    fn changes_of_other_sites_are_detected_by_headers_of_the_browser() {
        let headers = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
            });
            pairs.collect::<HeaderMap>()
        };
        for own in [
            &[("host", "g:4000")][..],
            &[("host", "g:4000"), ("origin", "http://g:4000"), ("sec-fetch-site", "same-origin")],
            &[("host", "g"), ("origin", "https://G")],
        ] {
            assert!(!is_foreign(&headers(own), &Uri::default()), "{own:?}");
        }
        for other in [
            &[("host", "g:4000"), ("origin", "http://evil.example")][..],
            &[("host", "g:4000"), ("origin", "null")],
            &[("host", "g:4000"), ("origin", "http://g:4001")],
            &[("host", "g:4000"), ("sec-fetch-site", "cross-site")],
            &[("host", "g:4000"), ("sec-fetch-site", "same-site")],
        ] {
            assert!(is_foreign(&headers(other), &Uri::default()), "{other:?}");
        }
    }
}
