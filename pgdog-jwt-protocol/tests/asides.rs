//! What may come at any time, and what may come at no time.

use pgdog_jwt_protocol::{Conversation, Received, Request};

const REQUESTS: [Request; 9] = [
    Request::Query { may_copy: true },
    Request::FunctionCall,
    Request::Parse,
    Request::Bind,
    Request::DescribeStatement,
    Request::DescribePortal,
    Request::Execute { may_copy: true },
    Request::Close,
    Request::Sync,
];

#[test]
fn notices_notifications_and_parameters_answer_nothing() {
    for kind in *b"NAS" {
        assert_eq!(Conversation::<u8>::default().received(kind), Ok(Received::Unasked));
        for request in REQUESTS {
            let mut conversation = Conversation::default();
            conversation.sent(request, 1);
            assert_eq!(conversation.received(kind), Ok(Received::Unasked));
            assert_eq!(conversation.len(), 1);
        }
    }
}

#[test]
fn every_other_reply_answers_a_request_or_none() {
    for kind in (0..=u8::MAX).filter(|kind| !b"NAS".contains(kind)) {
        assert!(Conversation::<u8>::default().received(kind).is_err(), "{kind}");
    }
    // The first replies that each may have.
    let first = ["TCIHGE", "VE", "1E", "2E", "tE", "TnE", "DCsIHGE", "3E", "ZE"];
    for (request, allowed) in REQUESTS.into_iter().zip(first) {
        for kind in (0..=u8::MAX).filter(|kind| !b"NAS".contains(kind)) {
            let mut conversation = Conversation::default();
            conversation.sent(request, 1);
            let is_allowed = allowed.as_bytes().contains(&kind);
            assert_eq!(conversation.received(kind).is_ok(), is_allowed, "{request:?} {:?}", char::from(kind));
        }
    }
}

#[test]
fn behind_an_error_only_ready_for_query_comes() {
    for request in REQUESTS.into_iter().filter(|request| request.ends_with_ready()) {
        for kind in (0..=u8::MAX).filter(|kind| !b"NASZ".contains(kind)) {
            let mut conversation = Conversation::default();
            conversation.sent(request, 1);
            assert_eq!(conversation.received(b'E'), Ok(Received::Failing));
            assert!(conversation.received(kind).is_err(), "{request:?} {:?}", char::from(kind));
        }
    }
}

#[test]
fn a_reply_of_the_hosts_own_comes_in_its_turn() {
    let mut conversation = Conversation::default();
    conversation.sent(Request::Parse, "parse");
    conversation.answers_itself("own");
    conversation.sent(Request::Sync, "sync");
    assert_eq!(conversation.pop_own(), None);
    assert_eq!(conversation.received(b'1'), Ok(Received::Completed("parse")));
    assert_eq!(conversation.pop_own(), Some("own"));
    assert_eq!(conversation.received(b'Z'), Ok(Received::Ready("sync")));
    assert!(conversation.is_idle());
}
