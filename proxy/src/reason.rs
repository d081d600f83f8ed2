//! Why a request was not simply let through. One word per cause, the same in logs, metrics, answers and docs.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:literal, $title:literal;)+) => {
        /// The cause of a refusal, or of there being no identity.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// Every reason there is, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable word that logs, metrics and problem documents carry.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code),+ }
            }

            /// The HTTP status of the proxy's own answer.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status),+ }
            }

            /// One short sentence for the person who reads the answer; never echoes input.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }
            }

            /// What the operator should know, as the reference documents it.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+)),+ }
            }
        }
    };
}

reasons! {
    // 1. Accept
    /// The request line or a header breaks the grammar of HTTP.
    MalformedRequest = "malformed_request", 400, "The request is malformed";
    /// Length and transfer coding are given in a way that two parsers could read differently.
    AmbiguousFraming = "ambiguous_framing", 400, "The framing of the request is ambiguous";
    /// The path can be read in more than one way: dot segments, encoded separators, invalid escapes.
    AmbiguousPath = "ambiguous_path", 400, "The path is ambiguous";
    /// The Host is missing, repeated or not a host and port.
    BadHost = "bad_host", 400, "The host is missing or malformed";
    /// No route serves this host.
    UnknownHost = "unknown_host", 421, "This host is not served here";
    /// The request target is longer than the limit.
    TargetTooLong = "target_too_long", 414, "The address is too long";
    /// The header section is larger, or has more fields, than the limit.
    HeadTooLarge = "head_too_large", 431, "The request head is too large";
    /// The request body is larger than the route allows.
    BodyTooLarge = "body_too_large", 413, "The request body is too large";
    /// The method is not served here, or the route does not allow it.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not allowed";
    /// The request line names a version of HTTP that is not spoken here.
    UnsupportedVersion = "unsupported_version", 505, "This version of HTTP is not spoken here";
    /// The request expects something other than 100-continue.
    UnsupportedExpectation = "unsupported_expectation", 417, "The expectation is not supported";

    // 2. Route
    /// No route covers this path.
    NoRoute = "no_route", 404, "There is nothing at this address";
    /// An upgrade was asked for that the route does not allow.
    UpgradeRefused = "upgrade_refused", 400, "This upgrade is not allowed here";
    /// The request comes from another site than the one it is meant for.
    ForeignOrigin = "foreign_origin", 403, "The request comes from a foreign origin";

    /// Nothing shows that an unsafe request comes from a page of this site: neither `Sec-Fetch-Site` nor `Origin`.
    OriginUnproven = "origin_unproven", 403, "Nothing shows where the request comes from";

    // 3. Read the cookie
    /// There is no session cookie.
    NoCookie = "no_cookie", 401, "You are not logged in";
    /// The session cookie does not have the shape of a token.
    MalformedCookie = "malformed_cookie", 401, "You are not logged in";
    /// The token was not made with any of our token keys.
    ForgedToken = "forged_token", 401, "You are not logged in";
    /// Two session cookies with different values; none is picked.
    ConflictingCookies = "conflicting_cookies", 401, "Your browser sent two different session cookies";

    // 4. Resolve
    /// No store knows the session.
    SessionNotFound = "session_not_found", 401, "Your session is over";
    /// The session was ended.
    SessionEnded = "session_ended", 401, "Your session is over";
    /// The session that another framework keeps is not one of its format, or its ids cannot be used.
    ForeignUnreadable = "foreign_unreadable", 401, "You are not logged in";
    /// Nobody is logged in within the session that another framework keeps.
    SessionAnonymous = "session_anonymous", 401, "You are not logged in";
    /// The session was not used for longer than the idle timeout.
    SessionIdle = "session_idle", 401, "Your session has timed out";
    /// The session has reached its absolute end.
    SessionExpired = "session_expired", 401, "Your session has timed out";
    /// The user's sessions were ended everywhere after this one began.
    SessionSuperseded = "session_superseded", 401, "Your session is over";
    /// The session did not begin with the password that its user has now, or does not say with which.
    PasswordChanged = "password_changed", 401, "Your session is over";
    /// The user is not active, or not in the directory any more.
    UserInactive = "user_inactive", 401, "Your account is not active";
    /// Whoever acts for the user in this session may not any more: logged out everywhere, inactive, or without the role.
    ImpersonationOver = "impersonation_over", 401, "Your session is over";
    /// The stores that must be asked cannot be reached, or do not hold what is needed.
    StoreUnavailable = "store_unavailable", 503, "Sessions cannot be checked at the moment";
    /// The stores did not answer within the budget of one request.
    StoreTimeout = "store_timeout", 503, "Sessions cannot be checked at the moment";
    /// Too many lookups wait for the directory already.
    StoreOverloaded = "store_overloaded", 503, "Sessions cannot be checked at the moment";

    // 5. Decide
    /// The route asks for a login more recent than the session's.
    LoginTooOld = "login_too_old", 401, "Please confirm your login";
    /// The user has none of the roles that the route asks for.
    RoleMissing = "role_missing", 403, "You do not have the role this needs";
    /// The route needs a platform and the session has none.
    PlatformMissing = "platform_missing", 403, "No platform is chosen";
    /// The chosen platform is gone, inactive or somebody else's.
    PlatformUnavailable = "platform_unavailable", 403, "This platform is not available to you";

    /// An unsafe request carries no anti-forgery token.
    CsrfMissing = "csrf_missing", 403, "The request carries no anti-forgery token";
    /// The anti-forgery token was not made for this session, or not by us.
    CsrfInvalid = "csrf_invalid", 403, "The anti-forgery token does not belong to this session";
    /// The anti-forgery token belongs to this session, but is too old.
    CsrfExpired = "csrf_expired", 403, "The anti-forgery token is too old";

    // Own endpoints
    /// The body is not JSON; the problem says where.
    MalformedJson = "malformed_json", 400, "The body is not JSON";
    /// The body has a media type that this endpoint does not read.
    UnsupportedMediaType = "unsupported_media_type", 415, "The body must be application/json";
    /// The body is JSON, but not what this endpoint asks for; the problem names the fields.
    InvalidFields = "invalid_fields", 422, "Some fields are not as they have to be";
    /// All settings together would be larger than the limit.
    SettingsTooLarge = "settings_too_large", 422, "The settings are too large";
    /// The platform is unknown or somebody else's.
    PlatformNotFound = "platform_not_found", 404, "You have no such platform";
    /// The platform is the user's own, but not active.
    PlatformInactive = "platform_inactive", 409, "This platform is not active";
    /// The user has no such session, or it is over.
    NoSuchSession = "no_such_session", 404, "You have no such session";
    /// The session that was to be ended is the one that asks; `logout` ends it.
    CurrentSession = "current_session", 409, "This is the session that you are using";
    /// It would have to be written to tables that are not ours: the directory is an existing schema, which is only read.
    ReadOnlyDirectory = "read_only_directory", 403, "This cannot be changed here";
    /// The session, or what belongs to it, was changed by somebody else meanwhile.
    ChangedMeanwhile = "changed_meanwhile", 409, "This was changed elsewhere meanwhile";
    /// The stores could not confirm a change; it was not made, or nobody can say whether it was.
    ChangeUndetermined = "change_undetermined", 503, "This cannot be changed at the moment";

    /// As many event streams are open as one session, one user or all together may have.
    TooManyStreams = "too_many_streams", 429, "Too many event streams are open";
    /// The user has as many sessions as are allowed at once, and no further one may begin.
    TooManySessions = "too_many_sessions", 409, "You are logged in too many times already";
    /// The user has switched platforms as often as is allowed within an hour.
    TooManySwitches = "too_many_switches", 429, "You have switched platforms too often";

    // 7. Sign
    /// The context could not be signed, so the request was not forwarded.
    CannotSign = "cannot_sign", 503, "The request cannot be forwarded at the moment";
    /// The context headers exceed their byte budget, so the request was not forwarded.
    ContextTooLarge = "context_too_large", 431, "The context of this request is too large";
    /// The platform's credential could not be opened with any sealing key.
    CredentialUnreadable = "credential_unreadable", 503, "The platform's credential cannot be used";

    // 8. Forward
    /// No server of the upstream could be reached.
    UpstreamUnreachable = "upstream_unreachable", 502, "The application cannot be reached";
    /// The upstream did not answer in time.
    UpstreamTimeout = "upstream_timeout", 504, "The application did not answer in time";
    /// The upstream's answer breaks the rules of HTTP.
    UpstreamMalformed = "upstream_malformed", 502, "The application's answer is malformed";

    // 9. Answer
    /// A session directive is malformed, repeated or impossible; it was not carried out.
    DirectiveRefused = "directive_refused", 502, "The application asked for something impossible";
    /// The stores could not say whether a session directive can be carried out.
    DirectiveUndetermined = "directive_undetermined", 503, "Sessions cannot be changed at the moment";

    // Throughout
    /// The client sent its request more slowly than is waited for.
    ClientTooSlow = "client_too_slow", 408, "The request took too long to arrive";
    /// The client went away before it was answered.
    ClientGone = "client_gone", 499, "The client went away";
    /// A fault of ours.
    Internal = "internal", 500, "Something went wrong here";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Reason;

    #[test]
    fn every_reason_has_a_code_of_its_own_in_snake_case() {
        let mut seen = HashSet::new();
        for reason in Reason::ALL {
            let code = reason.code();
            assert!(seen.insert(code), "{code} is used twice");
            assert!(code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{code} is not snake case");
            assert!((400..600).contains(&reason.status()));
        }
    }
}
