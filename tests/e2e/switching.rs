//! Users who switch platforms at random, on two proxies, in more than one tab: every request has a platform of the user's
//! own choice, and no switch is lost. `cargo run -p e2e --bin switches` is the same for longer and with more of them.

use std::time::Duration;

use e2e::load::{Fleet, Setting, Switching, switch_at_random};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_switches_at_random_is_never_served_with_anything_else_and_loses_no_switch() {
    let fleet = Fleet::start(&Setting::default()).await;
    // Few users in many tabs, so that two of one session are often at it.
    let wanted = Switching {
        users: 12,
        tabs: 16,
        lasts: Duration::from_secs(4),
        pause: Duration::from_millis(20),
        seed: 11,
    };
    let tally = switch_at_random(&fleet, wanted).await;
    println!("{} requests, {} switches, {} overlapping", tally.requests, tally.switches, tally.overlapping);
    assert!(tally.is_spotless(), "{}\n{}", tally.report.summary(), tally.lost.join("\n"));
    assert!((tally.switches..=tally.switches + tally.unsure).contains(&tally.written), "{tally:?}");
    // However slow the machine is: something has to have happened, and most of it is certain.
    assert!(tally.switches > 10 && tally.requests > 20, "hardly anything happened: {tally:?}");
    assert!(tally.unsure * 5 <= tally.switches, "{} of {} are unsure", tally.unsure, tally.switches);
}
