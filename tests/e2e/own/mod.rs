//! The proxy's own endpoints, as the pages of a front end use them.

mod aliases;
mod forgery;
mod fuzz;
mod session;
mod settings;

use e2e::body::whole;
use e2e::client::{Answer, Call, Client};
use http::Method;
use serde_json::Value;

use crate::setup::Site;

/// Where the endpoints are.
pub(crate) const BASE: &str = "/.countersign";

/// A tab of a browser: it has read the state of its session, and with it the anti-forgery token.
pub(crate) struct Tab {
    pub(crate) browser: Client,
    pub(crate) token: String,
}

impl Tab {
    /// A tab of a browser that is logged in.
    pub(crate) async fn open(browser: &Client) -> Self {
        let state = get(browser, "session").await.expect(200).json();
        let token = state["csrf_token"].as_str().unwrap_or_default().to_owned();
        Self { browser: browser.clone(), token }
    }

    /// A new browser in which this person is logged in, with one tab.
    pub(crate) async fn of(site: &Site, user: &str) -> Self {
        Self::open(&site.logged_in(user).await).await
    }

    /// A request as a script of the page sends it.
    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        self.browser
            .call(method, &format!("{BASE}/{path}"))
            .header("sec-fetch-site", "same-origin")
            .header("x-csrf-token", &self.token)
    }

    /// The same with a JSON document.
    pub(crate) fn send(&self, method: Method, path: &str, document: &Value) -> Call {
        let body = whole(document.to_string());
        self.call(method, path).header("content-type", "application/json").body(body)
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.call(Method::POST, path).send().await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        get(&self.browser, path).await
    }
}

/// What a browser gets from an endpoint.
pub(crate) async fn get(browser: &Client, path: &str) -> Answer {
    browser.get(&format!("{BASE}/{path}")).send().await
}
