//! Icons, drawn in a square of 16.

use maud::{Markup, PreEscaped, html};

pub fn icon(name: &str) -> Markup {
    drawn("i", name)
}

pub fn small(name: &str) -> Markup {
    drawn("i s", name)
}

/// An icon that says how serious something is: `warn`, `bad`, `info`, with its colour's class.
pub fn mark(name: &str, colour: &str) -> Markup {
    drawn(&format!("mk {colour}"), name)
}

fn drawn(class: &str, name: &str) -> Markup {
    html! { svg class=(class) viewBox="0 0 16 16" aria-hidden="true" { (PreEscaped(path(name))) } }
}

pub fn brand() -> Markup {
    html! {
        svg viewBox="0 0 18 18" aria-hidden="true" {
            path d="M2 3.500h2.500C8 3.500 8 9 11 9M2 14.500h2.500C8 14.500 8 9 11 9M2 9h14" {}
            path d="M13.500 6.500 16 9l-2.500 2.500" stroke-linejoin="round" {}
        }
    }
}

fn path(name: &str) -> &'static str {
    match name {
        "overview" => r#"<path d="M2.5 13.5v-5M6.2 13.5v-9M9.8 13.5v-6.5M13.5 13.5v-11"/>"#,
        "requests" => r#"<path d="M2.5 4h11M2.5 8h11M2.5 12h6.5"/>"#,
        "models" => r#"<path d="M8 2 13.5 5 8 8 2.5 5 8 2ZM2.5 8.2 8 11.2l5.5-3M2.5 11.2 8 14.2l5.5-3"/>"#,
        "routing" => {
            r#"<path d="M2 4h2.4C7.4 4 7.2 8 10 8M2 12h2.4C7.4 12 7.2 8 10 8h4M11.8 5.8 14 8l-2.2 2.2"/>"#
        }
        "projects" => {
            r#"<path d="M2.5 12.5v-8a1 1 0 0 1 1-1h3l1.5 2h4.500a1 1 0 0 1 1 1v6a1 1 0 0 1-1 1h-9a1 1 0 0 1-1-1Z"/>"#
        }
        "playground" => {
            r#"<path d="M2.5 4.500a1.500 1.500 0 0 1 1.500-1.500h8a1.500 1.500 0 0 1 1.500 1.500v5a1.500 1.500 0 0 1-1.500 1.500H7l-3 2.500V11a1.500 1.500 0 0 1-1.500-1.500v-5Z"/>"#
        }
        "settings" => {
            r#"<path d="M2.5 4.500h5M11 4.500h2.500M2.500 11.500H5M8.500 11.500h5"/><circle cx="9.200" cy="4.500" r="1.700"/><circle cx="6.800" cy="11.500" r="1.700"/>"#
        }
        "search" => r#"<circle cx="7" cy="7" r="4.200"/><path d="m10.200 10.200 3.300 3.300"/>"#,
        "menu" => r#"<path d="M2.500 5h11M2.500 11h11"/>"#,
        "copy" => {
            r#"<rect x="5.500" y="5.500" width="8" height="8" rx="1.500"/><path d="M3.500 10.500h-.2a.8.8 0 0 1-.8-.8V3.300a.8.8 0 0 1 .8-.8h6.400a.8.8 0 0 1 .8.8v.2"/>"#
        }
        "x" => r#"<path d="m4.500 4.500 7 7M11.500 4.500l-7 7"/>"#,
        "plus" => r#"<path d="M8 3.500v9M3.500 8h9"/>"#,
        "chev" => r#"<path d="m6 4 4 4-4 4"/>"#,
        "down" => r#"<path d="m4 6 4 4 4-4"/>"#,
        "more" => r#"<path d="M3.500 8h.01M8 8h.01M12.500 8h.01" stroke-width="2.200"/>"#,
        "sun" => {
            r#"<circle cx="8" cy="8" r="2.700"/><path d="M8 1.800v1.400M8 12.800v1.400M1.800 8h1.400M12.800 8h1.400M3.600 3.600l1 1M11.400 11.400l1 1M12.400 3.600l-1 1M4.600 11.400l-1 1"/>"#
        }
        "moon" => r#"<path d="M13 9.600A5.400 5.400 0 0 1 6.400 3a5.400 5.400 0 1 0 6.600 6.600Z"/>"#,
        "auto" => {
            r#"<circle cx="8" cy="8" r="5.500"/><path d="M8 2.500a5.500 5.500 0 0 1 0 11Z" fill="currentColor" stroke="none"/>"#
        }
        "play" => r#"<path d="M5 3.500v9l7.500-4.500L5 3.500Z"/>"#,
        "stop" => r#"<rect x="4.500" y="4.500" width="7" height="7" rx="1"/>"#,
        "key" => {
            r#"<circle cx="5.500" cy="10.500" r="2.700"/><path d="m7.500 8.500 5.500-5.500M10.500 5.500l2 2"/>"#
        }
        "send" => r#"<path d="M8 13V3.500M4 7.500l4-4 4 4"/>"#,
        "code" => r#"<path d="m5.500 4.500-3.500 3.500 3.500 3.500M10.500 4.500 14 8l-3.500 3.500"/>"#,
        "refresh" => r#"<path d="M13 8a5 5 0 1 1-1.600-3.700M13 2.500v2.500h-2.500"/>"#,
        "down2" => r#"<path d="M8 3v7.500M4.500 7.500 8 11l3.500-3.500M3 13.500h10"/>"#,
        "warn" => r#"<path d="M8 2.500 14.200 13H1.800L8 2.500ZM8 6.700v3M8 11.300v.01"/>"#,
        "bad" => {
            r#"<rect x="2.500" y="2.500" width="11" height="11" rx="1.500"/><path d="m6 6 4 4M10 6l-4 4"/>"#
        }
        "info" => r#"<circle cx="8" cy="8" r="5.700"/><path d="M8 7.500v3.300M8 5.200v.01"/>"#,
        "clock" => r#"<circle cx="8" cy="8" r="5.700"/><path d="M8 5v3.200l2 1.300"/>"#,
        "coin" => {
            r#"<circle cx="8" cy="8" r="5.700"/><path d="M9.800 6.300C9.300 5.600 8.700 5.400 8 5.400c-1 0-1.800.5-1.800 1.300 0 1.900 3.600.8 3.600 2.700 0 .8-.8 1.300-1.800 1.300-.8 0-1.500-.3-1.900-1M8 4.400v7.200"/>"#
        }
        _ => "",
    }
}
