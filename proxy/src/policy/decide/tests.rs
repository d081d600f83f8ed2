//! Every requirement against every resolution, as one table.

use std::sync::Arc;
use std::time::Duration;

use super::{Decision, decide, only_reported};
use crate::clock::Timestamp;
use crate::context::{Authn, Context, LastUse, Layer, Platform, Resolution, Session, SessionId, User};
use crate::policy::{Demands, Requirement};
use crate::reason::Reason;

const LOGIN: u64 = 1_000;

fn known(roles: &[&str], platform: bool, platform_refused: bool) -> Resolution {
    let session = Session {
        id: SessionId::of_token(b"token"),
        user: "ana".parse().unwrap(),
        platform: None,
        created: Timestamp::from_secs(LOGIN),
        authenticated: Timestamp::from_secs(LOGIN),
        expires: Timestamp::from_secs(LOGIN + 10_000),
        predecessor: None,
        successor: None,
        actor: None,
        version: 1,
    };
    let user = User {
        id: "ana".parse().unwrap(),
        name: "Ana".into(),
        roles: roles.iter().map(|&role| role.to_owned()).collect(),
        active: true,
        sessions_valid_after: None,
        passwords: Box::default(),
    };
    let chosen = Platform {
        id: "p1".parse().unwrap(),
        user: "ana".parse().unwrap(),
        kind: "mastodon".into(),
        name: "Example".into(),
        url: "https://social.example".into(),
        active: true,
        default: true,
        credential: None,
    };
    Resolution::Known(Arc::new(Context {
        session: Arc::new(session),
        user: Arc::new(user),
        platform: platform.then(|| Arc::new(chosen)),
        platform_refused,
        last_seen: LastUse::at(Timestamp::from_secs(LOGIN)),
        layer: Layer::Store,
        password: None,
    }))
}

fn demands(platform: bool, roles: &[&str], recent_login: Option<u64>) -> Requirement {
    Requirement::Session(Demands {
        platform,
        roles: roles.iter().map(|&role| role.to_owned()).collect(),
        recent_login: recent_login.map(Duration::from_secs),
    })
}

fn decided(requirement: &Requirement, resolution: Option<&Resolution>, seconds_after_login: u64) -> Decision {
    decide(requirement, resolution, Timestamp::from_secs(LOGIN + seconds_after_login))
}

#[test]
fn every_requirement_meets_every_outcome() {
    let known = known(&[], false, false);
    let unknown = Resolution::Unknown(Reason::SessionIdle);
    let undetermined = Resolution::Undetermined(Reason::StoreTimeout);
    let session = demands(false, &[], None);
    let forward = Decision::Forward;
    for (requirement, resolution, expected) in [
        (&Requirement::Nothing, None, forward(Authn::Unchecked)),
        (&Requirement::Nothing, Some(&known), forward(Authn::Unchecked)),
        (&Requirement::Nothing, Some(&unknown), forward(Authn::Unchecked)),
        (&Requirement::Nothing, Some(&undetermined), forward(Authn::Unchecked)),
        (&Requirement::Optional, None, Decision::Refuse(Reason::Internal)),
        (&Requirement::Optional, Some(&known), forward(Authn::Session)),
        (&Requirement::Optional, Some(&unknown), forward(Authn::None)),
        (&Requirement::Optional, Some(&undetermined), forward(Authn::Undetermined)),
        (&session, None, Decision::Refuse(Reason::Internal)),
        (&session, Some(&known), forward(Authn::Session)),
        (&session, Some(&unknown), Decision::Refuse(Reason::SessionIdle)),
        (&session, Some(&undetermined), Decision::Refuse(Reason::StoreTimeout)),
    ] {
        assert_eq!(decided(requirement, resolution, 0), expected, "{requirement:?} with {resolution:?}");
    }
}

#[test]
fn each_demand_is_checked_and_the_order_is_roles_platform_login() {
    let nobody_special = known(&["viewer"], false, false);
    let admin = known(&["viewer", "admin"], false, false);
    let with_platform = known(&["admin"], true, false);
    let lost_platform = known(&["admin"], false, true);
    let forward = Decision::Forward(Authn::Session);
    for (requirement, resolution, age, expected) in [
        (demands(false, &["admin"], None), &nobody_special, 0, Decision::Refuse(Reason::RoleMissing)),
        (demands(false, &["admin", "viewer"], None), &nobody_special, 0, forward),
        (demands(false, &["Admin"], None), &admin, 0, Decision::Refuse(Reason::RoleMissing)),
        (demands(true, &["admin"], Some(60)), &nobody_special, 61, Decision::Refuse(Reason::RoleMissing)),
        (demands(true, &["admin"], Some(60)), &admin, 61, Decision::Refuse(Reason::PlatformMissing)),
        (
            demands(true, &["admin"], Some(60)),
            &lost_platform,
            61,
            Decision::Refuse(Reason::PlatformUnavailable),
        ),
        (demands(true, &["admin"], Some(60)), &with_platform, 61, Decision::Refuse(Reason::LoginTooOld)),
        (demands(true, &["admin"], Some(60)), &with_platform, 60, forward),
        (demands(false, &[], None), &lost_platform, 0, forward),
    ] {
        assert_eq!(decided(&requirement, Some(resolution), age), expected, "{requirement:?}");
    }
}

#[test]
fn an_outage_is_never_taken_for_a_missing_session_or_role() {
    let undetermined = Resolution::Undetermined(Reason::StoreUnavailable);
    for requirement in [demands(false, &[], None), demands(true, &["admin"], Some(1))] {
        let Decision::Refuse(reason) = decided(&requirement, Some(&undetermined), 0) else {
            panic!("let through during an outage");
        };
        assert_eq!(reason.status(), 503);
    }
}

#[test]
fn a_login_from_a_clock_that_runs_ahead_counts_as_fresh() {
    let requirement = demands(false, &[], Some(60));
    let context = known(&[], false, false);
    let decision = decide(&requirement, Some(&context), Timestamp::from_secs(LOGIN - 5));
    assert_eq!(decision, Decision::Forward(Authn::Session));
}

#[test]
fn a_route_that_only_reports_lets_everything_through_as_it_was_found() {
    let session = demands(false, &["admin"], None);
    for (resolution, authn, reason) in [
        (known(&[], false, false), Authn::Session, Reason::RoleMissing),
        (Resolution::Unknown(Reason::SessionIdle), Authn::None, Reason::SessionIdle),
        (Resolution::Undetermined(Reason::StoreTimeout), Authn::Undetermined, Reason::StoreTimeout),
    ] {
        let refused = decided(&session, Some(&resolution), 0);
        assert_eq!(refused, Decision::Refuse(reason));
        assert_eq!(only_reported(refused, Some(&resolution)), Decision::Report(authn, reason));
    }
    let forwarded = decided(&session, Some(&known(&["admin"], false, false)), 0);
    assert_eq!(only_reported(forwarded, None), forwarded);
    let nobody_asked = decided(&session, None, 0);
    assert_eq!(only_reported(nobody_asked, None), Decision::Refuse(Reason::Internal));
}
