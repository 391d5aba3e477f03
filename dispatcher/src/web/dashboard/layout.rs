//! What every page has around what it tells.

use axum::response::Html;
use maud::{DOCTYPE, Markup, html};

use super::action::Action;

/// The pages, in the order of the menu: path, name, and the key after `g`.
const PAGES: [(&str, &str, &str); 4] = [
    ("/", "Now", "n"),
    ("/batches", "Batches", "b"),
    ("/triggers", "Triggers", "t"),
    ("/activity", "Activity", "a"),
];

/// A whole page.
pub(super) fn page(path: &str, title: &str, visitor: &Visitor, main: &Markup) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    a.brand href="/" { "pgbatch" }
                    nav aria-label="Pages" {
                        @for (href, name, _) in PAGES {
                            a href=(href) aria-current=[(is_in(path, href)).then_some("page")] { (name) }
                        }
                    }
                    div.tools {
                        // What the script fills in: without it nothing here can be used, so nothing is shown.
                        span #live hidden {}
                        button #pause type="button" hidden { "Pause" }
                        button #theme type="button" hidden { "Theme" }
                        button #keys type="button" hidden { "Keys" }
                        @match &visitor.who {
                            Who::Anybody => {}
                            Who::Named(name) => span.muted { (name) }
                            Who::LoggedIn => form method="post" action="/logout" { button type="submit" { "Log out" } }
                        }
                    }
                }
                main #main tabindex="-1" { (main) }
                (keys())
            }
        }
    };
    Html(page.into_string())
}

/// Who looks, and what he may do.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) who: Who,
    /// As which role of PostgreSQL he acts; none = he only looks.
    pub(super) role: Option<String>,
}

impl Visitor {
    /// Nobody in particular, who only looks.
    pub(super) fn anybody() -> Self {
        Self { who: Who::Anybody, role: None }
    }

    /// As the proxy calls him.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.who {
            Who::Named(name) => Some(name),
            Who::Anybody | Who::LoggedIn => None,
        }
    }

    /// A link to the form of an action; nothing for who only looks.
    pub(super) fn link(&self, action: &Action, words: &str) -> Markup {
        html! { @if self.role.is_some() { a.action href=(action.url()) { (words) "…" } } }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// Whoever reaches the port, which is of this host only.
    Anybody,
    /// Somebody with the token.
    LoggedIn,
    /// Whom the trusted proxy names.
    Named(String),
}

/// A page for who is not, or not yet, let in: no menu, and nothing that is live.
pub(super) fn bare_page(title: &str, main: &Markup) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" { (head(title)) body.bare { main #main { (main) } } }
    };
    Html(page.into_string())
}

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " - pgbatch" }
            link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
            link rel="stylesheet" href="/assets/dashboard.css";
            // Before the page is drawn: no flash of the other theme.
            script src="/assets/theme.js" {}
            script src="/assets/idiomorph.js" defer {}
            script src="/assets/dashboard.js" defer {}
        }
    }
}

fn keys() -> Markup {
    html! {
        dialog #help aria-labelledby="help-title" {
            h2 #help-title { "Keys" }
            dl.facts {
                @for (_, name, key) in PAGES {
                    dt { kbd { "g" } " " kbd { (key) } } dd { (name) }
                }
                dt { kbd { "/" } } dd { "To the filter" }
                dt { kbd { "j" } " " kbd { "k" } } dd { "To the next and the previous row" }
                dt { kbd { "Enter" } } dd { "Open it" }
                dt { kbd { "p" } } dd { "Pause, and go on" }
                dt { kbd { "?" } } dd { "This list" }
            }
            form method="dialog" { button type="submit" { "Close" } }
        }
    }
}

/// Whether a page is below an entry of the menu.
fn is_in(path: &str, entry: &str) -> bool {
    path == entry || entry != "/" && path.starts_with(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_an_entry_of_the_menu_is_marked_there_and_nowhere_else() {
        let page = page("/batches/7", "Batch 7", &Visitor::anybody(), &html! {}).0;
        assert!(page.contains(r#"<a href="/batches" aria-current="page">"#), "{page}");
        assert_eq!(page.matches("aria-current").count(), 1);
    }

    #[test]
    fn what_strangers_wrote_is_text() {
        let visitor = Visitor { who: Who::Named("\"><b>".to_owned()), role: None };
        let page = page("/", "<script>", &visitor, &html! { p { "<i>" } }).0;
        assert!(!page.contains("<b>") && !page.contains("<i>") && !page.contains("<script> -"), "{page}");
    }
}
