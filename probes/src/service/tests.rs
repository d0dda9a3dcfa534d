//! Each layer of the stack, on a paused clock.

use std::sync::atomic::Ordering;

use seamline_routing::HealthState;
use tokio::time::sleep;

use super::*;
use crate::testing::{Fake, span};

fn query(end: i64) -> CoverageQuery {
    CoverageQuery {
        remote: "ch1".into(),
        window: span(0, end),
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_in_flight_is_shared_and_the_next_is_not() {
    let fake = Fake::new();
    let client = fake.client("nvr");
    let many = join_all((0..50).map(|_| client.coverage(query(9)))).await;
    assert!(many.iter().all(Result::is_ok));
    assert_eq!(fake.asked(), 1);
    client.coverage(query(9)).await.unwrap();
    client.coverage(query(8)).await.unwrap();
    assert_eq!(fake.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_question_goes_on_when_nobody_waits() {
    let fake = Fake::new();
    let client = fake.client("nvr");
    let hasty = tokio::time::timeout(Duration::from_millis(1), client.ping()).await;
    assert!(hasty.is_err());
    assert_eq!(client.health().state(), HealthState::Unknown);
    sleep(Duration::from_millis(20)).await;
    assert_eq!(client.health().state(), HealthState::Up);
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline_and_counts_as_failure() {
    let fake = Fake::new();
    fake.delay(Duration::from_secs(3_600));
    let client = fake.client("nvr");
    let begun = Instant::now();
    assert_eq!(client.ping().await, Err(ProbeError::Timeout));
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert_eq!(client.health().state(), HealthState::Suspect);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_at_once_and_waiting_is_not_the_recorder_s_fault() {
    let fake = Fake::new();
    fake.delay(Duration::from_secs(2));
    let client = fake.client("nvr");
    let answers = join_all((1..=16).map(|end| client.coverage(query(end)))).await;
    assert_eq!(fake.at_once_max.load(Ordering::SeqCst), 4);
    let crowded = |answer: &&_| matches!(answer, Err(ProbeError::Crowded));
    assert_eq!(answers.iter().filter(crowded).count(), 4);
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 8);
    assert_eq!(answers.iter().flatten().count(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_refuses_is_left_alone_and_tried_again() {
    let fake = Fake::new();
    fake.fail(ProbeError::Refused);
    let client = fake.client("nvr");
    assert_eq!(client.ping().await, Err(ProbeError::Refused));
    for _ in 0..100 {
        assert_eq!(client.ping().await, Err(ProbeError::Resting));
    }
    assert_eq!(fake.pings(), 1);
    fake.fail(None);
    sleep(Duration::from_secs(1)).await;
    client.ping().await.unwrap();
    client.ping().await.unwrap();
    assert_eq!(client.health().state(), HealthState::Up);
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_are_not_tried_in_a_loop() {
    let fake = Fake::new();
    fake.fail(ProbeError::Credentials);
    let client = fake.client("nvr");
    for _ in 0..120 {
        let _ = client.ping().await;
        let _ = client.coverage(query(1)).await;
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(fake.pings() + fake.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn not_found_and_busy_are_signs_of_life() {
    let fake = Fake::new();
    let client = fake.client("nvr");
    for error in [ProbeError::NotFound, ProbeError::Busy] {
        fake.fail(error.clone());
        assert_eq!(client.ping().await, Err(error));
        assert_eq!(client.health().state(), HealthState::Up);
    }
}

#[tokio::test(start_paused = true)]
async fn all_are_asked_at_once_and_the_late_are_not_waited_for() {
    let begun = Instant::now();
    let delays = [100, 1_900, 60_000];
    let questions = delays.map(|delay| async move {
        sleep(Duration::from_millis(delay)).await;
        delay
    });
    let answers = hedged(questions, Duration::from_secs(2)).await;
    assert_eq!(answers, [Some(100), Some(1_900), None]);
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
}
