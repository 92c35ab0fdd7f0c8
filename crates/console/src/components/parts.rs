//! Panels, tables, states, empty states.

use maud::{Markup, Render, html};

use crate::session::Session;

/// A section of a page with its heading.
#[derive(Default)]
pub struct Panel<'a> {
    pub title: &'a str,
    /// A grey word beside it.
    pub note: Option<Markup>,
    /// Buttons at its right.
    pub acts: Option<Markup>,
    /// Below the body.
    pub foot: Option<Markup>,
    /// Its place on the page.
    pub id: Option<&'a str>,
    /// The body brings its own margins: a table, a list.
    pub raw: bool,
}

impl Panel<'_> {
    pub fn around(self, body: impl Render) -> Markup {
        html! {
            section.panel id=[self.id] {
                @if !self.title.is_empty() {
                    header {
                        h2 { (self.title) }
                        @if let Some(note) = &self.note { span.note { (note) } }
                        @if let Some(acts) = &self.acts { div.acts { (acts) } }
                    }
                }
                @if self.raw { (body) } @else { div.body { (body) } }
                @if let Some(foot) = &self.foot { footer { (foot) } }
            }
        }
    }
}

/// A table: what screen readers call it, its classes, its columns.
pub struct Table<'a> {
    pub caption: &'a str,
    /// `dense`, `keys` …
    pub class: &'a str,
    /// Label and class: `n` is a number, `p1` to `p3` are hidden on small screens. A label after `~` is for screen readers only.
    pub columns: &'a [(&'a str, &'a str)],
}

impl Table<'_> {
    pub fn around(&self, rows: impl Render) -> Markup {
        html! {
            div.tbl tabindex="0" role="region" aria-label=(self.caption) {
                table class={ "t " (self.class) } {
                    caption.vh { (self.caption) }
                    thead {
                        tr {
                            @for (label, class) in self.columns {
                                @let class = (!class.is_empty()).then_some(*class);
                                th scope="col" class=[class] {
                                    @if let Some(label) = label.strip_prefix('~') { span.vh { (label) } } @else { (label) }
                                }
                            }
                        }
                    }
                    tbody { (rows) }
                }
            }
        }
    }
}

/// A state: `ok`, `warn`, `bad`, `off`, `run`, with its label.
pub fn state(kind: &str, word: impl Render) -> Markup {
    html! { span class={ "st " (kind) } { (word) } }
}

/// The text in place of an empty list.
pub fn empty(title: &str, words: impl Render) -> Markup {
    html! { div.empty { h3 { (title) } p { (words) } } }
}

/// A panel whose data could not be read: the rest of the page stays.
pub fn unreadable(what: &str, error: &store::StoreError) -> Markup {
    tracing::warn!(%error, what, "the dashboard could not read from the database");
    html! {
        div.empty {
            (super::mark("bad", "badc"))
            h3 { (what) " cannot be read" }
            p {
                "The database does not answer correctly; the log has the reason. Requests continue, and their records wait in \
                 the spool."
            }
            div.acts { a.btn href="" { (super::icon("refresh")) "Try again" } }
        }
    }
}

/// The field that every form needs.
pub fn form_token(session: &Session) -> Markup {
    html! { input type="hidden" name="token" value=(session.form_token); }
}

/// A button that copies a text.
pub fn copy(text: &str, label: &str) -> Markup {
    html! {
        button.btn.ghost.icon type="button" data-copy=(text) aria-label=(label) { (super::icon("copy")) }
    }
}

/// A button that copies what an element shows.
pub fn copy_from(selector: &str, label: &str) -> Markup {
    html! {
        button.btn.ghost.icon.copy type="button" data-copy-from=(selector) aria-label=(label) { (super::icon("copy")) }
    }
}

/// Links, one of which leads to the current page.
pub fn segments<'a>(label: &str, items: impl IntoIterator<Item = (&'a str, String, bool)>) -> Markup {
    html! {
        div.seg role="group" aria-label=(label) {
            @for (word, href, is_current) in items {
                a href=(href) aria-current=[is_current.then_some("true")] { (word) }
            }
        }
    }
}
