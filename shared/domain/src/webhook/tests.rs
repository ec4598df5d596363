use proptest::prelude::*;

use super::*;

fn schedule() -> RetrySchedule {
    "5s,5m,30m,2h,5h,10h,10h".parse().unwrap()
}

fn status(status: u16) -> Answer {
    Answer::Status { status, retry_after: None }
}

#[test]
fn an_answer_decides_whether_another_attempt_follows() {
    let retry = |seconds| Verdict::Retry(Duration::from_secs(seconds));
    let later = |status, seconds| Answer::Status { status, retry_after: Some(Duration::from_secs(seconds)) };
    let cases = [
        (1, status(200), Verdict::Delivered),
        (1, status(204), Verdict::Delivered),
        (8, status(299), Verdict::Delivered),
        (1, status(301), retry(5)),
        (1, status(307), retry(5)),
        (2, status(400), retry(300)),
        (3, status(401), retry(1800)),
        (4, status(500), retry(7200)),
        (5, Answer::None, retry(18_000)),
        (7, status(503), retry(36_000)),
        (8, status(503), Verdict::GiveUp(GiveUp::Exhausted)),
        (9, Answer::None, Verdict::GiveUp(GiveUp::Exhausted)),
        (1, status(410), Verdict::GiveUp(GiveUp::Gone)),
        (1, later(429, 60), retry(60)),
        (2, later(429, 60), retry(300)),
        (1, later(503, u64::MAX), Verdict::Retry(MAX_WAIT)),
        (8, later(429, 60), Verdict::GiveUp(GiveUp::Exhausted)),
        (0, status(500), retry(5)),
    ];
    for (attempt, answer, expected) in cases {
        assert_eq!(verdict(&schedule(), attempt, &answer, Jitter::NONE), expected, "{attempt} {answer:?}");
    }
}

proptest! {
    #[test]
    fn jitter_moves_a_wait_by_a_fifth_at_most(attempt in 1u32..=7, jitter in -2.0f64..2.0) {
        let planned = schedule().wait_once(attempt - 1).unwrap();
        let Verdict::Retry(wait) = verdict(&schedule(), attempt, &Answer::None, Jitter::new(jitter)) else {
            panic!("no retry");
        };
        prop_assert!(wait >= planned.mul_f64(0.799) && wait <= planned.mul_f64(1.201).min(MAX_WAIT));
    }

    #[test]
    fn an_event_id_is_read_as_it_is_written(product in "mobile|internet", id in "[A-Za-z0-9_-]{1,23}", seq in 1u32..) {
        let text = format!("{product}/{id}#{seq}");
        prop_assert_eq!(text.parse::<EventId>().unwrap().to_string(), text);
    }

    #[test]
    fn any_text_is_an_event_id_or_an_error(text in ".{0,40}") {
        let _ = text.parse::<EventId>();
    }
}

#[test]
fn only_the_exact_form_is_an_event_id() {
    assert!("vendor/1f2e3d4c5b6a7988#2".parse::<EventId>().is_ok());
    let wrong = [
        "",
        "mobile/1",
        "mobile/1#",
        "mobile/1#0",
        "mobile/1#01",
        "mobile/1#+1",
        "mobile#1",
        "card/1#1",
        "vendor/zz#1",
    ];
    for text in wrong {
        assert_eq!(text.parse::<EventId>(), Err(InvalidEventId), "{text}");
    }
}
